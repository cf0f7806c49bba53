"""What a build takes besides its folder: extra contexts, secrets, tags of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.config.choices import (
    NAME,
    SECRET_ID,
    TAGS,
    VARIABLE,
)
from podbuild.config.keys import (
    PATH,
    TEXT,
    Invalid,
    Kind,
    declared,
    key,
    map_of,
    read_table,
    table_of,
    table_schema,
    toml_type,
)
from podbuild.errors import ConfigError
from podbuild.template import Template


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


def _context(value: object, base: Path) -> Context:
    text = TEXT.parse(value, base)
    scheme, mark, rest = text.partition(":")
    if mark and scheme == "image":
        return ImageContext(NAME.parse(rest, base))
    if text.startswith("docker-image://"):
        return ReferenceContext(TEXT.parse(text.removeprefix("docker-image://"), base))
    if mark and rest.startswith("//"):
        raise Invalid(
            f"{text!r} is no context",
            hint="an image as image:NAME or docker-image://REFERENCE, or the path of a folder",
        )
    return FolderContext(PATH.parse(text, base))


CONTEXT: Kind[Context] = Kind(
    _context, "image:NAME, docker-image://REFERENCE or a folder", {"type": "string", "minLength": 1}
)


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A build secret: its id in the Containerfile, and where its value is."""

    id: str = field(
        metadata=key(SECRET_ID, "the id that RUN --mount=type=secret names", example='"npm"')
    )
    env: str | None = field(
        default=None,
        metadata=key(VARIABLE, "the environment variable that holds it", example='"NPM_TOKEN"'),
    )
    file: Path | None = field(
        default=None, metadata=key(PATH, "the file that holds it", example='"npm-token"')
    )

    def __post_init__(self) -> None:
        """Refuse a secret from nowhere or from two places."""
        if (self.env is None) == (self.file is None):
            raise ConfigError(
                f"secret {self.id!r} needs exactly one of env and file",
                hint=f'such as {{ id = "{self.id}", env = "NPM_TOKEN" }}',
            )


SECRET = table_of(Secret, declared(Secret), "{ id, env } or { id, file }")


def _agent(value: object, base: Path) -> str:
    text = TEXT.parse(value, base)
    name, equals, rest = text.partition("=")
    places = rest.split(",") if equals else []
    if not re.fullmatch(r"[^\s,]+", name) or not all(places):
        raise Invalid(f"{text!r} is no agent")
    whole = ",".join(str(PATH.parse(place, base)) for place in places)
    return f"{name}{equals}{whole}"


AGENT = Kind(_agent, "ID, or ID=FILE[,FILE...]", {"type": "string", "minLength": 1})


@dataclass(frozen=True, kw_only=True)
class ImageTags:
    """The tags of one image; None means those of the project."""

    release: tuple[Template, ...] | None = field(
        default=None, metadata=key(TAGS, "tags of a release")
    )
    branches: Mapping[str, tuple[Template, ...]] | None = field(
        default=None, hash=False, metadata=key(map_of(TAGS), "tags of `podbuild snapshot`")
    )


def _image_tags(value: object, base: Path) -> ImageTags:
    match value:
        case list():
            return ImageTags(release=TAGS.parse(value, base))
        case dict():
            return read_table(ImageTags, declared(ImageTags), value, base)
        case _:
            raise Invalid(f"expected an array or a table, not {toml_type(value)}")


IMAGE_TAGS: Kind[ImageTags] = Kind(
    _image_tags,
    "array of release tags, or { release, branches }",
    {"oneOf": [TAGS.schema, table_schema(declared(ImageTags))]},
)
