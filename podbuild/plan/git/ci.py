"""What the CI system says of branch, tag, commit and repository."""

from __future__ import annotations

import re
from collections.abc import Mapping

from podbuild.system.later import dataclass


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
