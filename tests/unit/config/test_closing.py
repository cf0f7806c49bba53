"""Placeholders in the values of contexts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from podbuild.commands.check import check_project
from podbuild.config.choices import FolderContext, ImageContext, ReferenceContext
from podbuild.config.load import load_config
from podbuild.config.model import Config
from podbuild.errors import ConfigError
from podbuild.plan.make import make_plan, plan_places
from podbuild.plan.model import Commit, Plan, Request
from podbuild.semver import Version

PHP = {"PHP": "8.3"}


def read(folder: Path, value: str, environment: Mapping[str, str]) -> Config:
    (folder / "Containerfile").write_text("FROM x\n")
    (folder / "podbuild.toml").write_text(
        '[project]\nname = "shop"\n[images.base]\n[images.web]\n'
        f"contexts = {{ x = '{value}' }}\n[images.plain]\n"
    )
    return load_config(folder / "podbuild.toml", environment)


def planned(config: Config, version: str = "1.2.3") -> Plan:
    source = Commit(commit="a" * 40, branch="main")
    return make_plan(config, Request(version=Version.parse(version)), source)


@pytest.mark.parametrize(
    ("value", "environment", "wanted"),
    [
        ("docker-image://php:{env.PHP}", PHP, ReferenceContext("php:8.3")),
        ("docker-image://a.b/{project}/{image}:1", {}, ReferenceContext("a.b/shop/web:1")),
        ("docker-image://a.b/x:{major}.{minor}", {}, ReferenceContext("a.b/x:1.2")),
        ("docker-image://a.b/x:{sha}", {}, ReferenceContext(f"a.b/x:{'a' * 7}")),
        ("image:{env.INNER}", {"INNER": "base"}, ImageContext("base")),
        ("{env.WHOLE}", {"WHOLE": "docker-image://php:1"}, ReferenceContext("php:1")),
        ("assets/{env.FLAVOR}", {"FLAVOR": "slim"}, FolderContext(Path("assets/slim"))),
        ("rel/{version}", {}, FolderContext(Path("rel/1.2.3"))),
        ("a{{b}}", {}, FolderContext(Path("a{b}"))),
    ],
)
def test_placeholders_are_replaced(
    value: str,
    environment: Mapping[str, str],
    wanted: FolderContext | ImageContext | ReferenceContext,
    tmp_path: Path,
) -> None:
    if isinstance(wanted, FolderContext):
        wanted = FolderContext(tmp_path / wanted.path)
    plan = planned(read(tmp_path, value, environment))
    assert plan.image("web").image.contexts == {"x": wanted}


def test_what_they_give_is_a_part_of_the_fingerprint(tmp_path: Path) -> None:
    value = "docker-image://php:{env.PHP}"
    one = planned(read(tmp_path, value, PHP)).image("web").fingerprint
    assert planned(read(tmp_path, value, {"PHP": "8.4"})).image("web").fingerprint != one
    assert planned(read(tmp_path, "docker-image://php:8.3", {})).image("web").fingerprint == one


def test_image_that_a_variable_names_is_built_first(tmp_path: Path) -> None:
    plan = planned(read(tmp_path, "image:{env.INNER}", {"INNER": "base"}))
    needs = {job.image: {need.image for need in plan.needs[job]} for job in plan.jobs}
    assert needs["web"] == {"base"}


@pytest.mark.parametrize(
    ("value", "environment", "message"),
    [
        ("docker-image://php:{env.PHP}", {"PHP": ""}, "not a valid tag: ''"),
        ("docker-image://php:{env.PHP}", {"PHP": "8 3"}, "not a valid tag: '8 3'"),
        ("docker-image://{env.PHP}", {"PHP": ""}, "must not be empty"),
        ("docker-image://{env.PHP}", {"PHP": "UP"}, "bad repository name"),
        ("image:{env.INNER}", {"INNER": "bsae"}, "unknown image 'bsae'"),
        ("image:{env.INNER}", {"INNER": "web"}, "images need each other in a circle"),
        ("{env.WHOLE}", {"WHOLE": "git://x/y"}, "'git://x/y' is no context"),
        ("docker-image://php:{evn.PHP}", PHP, "unknown placeholder {evn.PHP}"),
        ("docker-image://php:{version", {}, "a single '{'"),
    ],
)
def test_what_they_give_is_checked_when_it_is_read(
    value: str, environment: Mapping[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, value, environment)
    assert ":5: images.web.contexts" in caught.value.message
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("docker-image://php:{env.PHP}", "the environment variable PHP is not set"),
        ("image:{env.PHP}", "the environment variable PHP is not set"),
        ("image:{version}", "unknown image '1.2.3'"),
        ("docker-image://php@{version}", "not a digest: '1.2.3'"),
    ],
)
def test_what_only_the_plan_knows_is_refused_there(
    value: str, message: str, tmp_path: Path
) -> None:
    config = read(tmp_path, value, {})
    with pytest.raises(ConfigError) as caught:
        planned(config)
    assert ":5: images.web.contexts.x: " in caught.value.message
    assert message in caught.value.message
    assert caught.value.exit_code == 2
    plan_places(config, Request())  # prune and verify need none of it


def test_version_leads_to_no_folder_outside(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "1.2.3").mkdir()
    (project / "1.2.3").symlink_to(tmp_path / "1.2.3")
    for value in ("../{version}", "{version}"):
        with pytest.raises(ConfigError, match="is outside of"):
            planned(read(project, value, {}))


def test_check_names_the_variable_that_is_not_set(tmp_path: Path) -> None:
    config = read(tmp_path, "docker-image://php:{env.PHP}", {})
    errors = [each for each in check_project(config) if each.level == "error"]
    assert [(each.line, "PHP is not set" in each.message) for each in errors] == [(5, True)]
    assert "set PHP" in errors[0].hint
    fine = check_project(read(tmp_path, "docker-image://php:{env.PHP}", PHP))
    assert not [each for each in fine if each.level == "error"]
