"""From templates to tags, and from tags back to what they stand for.

In a repository that images share, a tag belongs to the image whose template writes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from podbuild.config.model import TagRules
from podbuild.config.template import NUMBERS, Placeholders, Template
from podbuild.errors import ConfigError, VersionError
from podbuild.oci.names import Tag
from podbuild.semver import Scheme, Version
from podbuild.system.later import dataclass

_NUMBER = r"(?:0|[1-9]\d*)"

_PATTERNS = {
    "version": rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]+)?",
    "major": _NUMBER,
    "minor": _NUMBER,
    "patch": _NUMBER,
    "sha": r"[0-9a-f]{7}",
    "branch": r"[A-Za-z0-9_.-]+",
    "pr": r"\d+",
    "date": r"\d{8}",
}
_CALENDAR = {"version": r"\d+(?:\.\d+){1,3}", **dict.fromkeys(NUMBERS, r"\d+")}


class TagKind(StrEnum):
    """What a tag promises: one version for ever, one commit, or the newest of something."""

    VERSION = "version"
    SHA = "sha"
    MOVING = "moving"


def kind_of(template: Template) -> TagKind:
    """Tell what tags of this template promise.

    >>> kind_of(Template("{major}.{minor}"))
    <TagKind.MOVING: 'moving'>
    """
    if "version" in template.names or template.names.issuperset(NUMBERS):
        return TagKind.VERSION
    return TagKind.SHA if "sha" in template.names else TagKind.MOVING


@dataclass(frozen=True)
class Range:
    """The versions that a moving tag speaks for: all, those of a major, or of a minor version."""

    major: int | None = None
    minor: int | None = None
    patch: int | None = None

    @classmethod
    def of(cls, template: Template, version: Version) -> Range:
        """Give the range of this template's tag for a version."""
        return cls(
            version.major if "major" in template.names else None,
            version.minor if "minor" in template.names else None,
            version.patch if "patch" in template.names else None,
        )

    def holds(self, version: Version) -> bool:
        """Tell whether the tag speaks for this version."""
        return (
            self.major in (None, version.major)
            and self.minor in (None, version.minor)
            and self.patch in (None, version.patch)
        )


@dataclass(frozen=True, kw_only=True)
class NamedTag:
    """A tag that is to be written, and the template it comes from."""

    tag: Tag
    kind: TagKind
    template: Template


def release_tags(templates: Iterable[Template], values: Placeholders) -> tuple[NamedTag, ...]:
    """Give the tags of a release, each once, in the order of the templates.

    A prerelease gets only those that hold the whole version; 0.x gets no tag of its major
    version (https://semver.org/#spec-item-4). Raises VersionError for what no registry takes.

    >>> values = Placeholders(project="p", version=Version.parse("0.2.0"))
    >>> templates = map(Template, ("{version}", "{major}.{minor}", "{major}", "latest"))
    >>> [str(each.tag) for each in release_tags(templates, values)]
    ['0.2.0', '0.2', 'latest']
    """
    version = values.version
    if version is None:
        raise VersionError("a release needs a version")
    whole = len(version.written) <= len(NUMBERS)
    templates = tuple(templates)
    for template in templates:
        if not whole and "version" not in template.names and kind_of(template) is TagKind.VERSION:
            raise ConfigError(
                f"{template} does not hold all of version {version}", hint="{version} does"
            )
    wanted = (template for template in templates if _is_wanted(template, version))
    return _named(wanted, values)


def _is_wanted(template: Template, version: Version) -> bool:
    if not version.is_stable:
        return "version" in template.names
    if version.numbers:
        return template.names.isdisjoint(NUMBERS[len(version.numbers) :])
    only_major = "major" in template.names and not template.names & {"version", "minor"}
    return version.major > 0 or not only_major


def branch_tags(
    branches: Mapping[str, Sequence[Template]], values: Placeholders
) -> tuple[NamedTag, ...]:
    """Give the tags of a push to a branch; none where no rule names the branch.

    A rule with exactly this name wins, then the first pattern (such as `feature/*`) that matches.
    """
    branch = values.branch
    if branch is None:
        return ()
    patterns = (name for name in branches if fnmatchcase(branch, name))
    rule = branch if branch in branches else next(patterns, None)
    return () if rule is None else _named(branches[rule], values)


def snapshot_tags(
    rules: TagRules, values: Placeholders, *, scheduled: bool
) -> tuple[NamedTag, ...]:
    """Give the tags of a snapshot: a pull request's own, else the branch's and a schedule's.

    A pull request for which nothing is written is what its branch is called.
    """
    if values.pr and rules.pull_requests:
        return _named(rules.pull_requests, values)
    found = branch_tags(rules.branches, values)
    if not scheduled:
        return found
    own = _named(rules.schedule, values)
    return (*own, *(each for each in found if each.tag not in {named.tag for named in own}))


def _named(templates: Iterable[Template], values: Placeholders) -> tuple[NamedTag, ...]:
    found: dict[Tag, NamedTag] = {}
    for template in templates:
        tag = Tag(template.expand(values))
        named = NamedTag(tag=tag, kind=kind_of(template), template=template)
        if tag not in found or named.kind is TagKind.VERSION:
            found[tag] = named
    return tuple(found.values())


@dataclass(frozen=True)
class Reader:
    """Reads tags of one template of one image back. Env and names are taken as they are now.

    `moving` are the templates of the image's moving tags: with calendar versions of two and more
    numbers `24.04` may be a version, or the newest of 24.04.1 and 24.04.2.
    """

    template: Template
    values: Placeholders
    moving: tuple[Template, ...] = ()

    @cached_property
    def _expression(self) -> re.Pattern[str] | None:
        seen: set[str] = set()
        is_calver = self.values.scheme is Scheme.CALVER
        patterns = _PATTERNS | (_CALENDAR if is_calver else {})
        pattern = ""
        for part in self.template.parts:
            if not part.is_placeholder:
                pattern += re.escape(part.text)
            elif part.text in seen:
                pattern += f"(?P={part.text})"
            elif part.text in patterns:
                pattern += f"(?P<{part.text}>{patterns[part.text]})"
                seen.add(part.text)
            elif (value := self.values.value(part.text)) is not None:
                pattern += re.escape(value)
            else:
                return None
        return re.compile(pattern, re.ASCII)

    def groups(self, tag: Tag) -> Mapping[str, str] | None:
        """Give what this tag's placeholders stand for; None where it is not of this template."""
        found = self._expression and self._expression.fullmatch(tag.text)
        return found.groupdict() if found else None

    def version(self, tag: Tag) -> Version | None:
        """Give the version that this tag was written for; None where it is not of this template.

        >>> alpine = Reader(Template("{version}-alpine"), Placeholders(project="p"))
        >>> str(alpine.version(Tag("1.2.3-alpine")))
        '1.2.3'
        """
        groups = self.groups(tag)
        if groups is None or kind_of(self.template) is not TagKind.VERSION:
            return None
        text = groups.get("version") or "{major}.{minor}.{patch}".format(**groups)
        try:
            version = Version.parse(text, self.values.scheme)
        except VersionError:
            return None
        values = replace(
            self.values,
            version=version,
            sha=groups.get("sha", ""),
            branch=groups.get("branch"),
            date=groups.get("date", ""),
        )
        return version if self.template.expand(values) == tag.text else None

    def tag(self, version: Version) -> Tag | None:
        """Give the tag that this template writes for a version; None where it needs a date.

        >>> Reader(Template("{version}-alpine"), Placeholders(project="p")).tag(Version(1, 2, 3))
        Tag(text='1.2.3-alpine')
        """
        values = replace(self.values, version=version)
        if None in map(values.value, self.template.names):
            return None
        return Tag(self.template.expand(values))

    def as_range(self, tag: Tag) -> Range | None:
        """Give the range that this tag would have as a moving tag of the same image."""
        ranges = (Reader(each, self.values).range(tag) for each in self.moving)
        return next(filter(None, ranges), None)

    def range(self, tag: Tag) -> Range | None:
        """Give the range of a moving tag; None where it is not of this template."""
        groups = self.groups(tag)
        if groups is None or kind_of(self.template) is not TagKind.MOVING:
            return None
        return Range(*(int(groups[name]) if name in groups else None for name in NUMBERS))


def owned_versions(
    tags: Iterable[Tag], mine: Sequence[Reader], others: Sequence[Reader] = ()
) -> Mapping[Tag, Version]:
    """Give the version of each tag that one of `mine` wrote.

    Where several templates of one repository read a tag, the most specific one wrote it:
    `1.2.3-alpine` is a prerelease under `{version}`, unless `{version}-alpine` is a template.
    """
    readers = sorted({*mine, *others}, key=lambda each: -each.template.literal_length)
    found: dict[Tag, Version] = {}
    ranges: set[Tag] = set()
    for tag in tags:
        for reader in readers:
            version = reader.version(tag)
            if version is None:
                continue
            if reader in mine:
                found[tag] = version
                if version.numbers and reader.as_range(tag):
                    ranges.add(tag)
            break
    return without_ranges(found, ranges)


def without_ranges(versions: Mapping[Tag, Version], ranges: Collection[Tag]) -> dict[Tag, Version]:
    """Leave out tags that only look like versions: `24.04` where 24.04.1 is one.

    `ranges` are the tags that a template of moving tags may have written too.
    """
    return {
        tag: version
        for tag, version in versions.items()
        if tag not in ranges or not any(other.is_within(version) for other in versions.values())
    }


def is_own_tag(tag: Tag, version: Version | None, readers: Iterable[Reader]) -> bool:
    """Tell whether a tag that names this version is the one that never moves from it."""
    return version is not None and any(each.version(tag) == version for each in readers)


def written_by_release(tag: Tag, templates: Iterable[Template], values: Placeholders) -> bool:
    """Tell whether some release could write this tag, so that no branch may."""
    readers = [Reader(template, values) for template in templates]
    return any(
        reader.version(tag) is not None or reader.range(tag) is not None for reader in readers
    )


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A tag's image, and the version or (for a moving tag) the versions that it stands for."""

    image: str = ""
    version: Version | None = None
    range: Range | None = None


@dataclass(frozen=True)
class Owners:
    """Finds a tag's owner by the templates that releases of each image write.

    Where several read a tag, the most specific one wrote it, as `owned_versions` says.
    """

    readers: Mapping[str, Sequence[Reader]]  # by image
    _known: dict[Tag, Owned] = field(default_factory=dict, kw_only=True, repr=False)

    def __call__(self, tag: Tag) -> Owned:
        """Give what is known of a tag: nothing where no release writes it."""
        if tag not in self._known:
            self._known[tag] = self._find(tag)
        return self._known[tag]

    def _find(self, tag: Tag) -> Owned:
        every = [(image, reader) for image, found in self.readers.items() for reader in found]
        every.sort(key=lambda each: -each[1].template.literal_length)
        for image, reader in every:
            if version := reader.version(tag):
                return Owned(image=image, version=version, range=reader.as_range(tag))
        for image, reader in every:
            if within := reader.range(tag):
                return Owned(image=image, range=within)
        return Owned()
