"""Whether a commit is older than another, with missing history fetched first."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.errors import ToolError
from podbuild.git.command import TIMEOUT, git_runner
from podbuild.git.facts import Facts
from podbuild.run import CommandError, Finished, Runner
from podbuild.tags import Ancestry

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
