"""Semantic versions, in full and in their own order (https://semver.org/spec/v2.0.0.html)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from podbuild.errors import VersionError

# The regular expression that semver.org itself suggests, with the customary leading "v".
_SEMVER = re.compile(
    r"v?(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?:-(?P<prerelease>(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+(?P<build>[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)

_LONGEST = 256  # characters; a tag has at most 128, and Python reads no endless numbers


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version by SemVer 2.0; build metadata takes no part in order or equality (§10)."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `[v]MAJOR.MINOR.PATCH[-prerelease][+build]`.

        Raises VersionError that says what is expected.

        >>> Version.parse("v1.2.3-rc.1") < Version.parse("1.2.3")
        True
        """
        found = _SEMVER.fullmatch(text) if len(text) <= _LONGEST else None
        if not found:
            raise VersionError(
                f"{text[:100]!r} is not a version",
                hint="expected vMAJOR.MINOR.PATCH, such as v1.2.3",
            )
        prerelease, build = found["prerelease"], found["build"]
        return cls(
            int(found["major"]),
            int(found["minor"]),
            int(found["patch"]),
            tuple(prerelease.split(".")) if prerelease else (),
            tuple(build.split(".")) if build else (),
        )

    @property
    def is_stable(self) -> bool:
        """Tell whether this is no prerelease."""
        return not self.prerelease

    def __str__(self) -> str:
        """Give the version without build metadata, which no tag can hold."""
        core = f"{self.major}.{self.minor}.{self.patch}"
        return f"{core}-{'.'.join(self.prerelease)}" if self.prerelease else core

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        """Numbers sort as numbers and before words; a prerelease before its release (§11)."""
        identifiers = tuple(
            (
                not part.isdigit(),
                int(part) if part.isdigit() else 0,
                part if not part.isdigit() else "",
            )
            for part in self.prerelease
        )
        return (self.major, self.minor, self.patch, self.is_stable, identifiers)
