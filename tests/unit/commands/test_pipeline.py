"""Pipelines as they are written: what every CI system gets, and when a file fits no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from podbuild.commands.ci import (
    check_pipelines,
    pipeline_file,
    pipeline_text,
    write_pipeline,
)
from podbuild.commands.pipeline.model import CiSystem, make_legs, make_pipeline, split
from podbuild.commands.pipeline.yaml import MARK
from podbuild.config.load import parse_config
from podbuild.config.model import Config
from podbuild.errors import ConfigError, PodbuildError, PolicyError
from podbuild.oci.names import Platform
from tests.pipelines import VARIANTS

HEAD = '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64", "linux/arm64"]\n'
GHCR = '[registries.ghcr]\nkind = "ghcr"\nrepository = "ghcr.io/acme/{image}"\n'
IMAGES = "[images.web]\n[images.api]\n[images.worker]\n"


def config_of(text: str, root: Path = Path("/project")) -> Config:
    return parse_config(text, root / "podbuild.toml", {})


def whole(**ci: object) -> Config:
    keys = "\n".join(f"{name.replace('_', '-')} = {value}" for name, value in ci.items())
    return config_of(f"{HEAD}{IMAGES}{GHCR}[ci]\n{keys}\n")


@pytest.mark.parametrize("system", CiSystem)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pipeline_is_yaml_and_names_every_leg_in_the_join(
    variant: str, system: CiSystem
) -> None:
    config = config_of(VARIANTS[variant])
    if system in (CiSystem.KUBERNETES, CiSystem.TEKTON) and config.ci.hand_over != "registry":
        with pytest.raises(ConfigError, match="keeps no artifacts"):
            pipeline_text(config, system)
        return
    text = pipeline_text(config, system)
    assert [*yaml.safe_load_all(text)]
    pipeline = make_pipeline(config, system)
    joins = [line for line in text.splitlines() if "podbuild release" in line and "#" not in line]
    assert len(joins) == 1
    for leg in pipeline.legs if len(pipeline.legs) > 1 else ():
        assert re.search(rf"--from [^-].*{leg.slug}\b", joins[0])
    assert "always()" not in text
    assert "{env." not in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_workflows_keep_to_the_rules_of_safe_workflows(variant: str) -> None:
    workflow = yaml.safe_load(pipeline_text(config_of(VARIANTS[variant]), CiSystem.GITHUB))
    assert workflow["permissions"] == {}
    assert "workflow_call" in workflow[True]  # YAML 1.1 reads `on` as a truth
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"]
        signs = {"id-token"} if variant == "keyless" and name != "build" else set()
        assert set(job["permissions"]) - {"packages"} == {"contents", *signs}
        assert job["permissions"]["contents"] == "read"
        assert ("strategy" in job) == (name == "build")
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            assert not step.get("run", "").startswith("pip ")  # Ubuntu's runners refuse it
            uses = step.get("uses", "@" + "0" * 40)
            assert re.fullmatch(r"[^@]*@[0-9a-f]{40}", uses)
            if "checkout" in uses:
                assert step["with"]["persist-credentials"] is False
    cancels = workflow["concurrency"]["cancel-in-progress"]
    assert cancels is False or cancels == "${{ github.ref_type == 'branch' }}"
    text = pipeline_text(config_of(VARIANTS[variant]), CiSystem.GITHUB)
    pins = [line for line in text.splitlines() if "uses:" in line]
    assert all(re.search(r"# v\d+\.\d+\.\d+$", line) for line in pins)


def test_a_leg_gets_build_secrets_and_the_join_the_signing_key() -> None:
    config = config_of(VARIANTS["everything"])
    pipeline = make_pipeline(config, CiSystem.GITHUB)
    legs = {each.name for each in pipeline.leg_variables}
    join = {each.name for each in pipeline.join_variables}
    assert "NPM_TOKEN" in legs - join
    assert {"COSIGN_PRIVATE_KEY", "PODBUILD_SIGN_PASSWORD"} <= join - legs
    assert {"PODBUILD_CACHE_TOKEN", "PODBUILD_QUAY_TOKEN", "OWNER"} <= legs & join


def test_with_whole_folders_only_the_join_holds_logins() -> None:
    pipeline = make_pipeline(whole(hand_over='"whole"'), CiSystem.GITHUB)
    assert not pipeline.leg_variables
    assert {each.name for each in pipeline.join_variables} == {"GITHUB_ACTOR", "GITHUB_TOKEN"}
    text = pipeline_text(whole(hand_over='"whole"'), CiSystem.GITHUB)
    build = yaml.safe_load(text)["jobs"]["build"]
    assert build["permissions"] == {"contents": "read"}
    assert "--push" not in text


@pytest.mark.parametrize("system", [CiSystem.KUBERNETES, CiSystem.TEKTON])
def test_a_pod_ends_at_the_first_command_that_fails(system: CiSystem) -> None:
    text = pipeline_text(config_of(VARIANTS["plain"]), system)
    assert "&&" not in text  # `sh -e` goes on after a failure before it
    assert re.search(r"^ +(- -ec|set -eu)$", text, re.MULTILINE)


def test_one_platform_needs_no_fan_out() -> None:
    text = pipeline_text(config_of(VARIANTS["one platform"]), CiSystem.GITHUB)
    assert "--from" not in text
    assert [*yaml.safe_load(text)["jobs"]] == ["release"]


@pytest.mark.parametrize(
    ("given", "tags", "rule"),
    [
        ("", ["v[0-9]*", "[0-9]*"], "$CI_COMMIT_TAG =~ /^v?[0-9]/"),
        ('tag = "web-v{version}"', ["web-v[0-9]*"], r"$CI_COMMIT_TAG =~ /^web\-v[0-9].*$/"),
        ('tag = "a/b+{version}"', [r"a/b\+[0-9]*"], r"$CI_COMMIT_TAG =~ /^a\/b\+[0-9].*$/"),
    ],
)
def test_the_tags_of_the_project_start_it(given: str, tags: list[str], rule: str) -> None:
    text = HEAD.replace('name = "shop"', f'name = "shop"\n{given}') + "[images.web]\n" + GHCR
    workflow = yaml.safe_load(pipeline_text(config_of(text), CiSystem.GITHUB))
    assert workflow[True]["push"] == {"tags": tags}
    rules = yaml.safe_load(pipeline_text(config_of(text), CiSystem.GITLAB))["workflow"]["rules"]
    assert rules == [{"if": rule}]


def test_branches_that_get_tags_start_a_snapshot() -> None:
    branches = '[tags.branches]\nmain = ["edge"]\n"feature/*" = ["{branch}"]\n'
    config = config_of(f"{HEAD}[images.web]\n{GHCR}{branches}")
    workflow = yaml.safe_load(pipeline_text(config, CiSystem.GITHUB))
    assert workflow[True]["push"]["branches"] == ["main", "feature/**"]
    assert workflow["jobs"]["snapshot"]["if"] == "github.ref_type == 'branch'"
    assert workflow["jobs"]["release"]["if"] == "github.ref_type == 'tag'"
    rules = yaml.safe_load(pipeline_text(config, CiSystem.GITLAB))["workflow"]["rules"]
    assert [each["if"] for each in rules[1:]] == [
        '$CI_COMMIT_BRANCH == "main"',
        r"$CI_COMMIT_BRANCH =~ /^feature\/.*$/",
    ]


# Legs.


def test_slices_share_the_images_and_no_leg_is_empty() -> None:
    legs = make_legs(whole(), CiSystem.GITHUB, slices=2)
    assert [(leg.slug, leg.images) for leg in legs] == [
        ("linux-amd64-1", ("web", "api")),
        ("linux-amd64-2", ("worker",)),
        ("linux-arm64-1", ("web", "api")),
        ("linux-arm64-2", ("worker",)),
    ]
    assert len(make_legs(whole(), CiSystem.GITHUB, slices=9)) == 6


@pytest.mark.parametrize("slices", range(1, 8))
@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_slices_hold_each_image_once_and_are_even(slices: int, count: int) -> None:
    images = tuple(f"i{number}" for number in range(count))
    parts = split(images, slices)
    assert [name for part in parts for name in part] == [*images]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts) == min(slices, count)


def test_only_what_has_changed_gets_a_leg_and_there_is_always_one() -> None:
    arm64 = Platform("linux", "arm64")
    legs = make_legs(whole(), CiSystem.GITHUB, slices=4, changed={arm64: ("api",)})
    assert [leg.to_json() for leg in legs] == [
        {
            "platform": "linux/arm64",
            "slug": "linux-arm64",
            "runner": "ubuntu-24.04-arm",
            "images": "api",
        }
    ]
    (one,) = make_legs(whole(), CiSystem.GITHUB, slices=4, changed={})
    assert one.images == ()


def test_more_legs_than_a_matrix_takes_are_refused() -> None:
    images = "".join(f"[images.i{number}]\n" for number in range(300))
    config = config_of(HEAD + images + GHCR)
    assert len(make_legs(config, CiSystem.GITHUB, slices=128)) == 256
    with pytest.raises(ConfigError, match="256 is the most") as raised:
        make_legs(config, CiSystem.GITHUB, slices=129)
    assert "at most 128 slices" in raised.value.hint
    many = config_of(f"{HEAD}{images}{GHCR}[ci]\nslices = 110\n")
    with pytest.raises(ConfigError, match="GitLab takes 200"):
        pipeline_text(many, CiSystem.GITLAB)


def test_runners_are_those_that_are_named_and_nodes_have_an_architecture() -> None:
    config = whole(runners='{ "linux/arm64/v8" = "mine" }')
    assert [leg.runner for leg in make_legs(config, CiSystem.GITLAB, slices=1)] == [
        "saas-linux-medium-amd64",
        "mine",
    ]
    assert [leg.runner for leg in make_legs(config, CiSystem.TEKTON, slices=1)] == [
        "amd64",
        "arm64",
    ]


# Where legs hand over.


@pytest.mark.parametrize(
    ("registries", "expected"),
    [
        (GHCR, "ghcr.io/acme/shop-hand-over"),
        (f'{GHCR}[cache]\nrepository = "ghcr.io/Acme/cache/{{image}}"\n',
         "ghcr.io/acme/cache/shop-hand-over"),
        ('[registries.x]\nrepository = "{env.CI_REGISTRY_IMAGE}/{image}"\n',
         "${CI_REGISTRY_IMAGE}/shop-hand-over"),
        ('[registries.x]\nrepository = "quay.io/acme/{project}"\n', "quay.io/acme/shop"),
    ],
)  # fmt: skip
def test_legs_hand_over_beside_the_cache_or_the_images(registries: str, expected: str) -> None:
    config = config_of(f"{HEAD}[images.web]\n{registries}")
    assert make_pipeline(config, CiSystem.GITLAB).repository == expected


def test_without_a_registry_there_is_only_the_whole_folder() -> None:
    with pytest.raises(ConfigError, match="no registry can keep"):
        pipeline_text(config_of(f"{HEAD}[images.web]\n"), CiSystem.GITHUB)


# Files.


def test_a_pipeline_is_never_overwritten(tmp_path: Path) -> None:
    file = pipeline_file(whole(), CiSystem.GITHUB, tmp_path)
    write_pipeline(file, "mine\n")
    with pytest.raises(ConfigError, match="is there already"):
        write_pipeline(file, "other\n")
    assert file.read_text() == "mine\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't write"):
        write_pipeline(tmp_path / "file" / "below.yml", "")


def test_projects_of_one_repository_have_pipelines_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "services" / "shop"
    config = config_of(f"{HEAD}[images.web]\n{GHCR}[ci]\nhand-over = 'artifact'\n", root)
    file = pipeline_file(config, CiSystem.GITHUB, tmp_path)
    assert file == tmp_path / ".github/workflows/podbuild-shop.yml"
    text = pipeline_text(config, CiSystem.GITHUB, tmp_path)
    assert yaml.safe_load(text)["env"] == {"PODBUILD_FILE": "services/shop/podbuild.toml"}
    assert "services/shop/dist/staging/" in text


@pytest.mark.parametrize("system", CiSystem)
def test_a_pipeline_fits_until_podbuild_toml_asks_for_another(
    system: CiSystem, tmp_path: Path
) -> None:
    before = config_of(VARIANTS["plain"], tmp_path)
    file = pipeline_file(before, system, tmp_path)
    write_pipeline(file, pipeline_text(before, system, tmp_path))
    assert check_pipelines(before, tmp_path, ()) == (file,)
    # What is the user's own to change does not matter.
    file.write_text(file.read_text().replace(" install 'pod", " install --index-url x 'pod"))
    assert check_pipelines(before, tmp_path, [file]) == (file,)
    for change, says in (
        (('"linux/arm64"]', '"linux/arm64", "linux/riscv64"]'), "legs: .*riscv64"),
        (("ghcr.io/acme", "ghcr.io/else"), "hand-over: .*acme.* there, .*else"),
        (('main = ["edge"]', 'trunk = ["edge"]'), "branches: main there, trunk here"),
        (('env = "NPM_TOKEN"', 'env = "PYPI_TOKEN"'), "variables: .*PYPI_TOKEN"),
    ):
        now = config_of(VARIANTS["plain"].replace(*change), tmp_path)
        assert now != before
        with pytest.raises(PolicyError, match=says) as raised:
            check_pipelines(now, tmp_path, ())
        assert raised.value.exit_code == 10
        assert f"podbuild ci print {system}" in raised.value.hint


def test_a_leg_that_was_taken_out_by_hand_is_missed(tmp_path: Path) -> None:
    config = config_of(VARIANTS["plain"], tmp_path)
    file = pipeline_file(config, CiSystem.GITHUB, tmp_path)
    text = pipeline_text(config, CiSystem.GITHUB, tmp_path)
    kept = [line for line in text.splitlines() if "platform: linux/arm64" not in line]
    write_pipeline(file, "\n".join(kept))
    with pytest.raises(PolicyError, match="nothing in it says linux/arm64"):
        check_pipelines(config, tmp_path, ())


def test_what_podbuild_did_not_write_is_not_judged(tmp_path: Path) -> None:
    config = config_of(VARIANTS["plain"], tmp_path)
    with pytest.raises(ConfigError, match="there is no pipeline"):
        check_pipelines(config, tmp_path, ())
    mine = tmp_path / ".gitlab-ci.yml"
    mine.write_text("build: {script: [make]}\n")
    with pytest.raises(ConfigError, match="there is no pipeline"):
        check_pipelines(config, tmp_path, ())
    for text in ("", MARK, f"{MARK}[]", f'{MARK}{{"system": ["jenkins"]}}', f"{MARK}{{"):
        mine.write_text(f"{text}\n")
        with pytest.raises(ConfigError, match="no pipeline that this podbuild wrote"):
            check_pipelines(config, tmp_path, [mine])
    with pytest.raises(ConfigError, match="no such file"):
        check_pipelines(config, tmp_path, [tmp_path / "missing.yml"])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("slices = 0", "must be at least 1"),
        ('hand-over = "whol"', "did you mean 'whole'"),
        ('runners = { "linux/arm46" = "x" }', "unknown platform 'linux/arm46'"),
        ('runners = { "windows/amd64" = "x" }', "bad platform"),
        ('runner = "x"', "did you mean 'runners'"),
    ],
)
def test_bad_settings_are_refused_with_their_line(keys: str, says: str) -> None:
    with pytest.raises(PodbuildError) as raised:
        config_of(f"{HEAD}[images.web]\n{GHCR}[ci]\n{keys}\n")
    assert says in f"{raised.value.message} {raised.value.hint}"
    assert "podbuild.toml:10" in raised.value.message


def test_the_facts_of_a_file_are_json() -> None:
    text = pipeline_text(whole(slices=2), CiSystem.GITHUB)
    (line,) = (line for line in text.splitlines() if line.startswith(MARK))
    facts = json.loads(line.removeprefix(MARK))
    assert facts["system"] == ["github"]
    assert "linux-amd64-1 on ubuntu-24.04: web api" in facts["legs"]


def test_a_project_that_init_has_just_written_is_told_to_name_a_registry() -> None:
    with pytest.raises(ConfigError, match="images go to folders") as refused:
        pipeline_text(config_of(f"{HEAD}{IMAGES}"), CiSystem.GITHUB)
    assert "[registries.ghcr]" in refused.value.hint


@pytest.mark.parametrize("system", CiSystem)
def test_the_join_gets_what_judges_signs_remembers_and_tells(system: CiSystem) -> None:
    text = pipeline_text(config_of(VARIANTS["keyless"]), system)
    pipeline = make_pipeline(config_of(VARIANTS["keyless"]), system)
    join, legs = (
        {v.name for v in found} for found in (pipeline.join_variables, pipeline.leg_variables)
    )
    ambient = system in (CiSystem.GITHUB, CiSystem.GITLAB)
    assert join - legs - {"SIGSTORE_ID_TOKEN"} == {
        "PODBUILD_CACHE_TOKEN",
        "PODBUILD_CACHE_USERNAME",
        "TEAM_WEBHOOK",
    }
    assert "SCAN_TOKEN" in legs & join
    assert ("SIGSTORE_ID_TOKEN" in join) != ambient  # nobody else gives a job its token
    assert "PODBUILD_SIGN_PASSWORD" not in text
    assert "podbuild[toolchain,keyless]" in text
    if system is CiSystem.GITLAB:
        jobs = yaml.safe_load(text)
        assert jobs["release"]["id_tokens"] == {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}
        assert jobs["snapshot"]["id_tokens"] == jobs["release"]["id_tokens"]
        assert "id_tokens" not in jobs["build"]
