"""Images that are larger than they may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.build.examine.budget import over_budget
from podbuild.build.examine.children import Judged, merged_findings
from podbuild.build.inputs.lint import Level
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError, PolicyError
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Plan, Request

DIGEST = f"sha256:{'0' * 64}"


def plan(text: str) -> Plan:
    config = parse_config(f'[project]\nname = "shop"\n{text}', Path("/p/podbuild.toml"), {})
    return make_plan(config, Request(), Commit(commit="0" * 40, branch="main"))


def image(*sizes: int) -> Manifest:
    layers = [{"mediaType": "x", "digest": DIGEST, "size": size} for size in sizes]
    content = {"schemaVersion": 2, "config": {**layers[0], "size": 10**9}, "layers": layers}
    return Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())


def judged(text: str, *sizes: int) -> Judged:
    made = plan(text)
    images = {job: image(*sizes) for job in made.jobs}
    found = over_budget(made, images, lambda name: (f"{name}.toml", 7))
    return Judged(findings=tuple(merged_findings(found)))


@pytest.mark.parametrize(
    ("budget", "total", "level"),
    [
        ('{ size = "1kB" }', 1000, None),
        ('{ size = "1kB" }', 1001, Level.ERROR),
        ('{ size = "1KiB" }', 1024, None),
        ('{ size = "0.5 MB" }', 500_001, Level.ERROR),
        ('{ size = "1kB", on = "warn" }', 1001, Level.WARNING),
        ('{ on = "fail" }', 10**12, None),
    ],
)
def test_all_layers_together_are_compared(budget: str, total: int, level: Level | None) -> None:
    found = judged(f"[images.web]\nbudget = {budget}\n", total - 400, 400).findings
    assert [each.level for each in found] == ([level] if level else [])


def test_one_finding_names_all_platforms_and_the_line_and_ends_the_release() -> None:
    found = judged('[images.web.budget]\nsize = "1kB"\n', 2000)
    with pytest.raises(PolicyError, match=r"^web.toml:7: web linux/amd64, linux/arm64: 2") as ends:
        found.check()
    assert ends.value.exit_code == 10
    assert {*found.faults} == {*plan("[images.web]\n").jobs}


def test_an_image_s_own_keys_win_over_the_defaults_one_by_one() -> None:
    text = '[defaults.budget]\nsize = "1kB"\n[images.web]\n[images.big.budget]\non = "warn"\n'
    levels = {each.image: each.level for each in judged(text, 2000).findings}
    assert levels == {"web": Level.ERROR, "big": Level.WARNING}


def test_what_goes_nowhere_has_no_budget() -> None:
    text = '[defaults.budget]\nsize = "1kB"\n[images.web]\npublish = false\n[images.app]\n'
    assert [each.image for each in judged(text, 2000).findings] == ["app"]


@pytest.mark.parametrize("size", ["12", "-1MB", "1 mb", "1TB", ""])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match=r"podbuild.toml:4: images.web.budget.size"):
        plan(f'[images.web.budget]\nsize = "{size}"\n')
