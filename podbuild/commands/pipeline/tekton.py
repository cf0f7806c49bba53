"""A Tekton pipeline: a task for each leg, with a node of its own, and the join after all."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.commands.pipeline.kubernetes import (
    flow_ref,
    git_url,
    needed_secrets,
    object_name,
    script,
)
from podbuild.commands.pipeline.model import Leg, Pipeline
from podbuild.commands.pipeline.yaml import (
    PYTHON,
    flow_map,
    head,
    join_command,
    leg_command,
    leg_values,
    scalar,
)

FILE = "podbuild-tekton.yaml"
_RUN = "run-$RUN"  # the same for all tasks of one run


def tekton(pipeline: Pipeline) -> str:
    """Give the Pipeline, and a PipelineRun to create for each release."""
    lines = [*head(pipeline), *needed_secrets(pipeline), *_pipeline(pipeline)]
    lines += ["---", *_run(pipeline)]
    return "\n".join(lines) + "\n"


def _pipeline(pipeline: Pipeline) -> Iterator[str]:
    yield "apiVersion: tekton.dev/v1"
    yield "kind: Pipeline"
    yield f"metadata: {{name: {object_name(pipeline)}-release}}"
    yield "spec:"
    yield "  params:"
    yield "    - {name: version, type: string, description: the git tag to release}"
    source = flow_map({"name": "source", "type": "string", "default": git_url(pipeline)})
    yield f"    - {source}"
    yield "  tasks:"
    if not pipeline.is_single:
        for leg in pipeline.legs:
            yield from _task(pipeline, leg, leg.slug, leg_command(pipeline, _RUN))
    yield from _task(pipeline, None, "release", join_command(pipeline, _RUN))


def _task(pipeline: Pipeline, leg: Leg | None, name: str, command: str) -> Iterator[str]:
    yield f"    - name: {name}"
    if leg:
        yield "      retries: 1"
    elif not pipeline.is_single:
        yield f"      runAfter: [{', '.join(each.slug for each in pipeline.legs)}]"
    yield "      timeout: 2h"
    yield "      params:"
    yield "        - {name: version, value: $(params.version)}"
    yield "        - {name: source, value: $(params.source)}"
    yield "        - {name: run, value: $(context.pipelineRun.uid)}"
    yield "      taskSpec:"
    yield "        params: [{name: version}, {name: source}, {name: run}]"
    yield "        volumes: [{name: build, emptyDir: {}}]"
    yield "        steps:"
    yield "          - name: podbuild"
    yield f"            image: {scalar(pipeline.image or PYTHON)}"
    yield "            env:"
    yield "              - {name: VERSION, value: $(params.version)}"
    yield "              - {name: SOURCE, value: $(params.source)}"
    yield "              - {name: RUN, value: $(params.run)}"
    yield "              - {name: XDG_CACHE_HOME, value: /build/cache}"
    if pipeline.file:
        yield f"              - {flow_map({'name': 'PODBUILD_FILE', 'value': pipeline.file})}"
    for key, value in leg_values(pipeline, leg).items() if leg else ():
        yield f"              - {flow_map({'name': key, 'value': value})}"
    variables = pipeline.leg_variables if leg else pipeline.join_variables
    if variables:
        secret = f"{object_name(pipeline)}-{'legs' if leg else 'release'}"
        yield f"            envFrom: [{flow_ref('secretRef', secret)}]"
    yield "            securityContext:"
    yield "              seccompProfile: {type: Unconfined}"
    yield "              appArmorProfile: {type: Unconfined}"
    yield "            volumeMounts: [{name: build, mountPath: /build}]"
    yield "            script: |"
    yield "              #!/bin/sh"
    yield "              set -eu"
    yield from (f"              {line}" for line in script(pipeline, command))


def _run(pipeline: Pipeline) -> Iterator[str]:
    """Give a run: which nodes its tasks get stands here, and not in the pipeline."""
    sample = (pipeline.tag_form or "v{version}").replace("{version}", "1.2.3")
    yield "apiVersion: tekton.dev/v1"
    yield "kind: PipelineRun"
    yield f"metadata: {{generateName: {object_name(pipeline)}-release-}}"
    yield "spec:"
    yield f"  pipelineRef: {{name: {object_name(pipeline)}-release}}"
    yield "  params:"
    yield f"    - {flow_map({'name': 'version', 'value': sample})}"
    yield "  timeouts: {pipeline: 5h, tasks: 4h30m}"
    yield "  taskRunSpecs:"
    legs = [] if pipeline.is_single else [(leg.slug, leg.runner) for leg in pipeline.legs]
    for name, runner in (*legs, ("release", pipeline.legs[0].runner)):
        yield f"    - pipelineTaskName: {name}"
        yield "      podTemplate:"
        yield f"        nodeSelector: {{kubernetes.io/arch: {scalar(runner)}}}"
        yield "        automountServiceAccountToken: false"
