"""Which version is meant, and whether a commit is older than another.

The version asked for, or the tag that is checked out; missing history is fetched first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable
from dataclasses import field
from pathlib import Path

from podbuild.errors import ConfigError, ToolError, VersionError
from podbuild.plan.git.ci import CiFacts
from podbuild.plan.git.worktree import TIMEOUT, Facts, NoFacts, git_runner
from podbuild.plan.guards import Ancestry
from podbuild.semver import Scheme, TagForm, Version, guess_form
from podbuild.system.later import dataclass
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


def resolve_version(
    text: str | None, facts: Facts | NoFacts, ci: CiFacts, form: TagForm | None = None
) -> Resolved:
    """Give the version to release; `text` is what the user asked for, if anything.

    `form` is that of the project's tags: all others are another project's.

    Raises VersionError where `text` is no version or its git tag is not checked out, and
    ConfigError where nothing or several things tell the version. Without a git tag there is
    only a warning: --require-tag is the caller's.
    """
    form = form or TagForm()
    if text is None:
        text = _implied(facts, ci, form)
    version = form.parse(text)
    if isinstance(facts, NoFacts):
        return Resolved(version=version, warning=f"no git tag was looked at: {facts.reason}")
    tags = {tag: each for tag, each in _versions(facts.tags, form).items() if each == version}
    here = sorted(tag for tag in tags if facts.tags[tag] == facts.commit)
    if here:
        tag = text if text in here else _likeliest(here, version, form)
        return Resolved(version=tags[tag], tag=tag)  # written as the tag has it: 24.04
    if tags:
        tag = text if text in tags else _likeliest(tags, version, form)
        raise VersionError(
            f"{tag} is commit {facts.tags[tag][:12]}, but {facts.commit[:12]} is checked out",
            hint=f"git checkout {tag}",
        )
    return Resolved(version=version, warning=f"there is no git tag {form.tag(version)}")


def _likeliest(tags: Collection[str], version: Version, form: TagForm) -> str:
    """Choose between v1.2.3, 1.2.3 and 1.2.3+build, which name one version."""
    plain = form.tag(version)
    return plain if plain in tags else min(tags)


def _implied(facts: Facts | NoFacts, ci: CiFacts, form: TagForm) -> str:
    """Give the tag at HEAD, else the CI's; the CI's also picks one of several at HEAD."""
    found = {} if isinstance(facts, NoFacts) else _versions(facts.tags_at_head, form)
    different = {version: tag for tag, version in found.items()}
    named = form.read(ci.tag) if ci.tag is not None else None
    if ci.tag is not None and named and (not different or named in different):
        return ci.tag
    if len(different) == 1:
        return next(iter(different.values()))
    if different:
        highest = different[max(different)]
        raise ConfigError(
            f"several versions are tagged at this commit: {', '.join(found)}",
            hint=f"name the one that is meant, such as podbuild release {highest}",
        )
    reason = f" ({facts.reason})" if isinstance(facts, NoFacts) else ""
    example = form.tag(form.scheme.sample)
    others = () if isinstance(facts, NoFacts) else facts.tags_at_head
    raise ConfigError(
        f"no version is given, and {_no_tag(form)} is at this commit{reason}",
        hint=_key_for(others, form) or f"podbuild release {example}, or git tag {example} first",
    )


def _no_tag(form: TagForm) -> str:
    if form.text:
        return f"no tag {form.text}"
    return "no calendar version's tag" if form.scheme is Scheme.CALVER else "no SemVer tag"


def _key_for(tags: tuple[str, ...], form: TagForm) -> str:
    """Name the keys that would make a version of a tag at HEAD, where none are written."""
    guessed = guess_form(tags)
    if guessed is None or form.text or form.scheme is not Scheme.SEMVER:
        return ""
    keys = [] if guessed.is_plain else [f'tag = "{guessed.text}"']
    keys += [f'scheme = "{guessed.scheme}"'] if guessed.scheme is Scheme.CALVER else []
    return f"{' and '.join(keys)} in [project], if {', '.join(tags[:3])} is this project's"


def previous_tag(version: Version, tags: Iterable[str], form: TagForm | None = None) -> str | None:
    """Give the git tag of the highest version below this one; stable ones for a stable version.

    >>> previous_tag(Version(1, 1, 0), ["v1.0.0", "v1.1.0-rc.1", "v1.1.0", "x"])
    'v1.0.0'
    """
    found = {each: tag for tag, each in _versions(tags, form or TagForm()).items()}
    below = [each for each in found if each < version and (each.is_stable or not version.is_stable)]
    return found[max(below)] if below else None


def _versions(tags: Iterable[str], form: TagForm) -> dict[str, Version]:
    """Give the tags of this form with their versions, sorted."""
    return {tag: version for tag in sorted(tags) if (version := form.read(tag)) is not None}
