"""A pipeline for GitLab CI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from podbuild.build.attest.keyless import TOKEN
from podbuild.commands.pipeline.model import Pipeline, Variable
from podbuild.commands.pipeline.yaml import (
    INSTALL,
    PYTHON,
    flow_map,
    head,
    indented,
    join_command,
    leg_command,
    leg_values,
    scalar,
    tag_prefixes,
)
from podbuild.config.builders import Carrier
from podbuild.errors import ConfigError

FILE = ".gitlab-ci.yml"
MOST_JOBS = 200  # of one parallel matrix
_RUN = "run-$CI_PIPELINE_ID"


def gitlab(pipeline: Pipeline) -> str:
    """Give the pipeline's file; raises ConfigError for more legs than GitLab takes."""
    if len(pipeline.legs) > MOST_JOBS:
        raise ConfigError(
            f"{len(pipeline.legs)} legs, and GitLab takes {MOST_JOBS} in a matrix",
            hint="[ci] slices makes fewer legs for each platform",
        )
    lines = [*head(pipeline), *_needed(pipeline), "", *_shared(pipeline)]
    if not pipeline.is_single:
        lines += ["", *_legs(pipeline)]
    lines += ["", *_join(pipeline, "release")]
    if pipeline.branches:
        lines += ["", *_join(pipeline, "snapshot")]
    return "\n".join(lines) + "\n"


def _needed(pipeline: Pipeline) -> Iterator[str]:
    """Name the variables that the project's settings have to hold."""
    every = (*pipeline.leg_variables, *pipeline.join_variables)
    names = [each for each in dict.fromkeys(each.name for each in every) if _value(each) == ""]
    outside = [each for each in names if not each.startswith("CI_")]
    if outside:
        yield "# Settings > CI/CD > Variables (masked; protected for tags and the branches below):"
        yield f"# {', '.join(outside)}"


def _value(name: str) -> str:
    """Give what GitLab itself knows of a variable: the login of its own registry."""
    known = {
        "PODBUILD_GITLAB_USERNAME": "$CI_REGISTRY_USER",
        "PODBUILD_GITLAB_TOKEN": "$CI_REGISTRY_PASSWORD",
    }
    return known.get(name, "")


def _shared(pipeline: Pipeline) -> Iterator[str]:
    yield "stages: [build, release]"
    yield ""
    yield "workflow:"
    yield "  auto_cancel: {on_new_commit: interruptible}"
    yield "  rules:"
    yield f"    - if: {scalar(_tag_rule(pipeline.tag_form))}"
    yield from (f"    - if: {scalar(_branch_rule(each))}" for each in pipeline.branches)
    yield ""
    yield ".podbuild:"
    yield f"  image: {scalar(pipeline.image or PYTHON)}"
    yield "  variables:"
    yield '    FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR: "true"  # else every file is 0666'
    yield "    XDG_CACHE_HOME: /cache  # a volume of the runner: images can't lie on overlayfs"
    if pipeline.file:
        yield f"    PODBUILD_FILE: {scalar(pipeline.file)}"
    yield from indented(_variables((*pipeline.leg_variables, *pipeline.join_variables)), 4)
    if not pipeline.image:
        yield "  before_script:"
        yield f"    - {INSTALL.format(extras=pipeline.extras)}  # from your index"


def _variables(variables: Iterable[Variable]) -> Iterator[str]:
    for name in dict.fromkeys(each.name for each in variables):
        if _value(name):
            yield f"{name}: {scalar(_value(name))}"


def _tag_rule(form: str) -> str:
    if not form:
        return "$CI_COMMIT_TAG =~ /^v?[0-9]/"
    before, after = (_escaped(each) for each in tag_prefixes(form))
    return f"$CI_COMMIT_TAG =~ /^{before}[0-9].*{after}$/"


def _branch_rule(branch: str) -> str:
    if not {*branch} & {*"*?["}:
        return f'$CI_COMMIT_BRANCH == "{branch}"'
    pattern = _escaped(branch).replace(r"\*", ".*").replace(r"\?", ".")
    pattern = re.sub(r"\\\[(.*?)\\\]", r"[\1]", pattern)
    return f"$CI_COMMIT_BRANCH =~ /^{pattern}$/"


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


def _legs(pipeline: Pipeline) -> Iterator[str]:
    yield "build:"
    yield "  extends: .podbuild"
    yield "  stage: build"
    yield "  interruptible: true"
    yield "  timeout: 2h"
    yield "  parallel:"
    yield "    matrix:"
    for leg in pipeline.legs:
        yield f"      - {flow_map({**leg_values(pipeline, leg), 'RUNNER': leg.runner})}"
    yield "  tags: [$RUNNER]"
    yield "  script:"
    yield f"    - {scalar_command(leg_command(pipeline, _RUN))}"
    if pipeline.carrier is not Carrier.REGISTRY:
        kept = f"{pipeline.output}/state.json {pipeline.output}/staging"
        yield f"    - {scalar_command(f'mkdir -p legs/$SLUG && cp -al {kept} legs/$SLUG')}"
        yield "  artifacts:"
        yield '    paths: ["legs/$SLUG"]'
        yield "    expire_in: 1 week"


def scalar_command(command: str) -> str:
    """Give a command as a YAML string: in single quotes, as it holds double ones."""
    return "'" + command.replace("'", "''") + "'"


def _join(pipeline: Pipeline, verb: str) -> Iterator[str]:
    release = verb == "release"
    yield f"{verb}:"
    yield "  extends: .podbuild"
    yield "  stage: release"
    yield "  rules:"
    if release:
        yield "    - if: $CI_COMMIT_TAG"
    else:
        yield "    - if: $CI_COMMIT_BRANCH"
    if not pipeline.is_single:
        artifacts = pipeline.carrier is not Carrier.REGISTRY
        yield f"  needs: [{{job: build, artifacts: {str(artifacts).lower()}}}]"
    if release:
        yield f"  environment: {{name: {scalar(pipeline.environment)}}}"
        yield "  resource_group: release"
        yield "  interruptible: false"
    else:
        yield "  interruptible: true"
        yield "  variables:"
        yield '    GIT_DEPTH: "0"  # its tags move only to what comes after'
    if pipeline.keyless:
        yield "  id_tokens:"
        yield f"    {TOKEN}: {{aud: sigstore}}"
    yield f"  tags: [{scalar(pipeline.legs[0].runner)}]"
    yield f"  timeout: {'2h' if pipeline.is_single else '1h'}"
    yield "  script:"
    yield f"    - {scalar_command(join_command(pipeline, _RUN, verb))}"
    yield "  artifacts:"
    yield "    when: always"
    out = pipeline.output
    yield f"    paths: [{out}/summary.md, {out}/logs/]"
    yield f"    reports: {{dotenv: {out}/podbuild.env, junit: {out}/logs/junit.xml}}"
