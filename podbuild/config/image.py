"""The keys of an image, most of which may stand in [defaults] too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.config.choices import (
    VARIABLE,
    Compression,
    Format,
    IndexPolicy,
    Isolation,
    Network,
    Pull,
    Timestamp,
)
from podbuild.config.keys import (
    DURATION,
    FLAG,
    PATH,
    TEMPLATE,
    TEXT,
    choice,
    key,
    list_of,
    map_of,
    parsed,
)
from podbuild.config.sources import (
    AGENT,
    CONTEXT,
    IMAGE_TAGS,
    SECRET,
    Context,
    ImageContext,
    ImageTags,
    Secret,
)
from podbuild.model import Platform
from podbuild.template import Template


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
    target: str | None = field(
        default=None, metadata=key(TEXT, "the stage to build", example='"runtime"')
    )
    contexts: Mapping[str, Context] = field(
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
            map_of(TEMPLATE, names=VARIABLE),
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
            map_of(TEMPLATE),
            "labels in the image's config",
            example='{ "com.example.team" = "shop" }',
            cascades=True,
        ),
    )
    annotations: Mapping[str, Template] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(TEMPLATE),
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
        metadata=key(
            choice(Format), "the manifest format; docker keeps HEALTHCHECK", cascades=True
        ),
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
    isolation: Isolation = field(
        default=Isolation.CHROOT,
        metadata=key(choice(Isolation), "how RUN is kept apart from the machine", cascades=True),
    )
    network: Network = field(
        default=Network.HOST,
        metadata=key(choice(Network), "the network that RUN sees", cascades=True),
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

    @property
    def inner(self) -> Mapping[str, str]:
        """Give the images of this configuration that it builds on, by context name."""
        return {
            name: context.image
            for name, context in self.contexts.items()
            if isinstance(context, ImageContext)
        }
