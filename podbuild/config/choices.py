"""The closed lists and the grammars of names in podbuild.toml, and the kinds of contexts."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl

from podbuild.config.keys import PATH, TEXT, Invalid, ValueKind, choice, list_of, matching, parsed
from podbuild.config.template import Placeholders, Template, tag_template
from podbuild.oci.names import DOCKER_HUB, Reference, is_registry
from podbuild.semver import TagForm
from podbuild.system.later import dataclass
from podbuild.system.redact import is_secret_name

NAME = matching(
    r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*",
    "a name",
    "letters and digits, separated by '.', '_' or '-'",
)
VARIABLE = matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable", "such as NPM_TOKEN")
SECRET_ID = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "a secret's id", "such as npm-token")
_URL = re.compile(r"https?://(?P<authority>[^\s/?#]+)(?P<rest>\S*)")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:@%\\\[\]]+)(?::\d*)?")
_HINT = "such as https://github.com/acme/shop"


def _url(value: object, base: Path) -> str:
    """Read a URL without a login: it is published, and what is wrong with it is not quoted."""
    text = TEXT.parse(value, base)
    found = _URL.fullmatch(text)
    if found and "@" in text and not _HOST.fullmatch(found["authority"]):
        raise Invalid("has a login in it, and would be published with it", hint=_HINT)
    if not found or not _HOST.fullmatch(found["authority"]):
        quoted = "it" if "@" in text else repr(text)
        raise Invalid(f"{quoted} is not a URL", hint=_HINT)
    for name, _ in parse_qsl(re.split("[?#]", found["rest"], maxsplit=1)[-1]):
        if is_secret_name(name) or name.lower() in _SIGNED:
            raise Invalid(f"has a secret in it, {name}, and would be published with it", hint=_HINT)
    return text


_SIGNED = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})
URL: ValueKind[str] = ValueKind(
    _url,
    "a URL without a login",
    {"type": "string", "pattern": r"^https?://[^\s/?#@]+([/?#]\S*)?$"},
)
PREFIX = matching(
    r"[A-Za-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?",
    "a registry or a prefix of repositories",
    "such as mirror.example.com/hub",
)
TAG_FORM = parsed(lambda text: TagForm(text).text, "the form of a git tag")
TAGS = list_of(parsed(tag_template, "tag template"))
AFFIX = matching(r"[A-Za-z0-9_.-]+", "a part of a tag", "letters, digits, '_', '.' and '-'")


class Format(StrEnum):
    """The media types of an image; what its Containerfile says holds in both."""

    OCI = "oci"
    DOCKER = "docker"


class Compression(StrEnum):
    """How layers are compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"


class IndexPolicy(StrEnum):
    """Whether an image of one platform gets an index too."""

    AUTO = "auto"
    ALWAYS = "always"


class Timestamp(StrEnum):
    """The time that files in the image get."""

    FIXED = "fixed"
    COMMIT = "commit"


class Isolation(StrEnum):
    """How RUN is kept apart from the machine (buildah-build, --isolation)."""

    CHROOT = "chroot"
    ROOTLESS = "rootless"
    OCI = "oci"


class RunNetwork(StrEnum):
    """The network that RUN sees (buildah-build, --network)."""

    HOST = "host"
    PRIVATE = "private"
    NONE = "none"


class Pull(StrEnum):
    """Where bases are looked for when they are pinned, once per release."""

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


class Rule(StrEnum):
    """What may be wrong in an image or a Containerfile, by names that stay the same."""

    # An image that can't start: a release judges these.
    FOREIGN = "foreign-binary"
    NO_ENTRYPOINT = "no-entrypoint"
    NOT_EXECUTABLE = "not-executable"
    EMPTY = "empty-entrypoint"
    NO_INTERPRETER = "no-interpreter"
    UNKNOWN_USER = "unknown-user"
    CHANGING_INPUT = "changing-input"
    # What is in an image: `podbuild audit`.
    SECRET = "secret-in-layer"  # noqa: S105  # a rule's name
    GIT = "git-in-image"
    PACKAGE_LISTS = "package-lists"
    PACKAGE_CACHE = "package-cache"
    LANGUAGE_CACHE = "language-cache"
    BUILD_TOOLS = "build-tools"
    DEV_DEPENDENCIES = "dev-dependencies"
    HIDDEN = "hidden-bytes"
    ROOT_USER = "root-user"
    SETUID = "setuid"
    DOCS = "docs-and-locales"
    PYC = "pyc"
    DUPLICATES = "duplicate-files"
    BASE = "base-findings"
    # What a Containerfile says: `podbuild check`.
    UNPINNED_BASE = "unpinned-base"
    LATEST_BASE = "latest-base"
    ADD_FOR_COPY = "add-for-copy"
    SUDO = "sudo"
    UPGRADE = "apt-upgrade"
    UPDATE_ALONE = "apt-update-alone"
    MISSING_USER = "missing-user"
    SHELL_FORM = "shell-form-entrypoint"
    SECRET_IN_ENV = "secret-in-arg-or-env"  # noqa: S105  # a rule's name
    COPY_BEFORE_INSTALL = "copy-before-install"
    NO_CACHE_MOUNT = "cache-mount-missing"


def _ignored(value: object, base: Path) -> str:
    text = TEXT.parse(value, base)
    image, mark, rule = text.rpartition(":")
    if mark:
        NAME.parse(image, base)
    choice(Rule).parse(rule, base)
    return text


IGNORED: ValueKind[str] = ValueKind(
    _ignored, "RULE or IMAGE:RULE", {"type": "string", "minLength": 1}
)


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
