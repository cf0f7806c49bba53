"""The keys of an image, most of which may stand in [defaults] too.

What a build takes besides its folder: extra contexts, secrets, tags of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from podbuild.config.choices import (
    AFFIX,
    CONTEXT,
    SECRET_ID,
    TAGS,
    VARIABLE,
    Compression,
    Context,
    Format,
    ImageContext,
    IndexPolicy,
    Isolation,
    OpenContext,
    Pull,
    RunNetwork,
    Timestamp,
)
from podbuild.config.keys import (
    DURATION,
    FLAG,
    PATH,
    TEXT,
    VALUE,
    Invalid,
    ValueKind,
    choice,
    declared,
    key,
    list_of,
    map_of,
    parsed,
    read_table,
    table_of,
    table_schema,
    toml_type,
)
from podbuild.config.template import Template
from podbuild.config.trials import BUDGET, HEALTHCHECK, TESTS, Healthcheck, ImageTest, SizeBudget
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.system.later import dataclass


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


AGENT = ValueKind(_agent, "ID, or ID=FILE[,FILE...]", {"type": "string", "minLength": 1})


@dataclass(frozen=True, kw_only=True)
class ImageTags:
    """The tags of one image; None means those of the project."""

    release: tuple[Template, ...] | None = field(
        default=None, metadata=key(TAGS, "tags of a release")
    )
    branches: Mapping[str, tuple[Template, ...]] | None = field(
        default=None, hash=False, metadata=key(map_of(TAGS), "tags of `podbuild snapshot`")
    )
    pull_requests: tuple[Template, ...] | None = field(
        default=None, metadata=key(TAGS, "tags of a pull request's snapshot")
    )
    schedule: tuple[Template, ...] | None = field(
        default=None, metadata=key(TAGS, "tags of a scheduled snapshot, besides the branch's")
    )
    prefix: str | None = field(default=None, metadata=key(AFFIX, "before each of its tags"))
    suffix: str | None = field(
        default=None, metadata=key(AFFIX, "after each of its tags", example='"-alpine"')
    )


def _image_tags(value: object, base: Path) -> ImageTags:
    match value:
        case list():
            return ImageTags(release=TAGS.parse(value, base))
        case dict():
            return read_table(ImageTags, declared(ImageTags), value, base)
        case _:
            raise Invalid(f"expected an array or a table, not {toml_type(value)}")


IMAGE_TAGS: ValueKind[ImageTags] = ValueKind(
    _image_tags,
    "array of release tags, or { release, branches, pull-requests, schedule, prefix, suffix }",
    {"oneOf": [TAGS.schema, table_schema(declared(ImageTags))]},
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image: what it is built from, for which platforms, and where it goes."""

    name: str
    containerfile: Path = field(
        default=Path("Containerfile"),
        metadata=key(
            PATH,
            "the file to build; without it Containerfile, then Dockerfile, in the context",
            example='"containerfiles/web/Containerfile"',
        ),
    )
    context: Path = field(
        default=Path(),
        metadata=key(PATH, "the folder that COPY and ADD read", example='"."'),
    )
    matrix: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(list_of(TEXT, least=1)),
            "the table stands for an image of each combination; {matrix.NAME} is its value, in the "
            "image's name and in every key",
            example='{ php = ["8.3", "8.4"], os = ["debian", "alpine"] }',
        ),
    )
    target: str | None = field(
        default=None, metadata=key(TEXT, "the stage to build", example='"runtime"')
    )
    contexts: Mapping[str, Context | OpenContext] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(CONTEXT),
            "names that FROM and COPY --from may use",
            example='{ base = "image:base" }',
        ),
    )
    build_args: Mapping[str, Template] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(VALUE, names=VARIABLE),
            "values of ARG",
            example='{ FLAVOR = "slim" }',
            cascades=True,
        ),
    )
    secrets: tuple[Secret, ...] = field(
        default=(),
        metadata=key(
            list_of(SECRET),
            "build secrets; never in a layer, a log or an argument",
            example='[{ id = "npm", env = "NPM_TOKEN" }]',
        ),
    )
    ssh: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(AGENT),
            "SSH agents (of SSH_AUTH_SOCK, or a socket's path) or keys for RUN --mount=type=ssh",
            example='["default", "deploy=keys/id_ed25519"]',
        ),
    )
    labels: Mapping[str, Template] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(VALUE),
            "labels in the image's config",
            example='{ "com.example.team" = "shop" }',
            cascades=True,
        ),
    )
    annotations: Mapping[str, Template] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(VALUE),
            "annotations on the index and, in oci format, on the images",
            example='{ "com.example.team" = "shop" }',
            cascades=True,
        ),
    )
    ignorefile: Path | None = field(
        default=None,
        metadata=key(
            PATH,
            "the ignore file; without it Containerfile.containerignore, .containerignore, "
            ".dockerignore",
            example='".containerignore"',
        ),
    )
    publish: bool = field(
        default=True, metadata=key(FLAG, "false: built for other images only, goes nowhere")
    )
    registries: tuple[str, ...] | None = field(
        default=None,
        metadata=key(
            list_of(TEXT),
            "the registries it goes to; without it all of them",
            example='["ghcr"]',
            cascades=True,
        ),
    )
    tags: ImageTags = field(
        default=ImageTags(),
        metadata=key(
            IMAGE_TAGS,
            "its own tags instead of [tags]",
            example='["{version}-alpine"]',
            cascades=True,
        ),
    )
    platforms: tuple[Platform, ...] = field(
        default=(Platform("linux", "amd64"), Platform("linux", "arm64")),
        metadata=key(
            list_of(parsed(Platform.parse, "platform"), least=1),
            "the platforms it is built for",
            example='["linux/amd64", "linux/arm64"]',
            cascades=True,
        ),
    )
    format: Format = field(
        default=Format.OCI,
        metadata=key(choice(Format), "the media types of manifests", cascades=True),
    )
    compression: Compression = field(
        default=Compression.GZIP,
        metadata=key(
            choice(Compression), "how layers are compressed; zstd needs format oci", cascades=True
        ),
    )
    index: IndexPolicy = field(
        default=IndexPolicy.AUTO,
        metadata=key(
            choice(IndexPolicy),
            "auto: an index for several platforms, the plain image for one",
            cascades=True,
        ),
    )
    layers: bool = field(
        default=True,
        metadata=key(
            FLAG,
            "true: one layer per instruction, cached; false: one layer per build",
            cascades=True,
        ),
    )
    timestamp: Timestamp = field(
        default=Timestamp.FIXED,
        metadata=key(
            choice(Timestamp),
            "the time of all files: one fixed instant, or the commit's (for servers whose ETag "
            "comes from it)",
            cascades=True,
        ),
    )
    release_labels: bool = field(
        default=False,
        metadata=key(
            FLAG,
            "true: version, revision and created are labels of every platform's image too, for "
            "`docker inspect` and update bots; nothing is built again for it",
            cascades=True,
        ),
    )
    isolation: Isolation = field(
        default=Isolation.CHROOT,
        metadata=key(choice(Isolation), "how RUN is kept apart from the machine", cascades=True),
    )
    network: RunNetwork = field(
        default=RunNetwork.HOST,
        metadata=key(choice(RunNetwork), "the network that RUN sees", cascades=True),
    )
    pull: Pull = field(
        default=Pull.ALWAYS,
        metadata=key(
            choice(Pull),
            "where bases are looked for: on their registry first, here first, or only here",
            cascades=True,
        ),
    )
    timeout: float | None = field(  # seconds
        default=None,
        metadata=key(
            DURATION, "how long one platform may take to build", example='"30m"', cascades=True
        ),
    )

    budget: SizeBudget = field(
        default=SizeBudget(),
        metadata=key(
            BUDGET,
            "how large it may be; more is never tagged (docs/checks.md)",
            example='{ size = "240MB" }',
            cascades=True,
        ),
    )

    healthcheck: Healthcheck = field(
        default=Healthcheck.AUTO,
        metadata=key(
            HEALTHCHECK,
            "auto: an image with a HEALTHCHECK is started, and gets no tag unless that is content",
            cascades=True,
        ),
    )
    tests: tuple[ImageTest, ...] = field(
        default=(),
        metadata=key(
            TESTS,
            "what is tried in the image of each platform before it gets a tag (docs/checks.md)",
            example='[{ run = ["app", "--version"] }]',
        ),
    )

    @property
    def inner(self) -> Mapping[str, str]:
        """Give the images of this configuration that it builds on, by context name."""
        return {
            name: context.image
            for name, context in self.contexts.items()
            if isinstance(context, ImageContext)
        }
