"""Each row of docs/metadata-action.md gives the tags that it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.errors import ConfigError
from podbuild.plan.git.history import CiFacts, ci_facts
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Plan, Request

PAGE = Path(__file__).parents[3] / "docs" / "metadata-action.md"
IMAGES = '\n[images.web]\ncontainerfile = "Containerfile"\n'
COMMIT = "c" * 40


def rows() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith(("| `", "| the same")):
            action, written, event, tags = cells
            lines = re.findall(r"`([^`]+)`", written)
            yield action, "\n".join(lines), event, tuple(re.findall(r"`([^`]+)`", tags))


ROWS = list(rows())


def toml(written: str) -> str:
    """Give a whole configuration: lines without a table belong to [tags]."""
    tables = {"project": ['name = "shop"'], "tags": []}
    for line in written.split("\n"):
        found = re.match(r"\[(\w+)\] ", line)
        tables[found[1] if found else "tags"].append(line[found.end() if found else 0 :])
    lines = (f"[{name}]\n" + "\n".join(found) for name, found in tables.items())
    return "\n".join(lines) + IMAGES


def planned(folder: Path, text: str, event: str) -> Plan:
    config = parse_config(text, folder / "podbuild.toml", {"CHANNEL": "beta"})
    kind, _, name = event.rpartition(" ")
    source = Commit(commit=COMMIT, branch="main", day="20261127")
    if kind == "tag":
        version = config.project.form.parse(name)
        return make_plan(config, Request(version=version), source)
    found = {
        "push to": Commit(commit=COMMIT, branch=name, day="20261127"),
        "pull request": Commit(commit=COMMIT, branch=f"{name}/merge", pr=name, day="20261127"),
        "schedule on": Commit(commit=COMMIT, branch=name, scheduled=True, day="20261127"),
    }
    return make_plan(config, Request(), found[kind])


@pytest.mark.parametrize(("action", "written", "event", "tags"), ROWS, ids=str)
def test_the_row_holds(
    tmp_path: Path, action: str, written: str, event: str, tags: tuple[str, ...]
) -> None:
    assert action
    (target,) = planned(tmp_path, toml(written), event).targets
    assert tuple(str(move) for move in target.tags) == tags


def test_every_type_of_the_action_has_a_row() -> None:
    page = PAGE.read_text()
    for kind in ("semver", "pep440", "match", "edge", "schedule", "raw", "sha"):
        assert f"`type={kind}" in page
    for event in ("tag", "branch", "pr"):
        assert f"`type=ref,event={event}`" in page
    assert len(ROWS) == 27


def test_a_long_sha_is_the_variable_of_the_job(tmp_path: Path) -> None:
    assert '["sha-{env.GITHUB_SHA}"]' in PAGE.read_text()
    text = toml('branches = { main = ["sha-{env.GITHUB_SHA}"] }')
    config = parse_config(text, tmp_path / "podbuild.toml", {"GITHUB_SHA": COMMIT})
    commit = Commit(commit=COMMIT, branch="main", day="20261127")
    (target,) = make_plan(config, Request(), commit).targets
    assert [str(move) for move in target.tags] == [f"sha-{COMMIT}"]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ('pull-requests = ["latest"]', "all of them would write it"),
        ('pull-requests = ["{version}"]', "a pull request has no version"),
        ('release = ["{version}", "pr-{pr}"]', "a release has no pull request"),
        ('branches = { main = ["pr-{pr}"] }', "a branch has no number"),
        ('schedule = ["latest"]', "latest belongs to releases"),
        ('schedule = ["{version}"]', "a scheduled run has no version"),
        ('schedule = ["edge"]\nbranches = { main = ["edge"] }', "belongs to"),
        ('suffix = "/x"', "is not a part of a tag"),
        ('prefix = "-x"', "no registry takes the tag"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, tags: str, said: str) -> None:
    text = f'[project]\nname = "shop"\n[tags]\n{tags}\n{IMAGES}'
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config(text, tmp_path / "podbuild.toml", {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('build-args = { D = "{date}" }', "{date} is for tags and annotations only"),
        ('labels = { D = "{pr}" }', "{pr} is for tags of pull requests only"),
        ('annotations = { D = "{pr}" }', "{pr} is for tags of pull requests only"),
        ('contexts = { x = "docker-image://x:{date}" }', "{date} is for tags"),
    ],
)
def test_day_and_number_are_no_inputs(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config(f'[project]\nname = "shop"{IMAGES}{line}\n', tmp_path / "podbuild.toml", {})


def test_a_day_in_an_annotation_stands_on_the_index_and_changes_no_result(tmp_path: Path) -> None:
    text = f'[project]\nname = "shop"{IMAGES}annotations = {{ made = "{{date}}" }}\n'
    config = parse_config(text, tmp_path / "podbuild.toml", {})
    one, two = (
        make_plan(config, Request(), Commit(commit=COMMIT, branch="main", day=day)).images[0]
        for day in ("20261127", "20261128")
    )
    assert one.release_annotations["made"] == "20261127"
    assert "made" not in one.annotations
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    ("environment", "pr", "scheduled"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/pull/7/merge"}, "7", False),
        ({"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/pull/7/merge"}, "", False),
        ({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "schedule"}, "", True),
        ({"GITLAB_CI": "true", "CI_MERGE_REQUEST_IID": "12"}, "12", False),
        ({"GITLAB_CI": "true", "CI_PIPELINE_SOURCE": "schedule"}, "", True),
        ({"CI": "woodpecker", "CI_COMMIT_PULL_REQUEST": "3"}, "3", False),
        ({"CI": "woodpecker", "CI_PIPELINE_EVENT": "cron"}, "", True),
        ({"JENKINS_URL": "x", "CHANGE_ID": "9", "BRANCH_NAME": "PR-9"}, "9", False),
        ({}, "", False),
    ],
)
def test_ci_systems_tell_pull_request_and_clock(
    environment: dict[str, str], pr: str, scheduled: bool
) -> None:
    found: CiFacts = ci_facts(environment)
    assert (found.pr, found.scheduled) == (pr, scheduled)
