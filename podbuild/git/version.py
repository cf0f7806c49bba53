"""Which version is meant: the one asked for, or the tag that is checked out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podbuild.errors import ConfigError, VersionError
from podbuild.git.ci import CiFacts
from podbuild.git.facts import Facts, NoFacts
from podbuild.versions import Version


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The version, the git tag that stands for it (None: there is none), what to warn of."""

    version: Version
    tag: str | None = None
    warning: str = ""


def resolve_version(text: str | None, facts: Facts | NoFacts, ci: CiFacts) -> Resolved:
    """Give the version to release; `text` is what the user asked for, if anything.

    Raises VersionError where `text` is no version or its git tag is not checked out, and
    ConfigError where nothing or several things tell the version. Without a git tag there is
    only a warning: --require-tag is the caller's.
    """
    if text is None:
        text = _implied(facts, ci)
    version = Version.parse(text)
    if isinstance(facts, NoFacts):
        return Resolved(version=version, warning=f"no git tag was looked at: {facts.reason}")
    tags = {tag: facts.tags[tag] for tag in _tags_of(version, facts.tags)}
    here = [tag for tag, commit in tags.items() if commit == facts.commit]
    if here:
        return Resolved(version=version, tag=text if text in here else here[0])
    if tags:
        tag, commit = next(iter(tags.items()))
        raise VersionError(
            f"{tag} is commit {commit[:12]}, but {facts.commit[:12]} is checked out",
            hint=f"git checkout {tag}",
        )
    return Resolved(version=version, warning=f"there is no git tag v{version}")


def _implied(facts: Facts | NoFacts, ci: CiFacts) -> str:
    """Give the tag at HEAD, else the CI's; the CI's also picks one of several at HEAD."""
    found = [] if isinstance(facts, NoFacts) else [*_versions(facts.tags_at_head)]
    different = {Version.parse(tag): tag for tag in found}
    named = ci.tag if ci.tag is not None and _is_version(ci.tag) else None
    if named and (not different or Version.parse(named) in different):
        return named
    if len(different) == 1:
        return next(iter(different.values()))
    if different:
        raise ConfigError(
            f"several versions are tagged at this commit: {', '.join(found)}",
            hint="name the one that is meant, such as podbuild release " + found[-1],
        )
    reason = f" ({facts.reason})" if isinstance(facts, NoFacts) else ""
    raise ConfigError(
        f"no version is given, and no SemVer tag is at this commit{reason}",
        hint="podbuild release v1.2.3, or git tag v1.2.3 first",
    )


def previous_tag(version: Version, tags: Iterable[str]) -> str | None:
    """Give the git tag of the highest version below this one; stable ones for a stable version.

    >>> previous_tag(Version(1, 1, 0), ["v1.0.0", "v1.1.0-rc.1", "v1.1.0", "x"])
    'v1.0.0'
    """
    found = {Version.parse(tag): tag for tag in _versions(tags)}
    below = [each for each in found if each < version and (each.is_stable or not version.is_stable)]
    return found[max(below)] if below else None


def _tags_of(version: Version, tags: Iterable[str]) -> list[str]:
    """Give the tags that mean this version, with and without the leading v."""
    return [tag for tag in sorted(_versions(tags)) if Version.parse(tag) == version]


def _versions(tags: Iterable[str]) -> list[str]:
    return [tag for tag in tags if _is_version(tag)]


def _is_version(tag: str) -> bool:
    try:
        Version.parse(tag)
    except VersionError:
        return False
    return True
