"""Whether a commit is older than another, with missing history fetched first.

Which version is meant: the one asked for, or the tag that is checked out.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.errors import ConfigError, ToolError, VersionError
from podbuild.plan.git.ci import CiFacts
from podbuild.plan.git.command import TIMEOUT, git_runner
from podbuild.plan.git.worktree import Facts, NoFacts
from podbuild.plan.guards import Ancestry
from podbuild.semver import Version
from podbuild.system.process import CommandError, Finished, Runner

FETCH_TIMEOUT = 600.0  # seconds


_COMMIT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(kw_only=True)
class History:
    """The history of one branch, as far as its remote tells. Safe to ask from several threads.

    `branch` is the one that is published, which CI systems don't always check out.
    """

    runner: Runner
    folder: Path
    facts: Facts
    branch: str | None
    _known: dict[str, Ancestry] = field(default_factory=dict)
    _told: str = ""  # the remote branch's commit, as it told last
    _is_shallow: bool = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._is_shallow = self.facts.shallow

    def ancestry(self, revision: str) -> Ancestry:
        """Say how a commit stands to the one that is checked out."""
        with self._lock:
            if revision not in self._known:
                self._known[revision] = self._find(revision)
            return self._known[revision]

    def _find(self, revision: str) -> Ancestry:
        """Fetch only when this clone can't tell: a `yes` is right in a shallow clone too."""
        if not _COMMIT.fullmatch(revision):
            return Ancestry.UNKNOWN
        if self._is_ancestor(revision, self.facts.commit):
            return Ancestry.ANCESTOR
        if self._told and self._is_ancestor(revision, self._told):
            return Ancestry.NOT_ANCESTOR
        tip = self._remote_tip()
        if self._is_ancestor(revision, self.facts.commit):
            return Ancestry.ANCESTOR
        if tip:
            inside = self._is_ancestor(revision, tip)
            return Ancestry.NOT_ANCESTOR if inside else Ancestry.GONE
        known = not self._is_shallow and self._has(revision)
        return Ancestry.NOT_ANCESTOR if known else Ancestry.UNKNOWN

    def _remote_tip(self) -> str:
        """Give the remote branch's commit, with its whole history here; empty if that fails.

        Asked anew each time: what it does not hold may have been pushed since it told last.
        """
        tip = self._fetch() if self.branch and self.facts.remote else ""
        self._told = tip or self._told
        return tip

    def _fetch(self) -> str:
        """Fetch commits without their files: the one write to `.git` that podbuild does."""
        name = f"refs/heads/{self.branch}"
        try:
            listed = self._git("ls-remote", "--exit-code", "origin", name, timeout=TIMEOUT)
            tip = listed.out.split()[0]
            if self._is_shallow:
                self._git("fetch", "--unshallow", "--filter=tree:0", *_QUIETLY, name)
                self._is_shallow = False
            elif not self._has(tip):
                self._git("fetch", *_QUIETLY, name)
        except (CommandError, ToolError):
            return ""
        return tip if self._has(tip) else ""

    def _is_ancestor(self, old: str, new: str) -> bool:
        asked = self._git("merge-base", "--is-ancestor", old, new, ok=(0, 1, 128))
        return asked.code == 0

    def _has(self, commit: str) -> bool:
        return self._git("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128)).code == 0

    def _git(
        self, *argv: str, timeout: float = FETCH_TIMEOUT, ok: tuple[int, ...] = (0,)
    ) -> Finished:
        return git_runner(self.runner, self.folder)("git", *argv, timeout=timeout, ok=ok)


_QUIETLY = ("--quiet", "--no-tags", "origin")


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
