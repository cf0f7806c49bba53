"""What a plan costs grows with the number of images, and not with its square."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

from podbuild.config.load import parse_config
from podbuild.plan.collisions import check_collisions
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request
from podbuild.report.plan import plan_text
from podbuild.semver import Version

HEAD = '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64", "linux/arm64"]\n'
TAIL = '[registries.here]\nkind = "layout"\npath = "registry/{image}"\n'


def calls(count: int) -> int:
    """Give how many Python functions are called for a plan of so many images."""
    images = "".join(f"[images.image{number}]\n" for number in range(count))
    called = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal called
        called += event == "call"

    request = Request(version=Version.parse("1.2.3"))
    sys.setprofile(note)
    try:
        config = parse_config(HEAD + images + TAIL, Path("/p/podbuild.toml"), {})
        plan = make_plan(config, request, Commit(commit="0" * 40, branch="main"))
        check_collisions(config, plan)
        for image in plan.images:
            plan.image(image.name)
            plan.readers_beside(image.name)
        plan_text(plan)
    finally:
        sys.setprofile(None)
    return called


def test_four_times_the_images_are_four_times_the_work() -> None:
    calls(10)  # what is compiled and kept at the first use
    few, many = calls(100), calls(400)
    assert many < 4.5 * few
