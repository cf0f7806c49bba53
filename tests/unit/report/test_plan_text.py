"""A plan for people, at 80 and 120 columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.report.plan import Foreseen, plan_text
from podbuild.semver import Version

CONFIG = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64", "linux/arm64"]
[images.base]
publish = false
[images.web]
contexts = { base = "image:base" }
[images.background-worker]
contexts = { base = "image:base" }
[registries.ghcr]
repository = "ghcr.io/acme/{image}"
[registries.hub]
repository = "docker.io/acme/{image}"
required = false
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    config = parse_config(CONFIG, tmp_path / "podbuild.toml", {})
    return make_plan(config, Request(version=Version.parse("1.2.3")), Commit(commit="c" * 40))


def foreseen(plan: Plan) -> Foreseen:
    amd64 = Platform.parse("linux/amd64")
    return Foreseen(
        jobs={
            job: (False, "unchanged since ghcr.io/acme/web:1.2.2")
            if job.platform == amd64
            else (True, "its inputs are new")
            for job in plan.jobs
        },
        superseded=(("ghcr.io/acme/web", "sha256:aaaaaaaaaaaa", "latest leaves it now, after 1d"),),
    )


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal_and_breaks_no_word(plan: Plan, width: int) -> None:
    fitted, whole = plan_text(plan, foreseen(plan), width), plan_text(plan, foreseen(plan))
    assert sorted(fitted.split()) == sorted(whole.split())
    assert max(map(len, fitted.splitlines())) <= width


def test_it_says_what_is_built_what_is_reused_why_and_what_goes(plan: Plan) -> None:
    text = plan_text(plan, foreseen(plan))
    assert "build 3, re-use 3:" in text
    assert "web on base                linux/arm64  build   its inputs are new" in text
    assert "linux/amd64  re-use  unchanged since ghcr.io/acme/web:1.2.2" in text
    assert "delete afterwards (superseded), where nothing else reaches it:" in text
    assert "ghcr.io/acme/web  sha256:aaaaaaaaaaaa  latest leaves it now, after 1d" in text


def test_registries_that_agree_share_a_line(plan: Plan) -> None:
    lines = plan_text(plan).splitlines()
    places = "ghcr.io/acme/web, docker.io/acme/web (optional)"
    assert [line.split("  ")[2].strip() for line in lines if places in line]
    assert sum(places in line for line in lines) == 1
    assert "1.2.3, 1.2, 1, latest" in next(line for line in lines if places in line)


def test_where_no_image_is_published_that_is_said(tmp_path: Path) -> None:
    text = '[project]\nname = "shop"\n[images.web]\nregistries = []\n'
    config = parse_config(text, tmp_path / "podbuild.toml", {})
    plan = make_plan(config, Request(version=Version.parse("1.2.3")), Commit(commit="c" * 40))
    assert plan_text(plan).splitlines()[2:] == ["build nothing: no image is published"]


def test_what_is_not_known_is_said(plan: Plan) -> None:
    text = plan_text(plan, Foreseen(unknown="no engine"))
    assert "build 6, or re-use what is known:" in text
    assert "which of them is not known: no engine" in text
    assert Job("web", Platform.parse("linux/amd64")) in plan.jobs
