"""Images of this project for another platform than the one that is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.across import bases_of, inner_images, name_across
from podbuild.build.inputs.containerfile import platform_arguments, read_containerfile
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.config.load import parse_config
from podbuild.config.model import Config
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
TOML = """\
[project]
name = "shop"
[images.base]
context = "base"
platforms = {base}
[images.app]
context = "app"
contexts = {{ base = "image:base" }}
platforms = {app}
build-args = {{ WHERE = "linux/amd64" }}
"""
BOTH = '["linux/amd64", "linux/arm64"]'
AMD, ARM = '["linux/amd64"]', '["linux/arm64"]'
CROSS = "FROM --platform=$BUILDPLATFORM base AS build\nFROM scratch\nCOPY --from=build / /\n"


def config_of(folder: Path, text: str, *, base: str = BOTH, app: str = BOTH) -> Config:
    for name, content in (("base", "FROM scratch\n"), ("app", text)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "Containerfile").write_text(content)
    return parse_config(TOML.format(base=base, app=app), folder / "podbuild.toml", {})


def plan_of(config: Config, *platforms: Platform) -> Plan:
    request = Request(images=("app",), platforms=platforms)
    return make_plan(config, request, Commit(branch="main"), bases_of(config, AMD64))


HERE, THERE = ("here", ARM64), ("across", AMD64)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM base\n", {HERE}),
        ("FROM --platform=$TARGETPLATFORM base\n", {HERE}),
        ("FROM --platform=linux/arm64/v8 base\n", {HERE}),
        ("FROM --platform= base\n", {HERE}),
        (CROSS, {THERE}),
        (CROSS.replace("$BUILDPLATFORM", "${BUILDPLATFORM}"), {THERE}),
        (CROSS.replace("$BUILDPLATFORM", "amd64"), {THERE}),
        (CROSS.replace("$BUILDPLATFORM", "linux/$BUILDARCH"), {THERE}),
        (CROSS.replace("$BUILDPLATFORM", "linux/x86_64"), {THERE}),
        (CROSS.replace("$BUILDPLATFORM", "linux/${TARGETARCH}"), {HERE}),
        (f"ARG P=linux/amd64\n{CROSS.replace('$BUILDPLATFORM', '$P')}", {THERE}),
        (f"ARG WHERE\n{CROSS.replace('$BUILDPLATFORM', '$WHERE')}", {THERE}),
        (f"ARG B=base\n{CROSS.replace('base AS', '$B AS')}", {THERE}),
        (f"{CROSS}COPY --from=base / /\n", {HERE, THERE}),  # whatever the stage's platform is
        (f"{CROSS}RUN --mount=from=base,target=/m true\n", {HERE, THERE}),
        (CROSS.replace("build\n", "build\nCOPY --from=base / /b\n"), {HERE, THERE}),
        (f"FROM base AS other\n{CROSS}COPY --from=other / /\n", {HERE, THERE}),
        (f"FROM --platform=linux/amd64 base AS unused\n{CROSS}", {THERE}),
        ("FROM --platform=linux/amd64 base AS unused\nFROM base\n", {HERE}),
    ],
)
def test_from_takes_its_own_platform_and_all_else_the_one_that_is_built(
    tmp_path: Path, text: str, found: set[tuple[str, Platform]]
) -> None:
    config = config_of(tmp_path, text)
    variables = {**platform_arguments(ARM64, AMD64), "WHERE": "linux/amd64"}
    inner = inner_images(config.image("app"), read_containerfile(text), variables, ARM64)
    here = {("here", job.platform) for job in inner.here.values()}
    assert here | {("across", job.platform) for job in inner.across.values()} == found
    plan = plan_of(config, ARM64)
    assert set(plan.needs[Job("app", ARM64)]) == set(inner.jobs) <= set(plan.jobs)


def test_a_base_is_built_for_no_more_platforms_than_it_is_used_on(tmp_path: Path) -> None:
    only = config_of(tmp_path, CROSS, base=AMD, app=ARM)
    jobs = (Job("base", AMD64), Job("app", ARM64))
    assert plan_of(only).jobs == plan_of(only, ARM64).jobs == jobs
    assert not plan_of(only, ARM64).image("base").published
    assert plan_of(config_of(tmp_path, CROSS)).jobs == (
        Job("base", AMD64),
        *(Job("app", platform) for platform in (AMD64, ARM64)),
    )


@pytest.mark.parametrize(
    ("text", "base", "app", "message"),
    [
        (CROSS, ARM, ARM, "app/Containerfile:1: image 'base' is not built for linux/amd64"),
        (f"{CROSS}COPY --from=base / /\n", AMD, ARM, "'base' is not built for linux/arm64"),
        (
            CROSS.replace("$BUILDPLATFORM", "linux"),
            BOTH,
            BOTH,
            "Containerfile:1: image 'base' is not built",
        ),
        (CROSS.replace("$BUILDPLATFORM", "a/b/c/d"), BOTH, BOTH, "Containerfile:1: bad platform"),
        (CROSS.replace("$BUILDPLATFORM", "$NONE"), BOTH, BOTH, "Containerfile:1: bad platform"),
    ],
)
def test_a_platform_that_a_base_is_not_built_for_is_refused(
    tmp_path: Path, text: str, base: str, app: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(config_of(tmp_path, text, base=base, app=app))


def test_one_name_on_two_platforms_is_two_names_to_the_engine() -> None:
    text = f"{CROSS}COPY --from=base / /\n"
    found = rewrite_containerfile(
        read_containerfile(text),
        text,
        target=None,
        variables=platform_arguments(ARM64, AMD64),
        across={0: name_across(0)},
    )
    assert found.text.splitlines()[0] == "FROM --platform=$BUILDPLATFORM podbuild.from.0 AS build"
    assert found.text.splitlines()[1:] == text.splitlines()[1:]
