"""Versions in their own order, and the git tags that name them.

Semantic versions in full (https://semver.org/spec/v2.0.0.html), or calendar versions
(https://calver.org): two to four numbers, written as they are and compared as numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, total_ordering

from podbuild.errors import ConfigError, VersionError

# The regular expression that semver.org itself suggests.
_SEMVER = (
    r"(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?:-(?P<prerelease>(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+(?P<build>[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_CALVER = r"(?P<numbers>\d+(?:\.\d+){1,3})"

_LONGEST = 256  # characters; a tag has at most 128, and Python reads no endless numbers


class Scheme(StrEnum):
    """How a project numbers its versions."""

    SEMVER = "semver"
    CALVER = "calver"

    @property
    def expected(self) -> str:
        """Give what a version looks like, for people."""
        if self is Scheme.CALVER:
            return "two to four numbers, such as 2026.11 or 24.04.1"
        return "vMAJOR.MINOR.PATCH, such as v1.2.3"

    @property
    def first(self) -> Version:
        """Give a version for plans that only look what would collide."""
        return Version.parse("2026.01.01" if self is Scheme.CALVER else "1.0.0", self)

    @property
    def sample(self) -> str:
        """Give a version, for examples."""
        return "2026.11" if self is Scheme.CALVER else "1.2.3"


_EXPRESSIONS = {
    Scheme.SEMVER: re.compile(f"v?{_SEMVER}", re.ASCII),
    Scheme.CALVER: re.compile(f"v?{_CALVER}", re.ASCII),
}


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version; build metadata takes no part in order or equality (SemVer §10).

    `numbers` are those of a calendar version as written, with their leading zeros.
    """

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, scheme: Scheme = Scheme.SEMVER) -> Version:
        """Read a version with or without a leading v.

        Raises VersionError that says what is expected.

        >>> Version.parse("v1.2.3-rc.1") < Version.parse("1.2.3")
        True
        >>> Version.parse("24.04.1", Scheme.CALVER) < Version.parse("24.10", Scheme.CALVER)
        True
        """
        found = _EXPRESSIONS[scheme].fullmatch(text) if len(text) <= _LONGEST else None
        if not found:
            raise VersionError(
                f"{text[:100]!r} is not a version", hint=f"expected {scheme.expected}"
            )
        if scheme is Scheme.CALVER:
            numbers = tuple(found["numbers"].split("."))
            major, minor, patch = (*map(int, numbers[:3]), 0)[:3]
            return cls(major, minor, patch, numbers=numbers)
        prerelease, build = found["prerelease"], found["build"]
        return cls(
            int(found["major"]),
            int(found["minor"]),
            int(found["patch"]),
            tuple(prerelease.split(".")) if prerelease else (),
            tuple(build.split(".")) if build else (),
        )

    @classmethod
    def read(cls, text: str) -> Version | None:
        """Give what an image says that its version is, of either scheme; None where it is none."""
        for scheme in Scheme:
            try:
                return cls.parse(text, scheme)
            except VersionError:
                continue
        return None

    @property
    def is_stable(self) -> bool:
        """Tell whether this is no prerelease."""
        return not self.prerelease

    @property
    def written(self) -> tuple[str, ...]:
        """Give the numbers as tags have them: three of a semantic version."""
        return self.numbers or (str(self.major), str(self.minor), str(self.patch))

    def is_within(self, other: Version) -> bool:
        """Tell whether this is a calendar version to which the other one's numbers lead."""
        count = len(other.numbers)
        mine = tuple(map(int, self.numbers[:count]))
        return 0 < count < len(self.numbers) and mine == tuple(map(int, other.numbers))

    def __str__(self) -> str:
        """Give the version without build metadata, which no tag can hold."""
        core = ".".join(self.written)
        return f"{core}-{'.'.join(self.prerelease)}" if self.prerelease else core

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]:
        """Numbers sort as numbers and before words; a prerelease before its release (§11)."""
        identifiers = tuple(
            (
                not part.isdigit(),
                int(part) if part.isdigit() else 0,
                part if not part.isdigit() else "",
            )
            for part in self.prerelease
        )
        return (tuple(map(int, self.written)), self.is_stable, identifiers)


_PLACEHOLDER = "{version}"
# What git refuses in the name of a tag (git-check-ref-format).
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$")


@dataclass(frozen=True)
class TagForm:
    """The form of a project's git tags, such as `web-v{version}`.

    Empty: the version alone, with or without a v before it.
    """

    text: str = ""
    scheme: Scheme = Scheme.SEMVER

    def __post_init__(self) -> None:
        """Raise ConfigError for what is no form of a git tag."""
        before, found, after = self.text.partition(_PLACEHOLDER)
        if not self.text:
            return
        if not found or {*before, *after} & {*"{}"}:
            raise ConfigError(
                f"{self.text!r} is no form of a tag",
                hint='it has {version} once and no other placeholder, such as "web-v{version}"',
            )
        if _NO_REF.search(f"{before}1.2{after}"):
            raise ConfigError(f"git takes no tag such as {before}1.2.3{after}")

    @property
    def is_plain(self) -> bool:
        """Tell whether a project needs no key for this form."""
        return self.text in ("", _PLACEHOLDER, f"v{_PLACEHOLDER}")

    @cached_property
    def _around(self) -> tuple[str, str]:
        before, _, after = self.text.partition(_PLACEHOLDER)
        return before, after

    def tag(self, version: Version | str) -> str:
        """Give the git tag of a version."""
        return (self.text or f"v{_PLACEHOLDER}").replace(_PLACEHOLDER, str(version))

    def read(self, tag: str) -> Version | None:
        """Give the version that a git tag names; None where it is not of this form.

        >>> str(TagForm("api/v{version}").read("api/v1.2.3")), TagForm().read("api/v1.2.3")
        ('1.2.3', None)
        """
        before, after = self._around
        inner = tag.removeprefix(before).removesuffix(after)
        if f"{before}{inner}{after}" != tag or (self.text and not inner[:1].isdigit()):
            return None
        try:
            return Version.parse(inner, self.scheme)
        except VersionError:
            return None

    def find(self, text: str) -> Version | None:
        """Give the version that a git tag of this form, or a version alone, names."""
        version = self.read(text)
        if version is None and (not self.text or text[:1].isdigit()):
            version = TagForm(scheme=self.scheme).read(text)
        return version

    def parse(self, text: str) -> Version:
        """Read a git tag of this form, or a version alone.

        Raises VersionError that says what is expected and, where it can be told, what key of the
        configuration would make a version of it.
        """
        version = self.find(text)
        if version is not None:
            return version
        raise VersionError(f"{text[:100]!r} is not a version{self._of_what}", hint=self._hint(text))

    @property
    def _of_what(self) -> str:
        return f" of this project, whose tags are {self.text}" if self.text else ""

    def _hint(self, text: str) -> str:
        other = guess_form((text,))
        sample = other.read(text) if other else None
        if other is None or sample is None:
            example = f" or {self.tag(self.scheme.sample)}" if self.text else ""
            return f"expected {self.scheme.expected}{example}"
        if self.text and other.scheme is self.scheme:
            return f"{self.tag(sample)} or {sample} would be"
        keys = [f'scheme = "{other.scheme}"'] if other.scheme is not self.scheme else []
        if not other.is_plain and other.text != self.text:
            keys.insert(0, f'tag = "{other.text}"')
        way_out = f"; {' and '.join(keys)} in [project] makes it one" if keys else ""
        return f"expected {self.scheme.expected}{way_out}"


def guess_form(tags: tuple[str, ...]) -> TagForm | None:
    """Give the form and scheme that most of these tags have; None where none looks like a version.

    >>> guess_form(("web-v1.0.0", "web-v1.1.0", "v0.1.0"))
    TagForm(text='web-v{version}', scheme=<Scheme.SEMVER: 'semver'>)
    """
    found: dict[str, list[Scheme]] = {}
    for tag in tags:
        for scheme, expression in _LOOKS_LIKE.items():
            matched = expression.fullmatch(tag) if len(tag) <= _LONGEST else None
            if matched:
                found.setdefault(matched["before"], []).append(scheme)
                break
    if not found:
        return None
    before = max(found, key=lambda each: len(found[each]))
    scheme = Scheme.CALVER if Scheme.CALVER in found[before] else Scheme.SEMVER
    try:
        return TagForm(f"{before}{_PLACEHOLDER}", scheme)
    except ConfigError:
        return None


_LOOKS_LIKE = {
    Scheme.SEMVER: re.compile(rf"(?P<before>(?:.*?[^0-9A-Za-z.+])?v?){_SEMVER}", re.ASCII),
    Scheme.CALVER: re.compile(rf"(?P<before>(?:.*?[^0-9A-Za-z.+])?v?){_CALVER}", re.ASCII),
}
