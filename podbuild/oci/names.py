"""Names of the field as values: digests, tags, platforms, repositories and references.

Text is parsed at the border, once; after that a wrong value can't exist.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

from podbuild.errors import (
    ConfigError,
    VerificationError,
    VersionError,
)
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue

DOCKER_HUB = "docker.io"
DOCKER_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
GHCR = "ghcr.io"


class RegistryKind(StrEnum):
    """What stands behind a registry: it decides how tags are deleted."""

    GHCR = "ghcr"
    DOCKERHUB = "dockerhub"
    OCI = "oci"
    LAYOUT = "layout"


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


# Distribution spec 1.1, "Pulling manifests": the grammar of <name>.
_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)


# distribution/reference, regexp.go: host names, IPv4 addresses, IPv6 addresses in brackets.
_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"({_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:.]+\])(?::([0-9]{{1,5}}))?")
_PLATFORM_PART = re.compile(r"[a-z0-9][a-z0-9._-]*")


# containerd's platforms.normalizeArch: what machines call themselves, and what images say.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_MAX_NAME = 255


@dataclass(frozen=True, order=True)
class Digest:
    """A content digest, `sha256:<hex>` (OCI image spec, "Digests")."""

    text: str

    def __post_init__(self) -> None:
        """Refuse anything that is not a digest."""
        if not _DIGEST.fullmatch(self.text):
            raise VerificationError(f"not a digest: {self.text[:100]!r}")

    def __str__(self) -> str:
        return self.text

    @property
    def algorithm(self) -> str:
        """Give the part before the colon."""
        return self.text.partition(":")[0]

    @property
    def hex(self) -> str:
        """Give the part after the colon."""
        return self.text.partition(":")[2]

    @property
    def short(self) -> str:
        """Give the first 12 hex digits, for people."""
        return self.hex[:12]

    @staticmethod
    def is_one(text: str) -> bool:
        """Tell whether a text is a digest."""
        return bool(_DIGEST.fullmatch(text))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Give the sha256 digest of some bytes."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    def matches(self, data: bytes) -> bool:
        """Tell whether these bytes have this digest."""
        return hashlib.new(self.algorithm, data).hexdigest() == self.hex


@dataclass(frozen=True, order=True)
class Tag:
    """A tag by the grammar of the distribution spec."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what registries refuse."""
        if not _TAG.fullmatch(self.text):
            raise VersionError(
                f"not a valid tag: {self.text[:140]!r}",
                hint="a tag has 1 to 128 letters, digits, '_', '.' or '-', "
                "and starts with no '.' or '-'",
            )

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, order=True)
class Platform:
    """An operating system, architecture and variant, such as linux/arm64 or linux/arm/v7."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/arch[/variant]`; `linux/arm64/v8` is linux/arm64, `linux/arm` linux/arm/v7.

        A machine's own name for its architecture, `linux/x86_64`, is that of images.

        >>> Platform.parse("linux/arm/v7")
        Platform(os='linux', architecture='arm', variant='v7')
        >>> str(Platform.parse("linux/arm64/v8"))
        'linux/arm64'
        """
        parts = text.split("/")
        if not all(_PLATFORM_PART.fullmatch(part) for part in parts):
            parts = []
        parts[1:2] = [_ARCHITECTURES.get(part, part) for part in parts[1:2]]
        match parts:
            case ["linux", "arm64", "v8"]:
                return cls("linux", "arm64")
            case ["linux", "arm"]:  # what every engine takes it for
                return cls("linux", "arm", "v7")
            case ["linux", arch]:
                return cls("linux", arch)
            case ["linux", arch, variant]:
                return cls("linux", arch, variant)
            case _:
                raise ConfigError(
                    f"bad platform {text!r}",
                    hint="write it as linux/arch[/variant], such as linux/arm64",
                )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def slug(self) -> str:
        """Give a form for file names: linux-arm-v7."""
        return str(self).replace("/", "-")

    def to_json(self) -> dict[str, JSONValue]:
        """Give the platform object of an OCI index."""
        found: dict[str, JSONValue] = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            found["variant"] = self.variant
        return found

    @classmethod
    def from_json(cls, value: JSONValue) -> Platform | None:
        """Read the platform object of an index; None where there is none."""
        match value:
            case {"architecture": str(arch), "os": str(system), **rest}:
                variant = rest.get("variant")
                plain = variant if isinstance(variant, str) else ""
                if (system, arch, plain) == ("linux", "arm64", "v8"):
                    plain = ""
                return cls(system, arch, plain)
            case _:
                return None


@dataclass(frozen=True, order=True)
class Repository:
    """A repository on a registry: host (with port) and path."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read `host[:port]/path`; Docker Hub's short forms are spelled out.

        >>> str(Repository.parse("docker.io/debian"))
        'docker.io/library/debian'
        """
        host, slash, path = text.partition("/")
        if not slash or not is_registry(host):
            raise ConfigError(
                f"bad repository {text!r}",
                hint="write it with its registry, such as ghcr.io/acme/web",
            )
        if not _is_host(host):
            raise ConfigError(
                f"bad registry {host!r} in {text!r}",
                hint="write it as host/name or host:port/name, without https://",
            )
        if host in DOCKER_HUB_ALIASES:
            host = DOCKER_HUB
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if not _NAME.fullmatch(path) or len(host) + 1 + len(path) > _MAX_NAME:
            raise ConfigError(
                f"bad repository name {text!r}",
                hint="lower-case letters and digits, separated by '/', '.', '_' or '-'",
            )
        return cls(host, path)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"

    def at(self, target: Tag | Digest) -> str:
        """Give the reference of a tag (`:`) or a digest (`@`) in this repository."""
        return reference(str(self), target)


def is_registry(first: str) -> bool:
    """Tell whether the first part of a name is a registry's host (distribution/reference)."""
    return "." in first or ":" in first or first == "localhost"


def reference(name: str, target: Tag | Digest) -> str:
    """Give the reference of a tag (`:`) or a digest (`@`) under a name."""
    return f"{name}@{target}" if isinstance(target, Digest) else f"{name}:{target}"


def _is_host(text: str) -> bool:
    """Tell whether this is a host name or address, with a port that can be one."""
    found = _HOST.fullmatch(text)
    return found is not None and int(found[2] or 1) in range(1, 65536) and _is_address(found[1])


def _is_address(host: str) -> bool:
    """Tell whether what stands in brackets is an IPv6 address; any other host will do."""
    if not host.startswith("["):
        return True
    import ipaddress  # noqa: PLC0415  # hardly anybody writes one, and it takes 2 ms

    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


_LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A full reference: a repository with a tag or a digest."""

    repository: Repository
    target: Tag | Digest

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference that names its registry; a digest counts more than a tag.

        >>> str(Reference.parse("docker.io/library/debian"))
        'docker.io/library/debian:latest'
        """
        name, at, digest = text.partition("@")
        head, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            head, tag = name, _LATEST
        return cls(repository=Repository.parse(head), target=Digest(digest) if at else Tag(tag))

    def __str__(self) -> str:
        return self.repository.at(self.target)
