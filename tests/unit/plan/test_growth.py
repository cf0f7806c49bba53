"""What a plan costs grows with the number of images, and not with its square."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.config.model import Config
from podbuild.plan.collisions import check_collisions
from podbuild.plan.decide import Held, decide_tags
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Plan, Request
from podbuild.report.plan import plan_text
from podbuild.semver import Version
from tests.counting import calls

HEAD = '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64", "linux/arm64"]\n'
TAIL = '[registries.here]\nkind = "layout"\npath = "registry/{image}"\n'


def config_of(count: int) -> Config:
    images = "".join(f"[images.image{number}]\n" for number in range(count))
    return parse_config(HEAD + images + TAIL, Path("/p/podbuild.toml"), {})


def planned(config: Config) -> Plan:
    request = Request(version=Version.parse("1.2.3"))
    return make_plan(config, request, Commit(commit="0" * 40, branch="main"))


def plan_and_show(count: int) -> None:
    config = config_of(count)
    plan = planned(config)
    check_collisions(config, plan)
    for image in plan.images:
        plan.image(image.name)
        plan.readers_beside(image.name)
    plan_text(plan)


def decide(count: int) -> None:
    plan = planned(config_of(count))
    decide_tags(plan, {target.key: Held() for target in plan.targets})


@pytest.mark.parametrize("work", [plan_and_show, decide])
def test_four_times_the_images_are_four_times_the_work(work: Callable[[int], None]) -> None:
    work(10)  # what is compiled and kept at the first use
    few, many = calls(work, 100), calls(work, 400)
    assert many < 4.5 * few
