"""Extra contexts of an image, and how the placeholders in their values are replaced."""

from __future__ import annotations

from pathlib import Path

from podbuild.config.choices import NAME
from podbuild.config.keys import PATH, TEXT, Invalid, ValueKind
from podbuild.config.template import Placeholders, Template
from podbuild.oci.names import DOCKER_HUB, Reference, is_registry
from podbuild.system.later import dataclass


@dataclass(frozen=True)
class ImageContext:
    """An extra context that is another image of this configuration."""

    image: str

    def __str__(self) -> str:
        return f"image:{self.image}"


@dataclass(frozen=True)
class FolderContext:
    """An extra context that is a folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ReferenceContext:
    """An extra context that is an image on a registry."""

    reference: str

    def __str__(self) -> str:
        return f"docker-image://{self.reference}"


Context = ImageContext | FolderContext | ReferenceContext

ALWAYS_KNOWN = frozenset({"project", "image"})  # every other placeholder depends on where it runs


@dataclass(frozen=True)
class OpenContext:
    """An extra context whose placeholders are not replaced yet; `base` is podbuild.toml's folder.

    A plan has none: what can be known is replaced when the configuration is read, the rest, such
    as the version, when the plan is made.
    """

    template: Template
    base: Path

    def closed(self, values: Placeholders) -> Context:
        """Give what it means; raises Invalid and PodbuildError where nothing can be made of it.

        A value that only a plan knows leads to no folder outside of podbuild.toml's own.
        """
        found = _plain(self.template.expand(values), self.base)
        late = {each for each in self.template.names - ALWAYS_KNOWN if not each.startswith("env.")}
        if isinstance(found, FolderContext) and late:
            real = found.path.resolve()
            if not real.is_relative_to(self.base.resolve()):
                raise Invalid(
                    f"{real} is outside of {self.base}",
                    hint="only {project}, {image} and {env.NAME} may lead out of the folder",
                )
        return found

    def __str__(self) -> str:
        return self.template.text


def _plain(text: str, base: Path) -> Context:
    text = TEXT.parse(text, base)
    scheme, mark, rest = text.partition(":")
    if mark and scheme == "image":
        return ImageContext(NAME.parse(rest, base))
    if text.startswith("docker-image://"):
        reference = TEXT.parse(text.removeprefix("docker-image://"), base)
        _check_reference(reference)
        return ReferenceContext(reference)
    if mark and rest.startswith("//"):
        raise Invalid(
            f"{text!r} is no context",
            hint="an image as image:NAME or docker-image://REFERENCE, or the path of a folder",
        )
    return FolderContext(PATH.parse(text, base))


def _check_reference(text: str) -> None:
    """Raise PodbuildError for what no engine takes; a short name may mean any registry's."""
    host, slash, _ = text.partition("/")
    Reference.parse(text if slash and is_registry(host) else f"{DOCKER_HUB}/{text}")


def _context(value: object, base: Path) -> Context | OpenContext:
    template = Template(TEXT.parse(value, base))
    if template.names:
        return OpenContext(template, base)
    return _plain(template.expand(Placeholders(project="")), base)


CONTEXT: ValueKind[Context | OpenContext] = ValueKind(
    _context,
    "image:NAME, docker-image://REFERENCE or a folder, with placeholders",
    {"type": "string", "minLength": 1},
)
