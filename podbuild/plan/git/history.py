"""Which version is meant, whether a commit is older than another, what CI says of it.

The version asked for, or the tag that is checked out; missing history is fetched first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from pathlib import Path

from podbuild.errors import ConfigError, ToolError, VersionError
from podbuild.plan.git.worktree import TIMEOUT, Facts, NoFacts, git_runner
from podbuild.plan.guards import Ancestry
from podbuild.semver import Scheme, TagForm, Version, guess_form
from podbuild.system.later import dataclass
from podbuild.system.process import CommandError, Finished, Runner


@dataclass(frozen=True, kw_only=True)
class CiFacts:
    """Empty or None: the system does not say, or there is none.

    `request` is the name of a pull request whose job runs for the branch that it goes to.
    """

    system: str = ""
    branch: str | None = None
    request: str = ""
    tag: str | None = None
    commit: str = ""
    repository: str = ""  # such as acme/shop
    pr: str = ""  # the number of a pull request
    scheduled: bool = False  # a run by the clock, not by a push

    def branch_of(self, checked_out: str) -> str | None:
        """Give the branch that a commit is built for, as far as the system tells."""
        return self.request if self.request and checked_out != self.commit else self.branch


def ci_facts(environment: Mapping[str, str]) -> CiFacts:
    """Read the variables of GitHub, Forgejo, Gitea, GitLab, Woodpecker or Jenkins.

    A pull request is never taken for the branch that it comes from (a fork may name its branch
    `main` too), nor for the one that it goes to.
    """
    if environment.get("GITHUB_ACTIONS") or environment.get("GITHUB_REF_NAME"):
        return _github(environment)
    if environment.get("CI") == "woodpecker":
        return _woodpecker(environment)
    if environment.get("GITLAB_CI") or environment.get("CI_COMMIT_SHA"):
        return _gitlab(environment)
    if environment.get("JENKINS_URL"):
        return _jenkins(environment)
    return CiFacts()


def _github(environment: Mapping[str, str]) -> CiFacts:
    """Forgejo and Gitea set the same names.

    https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    """
    name = environment.get("GITHUB_REF_NAME") or None
    kind = environment.get("GITHUB_REF_TYPE", "")
    system = "github"
    if environment.get("FORGEJO_ACTIONS"):
        system = "forgejo"
    elif environment.get("GITEA_ACTIONS"):
        system = "gitea"
    return CiFacts(
        system=system,
        branch=name if kind == "branch" else None,
        request=_aimed_at_the_branch(environment),
        tag=name if kind in ("tag", "") else None,
        commit=environment.get("GITHUB_SHA", ""),
        repository=environment.get("GITHUB_REPOSITORY", ""),
        pr=_number(r"refs/pull/(\d+)/\w+", environment.get("GITHUB_REF", "")),
        scheduled=environment.get("GITHUB_EVENT_NAME") == "schedule",
    )


def _number(pattern: str, text: str) -> str:
    found = re.fullmatch(pattern, text, re.ASCII)
    return found[1] if found else ""


def _aimed_at_the_branch(environment: Mapping[str, str]) -> str:
    """Name a pull request whose job has the branch's name and rights, whatever it checks out.

    https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
    """
    if environment.get("GITHUB_EVENT_NAME") != "pull_request_target":
        return ""
    return f"pull/{environment.get('GITHUB_HEAD_REF', '')}"


def _gitlab(environment: Mapping[str, str]) -> CiFacts:
    """https://docs.gitlab.com/ci/variables/predefined_variables/ ."""
    request = environment.get("CI_MERGE_REQUEST_IID")
    return CiFacts(
        system="gitlab",
        branch=f"merge-requests/{request}"
        if request
        else environment.get("CI_COMMIT_BRANCH") or None,
        tag=environment.get("CI_COMMIT_TAG") or None,
        commit=environment.get("CI_COMMIT_SHA", ""),
        repository=environment.get("CI_PROJECT_PATH", ""),
        pr=_number(r"(\d+)", request or ""),
        scheduled=environment.get("CI_PIPELINE_SOURCE") == "schedule",
    )


def _woodpecker(environment: Mapping[str, str]) -> CiFacts:
    """Take the branch of a pull request for what it is: the one that it goes to.

    https://woodpecker-ci.org/docs/usage/environment
    """
    request = environment.get("CI_COMMIT_PULL_REQUEST")
    return CiFacts(
        system="woodpecker",
        branch=f"pull/{request}" if request else environment.get("CI_COMMIT_BRANCH") or None,
        tag=environment.get("CI_COMMIT_TAG") or None,
        commit=environment.get("CI_COMMIT_SHA", ""),
        repository=environment.get("CI_REPO", ""),
        pr=_number(r"(\d+)", request or ""),
        scheduled=environment.get("CI_PIPELINE_EVENT") == "cron",
    )


def _jenkins(environment: Mapping[str, str]) -> CiFacts:
    """BRANCH_NAME is set by multibranch jobs, GIT_BRANCH (with the remote) by the git plugin."""
    branch = environment.get("BRANCH_NAME") or environment.get("GIT_BRANCH") or ""
    return CiFacts(
        system="jenkins",
        branch=branch.removeprefix("origin/") or None,
        tag=environment.get("TAG_NAME") or None,
        commit=environment.get("GIT_COMMIT", ""),
        pr=_number(r"(\d+)", environment.get("CHANGE_ID", "")),
    )


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
