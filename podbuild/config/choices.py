"""The closed lists and the grammars of names in podbuild.toml."""

from __future__ import annotations

from enum import StrEnum

from podbuild.config.keys import list_of, matching, parsed
from podbuild.config.template import tag_template

NAME = matching(
    r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*",
    "a name",
    "letters and digits, separated by '.', '_' or '-'",
)
VARIABLE = matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable", "such as NPM_TOKEN")
SECRET_ID = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "a secret's id", "such as npm-token")
URL = matching(r"https?://[^\s/]+\S*", "a URL", "such as https://github.com/acme/shop")
PREFIX = matching(
    r"[A-Za-z0-9.-]+(?::\d+)?(?:/[a-z0-9._/-]+)?",
    "a registry or a prefix of repositories",
    "such as mirror.example.com/hub",
)
TAGS = list_of(parsed(tag_template, "tag template"))


class Format(StrEnum):
    """The manifest format of an image; docker keeps HEALTHCHECK."""

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


class RegistryKind(StrEnum):
    """What stands behind a registry: it decides how tags are deleted."""

    GHCR = "ghcr"
    DOCKERHUB = "dockerhub"
    OCI = "oci"
    LAYOUT = "layout"
