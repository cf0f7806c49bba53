"""Which version is meant, and what CI systems say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from podbuild.errors import ConfigError, VersionError
from podbuild.plan.git.history import CiFacts, ci_facts, previous_tag, resolve_version
from podbuild.plan.git.worktree import Facts, NoFacts
from podbuild.semver import Scheme, TagForm, Version

HEAD, OTHER = "a" * 40, "b" * 40
NONE = NoFacts("no git here")


def facts(here: str = "", elsewhere: str = "") -> Facts:
    return Facts(
        top=Path("/project"),
        commit=HEAD,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        branch="main",
        tags=dict.fromkeys(here.split(), HEAD) | dict.fromkeys(elsewhere.split(), OTHER),
        dirty=(),
        shallow=False,
        remote="",
    )


@pytest.mark.parametrize(
    ("text", "found", "ci", "version", "tag"),
    [
        (None, facts("v1.2.3 nightly"), None, "1.2.3", "v1.2.3"),
        (None, facts("v1.2.3 1.2.3"), None, "1.2.3", "v1.2.3"),
        (None, facts("v1.2.3 v1.2.3-rc.1"), "v1.2.3", "1.2.3", "v1.2.3"),
        (None, facts("v1.2.3"), "v9.9.9", "1.2.3", "v1.2.3"),
        (None, facts("v1.2.3"), "not-a-version", "1.2.3", "v1.2.3"),
        (None, NONE, "v1.2.3", "1.2.3", None),
        (None, facts(), "v1.2.3", "1.2.3", None),
        ("v1.2.3", facts("v1.2.3"), None, "1.2.3", "v1.2.3"),
        ("1.2.3", facts("v1.2.3"), None, "1.2.3", "v1.2.3"),
        ("v1.2.3", facts("1.2.3", "v1.2.3"), None, "1.2.3", "1.2.3"),
        ("v1.2.3+b.1", facts("v1.2.3"), None, "1.2.3", "v1.2.3"),
        ("v1.2.3", facts("v1.2.3 v1.2.3-rc.1"), None, "1.2.3", "v1.2.3"),
    ],
)
def test_the_version_is_found(
    text: str | None, found: Facts | NoFacts, ci: str | None, version: str, tag: str | None
) -> None:
    resolved = resolve_version(text, found, CiFacts(tag=ci))
    assert (str(resolved.version), resolved.tag) == (version, tag)
    assert bool(resolved.warning) is (tag is None)


@pytest.mark.parametrize("found", [facts("nightly"), NONE])
def test_no_version_at_all_is_refused(found: Facts | NoFacts) -> None:
    with pytest.raises(ConfigError, match="no version is given") as caught:
        resolve_version(None, found, CiFacts())
    assert "git tag" in caught.value.hint


def test_several_versions_at_one_commit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"v1\.2\.3, v1\.2\.3-rc\.1"):
        resolve_version(None, facts("v1.2.3-rc.1 v1.2.3"), CiFacts())


def test_a_tag_that_is_not_checked_out_names_the_next_step() -> None:
    with pytest.raises(VersionError, match="bbbbbbbbbbbb, but aaaaaaaaaaaa is") as caught:
        resolve_version("1.2.3", facts("v2.0.0", "v1.2.3"), CiFacts())
    assert caught.value.hint == "git checkout v1.2.3"


WEB = TagForm("web-v{version}")
CALVER = TagForm("", Scheme.CALVER)


@pytest.mark.parametrize(
    ("text", "found", "ci", "form", "version", "tag"),
    [
        (None, facts("web-v1.2.3 api-v9.0.0 v8.0.0"), None, WEB, "1.2.3", "web-v1.2.3"),
        (None, facts(), "web-v1.2.3", WEB, "1.2.3", None),
        ("1.2.3", facts("web-v1.2.3", "v1.2.3 api-v1.2.3"), None, WEB, "1.2.3", "web-v1.2.3"),
        ("2024.01.15", facts("2024.01.15"), None, CALVER, "2024.01.15", "2024.01.15"),
        (None, facts("v24.04"), None, CALVER, "24.04", "v24.04"),
        ("24.4", facts("24.04"), None, CALVER, "24.04", "24.04"),
    ],
)
def test_tags_of_the_project_s_form_name_the_version(
    text: str | None, found: Facts, ci: str | None, form: TagForm, version: str, tag: str | None
) -> None:
    resolved = resolve_version(text, found, CiFacts(tag=ci), form)
    assert (str(resolved.version), resolved.tag) == (version, tag)


def test_hints_name_tags_of_the_form() -> None:
    with pytest.raises(VersionError) as caught:
        resolve_version("1.0.0", facts("", "web-v1.0.0 v1.0.0"), CiFacts(), WEB)
    assert caught.value.hint == "git checkout web-v1.0.0"
    with pytest.raises(ConfigError, match="no tag web-v") as none:
        resolve_version(None, facts("v1.0.0"), CiFacts(tag="v1.0.0"), WEB)
    assert "git tag web-v1.2.3" in none.value.hint
    with pytest.raises(ConfigError) as several:
        resolve_version(None, facts("web-v1.9.0 web-v1.10.0"), CiFacts(), WEB)
    assert several.value.hint.endswith("podbuild release web-v1.10.0")
    with pytest.raises(ConfigError) as unknown:
        resolve_version(None, facts("api/v1.0.0"), CiFacts())
    assert 'tag = "api/v{version}" in [project]' in unknown.value.hint
    assert "web-v1.1.0" in resolve_version("1.1.0", facts(), CiFacts(), WEB).warning


def test_the_release_before_is_of_the_form() -> None:
    tags = ["v1.9.0", "web-v1.0.0", "web-v1.2.0"]
    assert previous_tag(Version.parse("1.2.0"), tags, WEB) == "web-v1.0.0"
    days = ["2024.9.30", "2024.10.01", "2024.10.02"]
    assert previous_tag(CALVER.parse("2024.10.02"), days, CALVER) == "2024.10.01"


@pytest.mark.parametrize("text", ["v1.0", "main", "", "1.2.3.4"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(VersionError) as caught:
        resolve_version(text, facts(), CiFacts())
    assert "v1.2.3" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "tags", "expected"),
    [
        ("1.1.0", "v1.0.0 v1.1.0-rc.1 v1.1.0 v2.0.0", "v1.0.0"),
        ("1.1.0-rc.2", "v1.0.0 v1.1.0-rc.1", "v1.1.0-rc.1"),
        ("1.10.0", "1.9.0 1.2.0", "1.9.0"),
        ("1.0.0", "v1.0.0 latest", None),
    ],
)
def test_the_release_before(version: str, tags: str, expected: str | None) -> None:
    assert previous_tag(Version.parse(version), tags.split()) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, CiFacts()),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_REF_TYPE": "branch",
                "GITHUB_REF_NAME": "main",
                "GITHUB_SHA": HEAD,
                "GITHUB_REPOSITORY": "acme/shop",
            },
            CiFacts(system="github", branch="main", commit=HEAD, repository="acme/shop"),
        ),
        (
            {"GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1.2.3"},
            CiFacts(system="github", tag="v1.2.3"),
        ),
        ({"GITHUB_REF_NAME": "v1.2.3"}, CiFacts(system="github", tag="v1.2.3")),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITEA_ACTIONS": "true",
                "GITHUB_REF_TYPE": "branch",
                "GITHUB_REF_NAME": "x",
            },
            CiFacts(system="gitea", branch="x"),
        ),
        (
            {
                "GITHUB_ACTIONS": "true",
                "FORGEJO_ACTIONS": "true",
                "GITHUB_REF_TYPE": "tag",
                "GITHUB_REF_NAME": "x",
            },
            CiFacts(system="forgejo", tag="x"),
        ),
        (
            {
                "GITLAB_CI": "true",
                "CI_COMMIT_BRANCH": "main",
                "CI_COMMIT_SHA": HEAD,
                "CI_PROJECT_PATH": "acme/shop",
            },
            CiFacts(system="gitlab", branch="main", commit=HEAD, repository="acme/shop"),
        ),
        ({"GITLAB_CI": "true", "CI_COMMIT_TAG": "v1"}, CiFacts(system="gitlab", tag="v1")),
        (
            {
                "GITLAB_CI": "true",
                "CI_COMMIT_REF_NAME": "main",
                "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "main",
            },
            CiFacts(system="gitlab"),
        ),
        (
            {"GITLAB_CI": "true", "CI_MERGE_REQUEST_IID": "3", "CI_COMMIT_SHA": HEAD},
            CiFacts(system="gitlab", branch="merge-requests/3", commit=HEAD, pr="3"),
        ),
        (
            {
                "CI": "woodpecker",
                "CI_COMMIT_SHA": HEAD,
                "CI_COMMIT_BRANCH": "main",
                "CI_REPO": "acme/shop",
            },
            CiFacts(system="woodpecker", branch="main", commit=HEAD, repository="acme/shop"),
        ),
        (
            {"CI": "woodpecker", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_PULL_REQUEST": "3"},
            CiFacts(system="woodpecker", branch="pull/3", pr="3"),
        ),
        (
            {"JENKINS_URL": "http://j", "GIT_BRANCH": "origin/main", "GIT_COMMIT": HEAD},
            CiFacts(system="jenkins", branch="main", commit=HEAD),
        ),
        (
            {"JENKINS_URL": "http://j", "BRANCH_NAME": "PR-12", "GIT_BRANCH": "main"},
            CiFacts(system="jenkins", branch="PR-12"),
        ),
    ],
)
def test_what_ci_systems_say(environment: dict[str, str], expected: CiFacts) -> None:
    assert ci_facts(environment) == expected


def test_a_pull_request_is_not_the_branch_it_comes_from() -> None:
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_REF_NAME": "12/merge",
        "GITHUB_HEAD_REF": "main",
    }
    assert ci_facts(environment).branch == "12/merge"


def test_a_job_with_a_branchs_rights_is_the_branchs_only_at_its_own_commit() -> None:
    found = ci_facts(
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REF_NAME": "main",
            "GITHUB_HEAD_REF": "main",
            "GITHUB_SHA": HEAD,
        }
    )
    assert found.branch_of(HEAD) == "main"
    assert found.branch_of("f" * 40) == "pull/main"
