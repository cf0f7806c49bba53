"""Jobs for Kubernetes: one for each leg, and the join, which tries until all legs are there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from podbuild.commands.pipeline.model import Leg, Pipeline
from podbuild.commands.pipeline.yaml import (
    PYTHON,
    flow_map,
    head,
    indented,
    install,
    join_command,
    leg_command,
    leg_values,
    scalar,
)

FILE = "podbuild-jobs.yaml"
# A version may hold what no tag of a registry can.
_RUN = "release-$(printf %s \"$VERSION\" | tr '/+' '--')"
_FINAL = "[3, 4, 6, 9, 10, 11]"  # exit codes that no other try changes
_CLONE = (
    'git clone --depth=1 --branch="$VERSION" "$SOURCE" /build/source',
    "cd /build/source",
)
SOURCE = "https://git.example.com/acme/project.git"


def kubernetes(pipeline: Pipeline) -> str:
    """Give the manifests, to be created for each release."""
    lines = [*head(pipeline), *needed_secrets(pipeline), *_settings(pipeline)]
    for leg in () if pipeline.is_single else pipeline.legs:
        script = leg_command(pipeline, _RUN)
        lines += ["---", *_job(pipeline, leg, leg.slug, script)]
    lines += ["---", *_job(pipeline, None, "release", join_command(pipeline, _RUN))]
    return "\n".join(lines) + "\n"


def needed_secrets(pipeline: Pipeline) -> Iterator[str]:
    """Name the secrets of the cluster and the variables in them."""
    yield "# Secrets, by the variables that they hold:"
    needed = {"legs": pipeline.leg_variables, "release": pipeline.join_variables}
    if pipeline.is_single:
        del needed["legs"]
    for kind, variables in needed.items():
        if variables:
            names = ", ".join(each.name for each in variables)
            yield f"#   {object_name(pipeline)}-{kind}: {names}"


def object_name(pipeline: Pipeline) -> str:
    """Give the project's name as objects of Kubernetes can have it.

    Lower-case letters, digits and hyphens (RFC 1123).
    """
    return re.sub(r"[^a-z0-9]+", "-", pipeline.project.lower()).strip("-")[:40] or "project"


def _settings(pipeline: Pipeline) -> Iterator[str]:
    yield "apiVersion: v1"
    yield "kind: ConfigMap"
    yield f"metadata: {{name: {object_name(pipeline)}-release}}"
    yield "data:"
    sample = (pipeline.tag_form or "v{version}").replace("{version}", "1.2.3")
    yield f"  VERSION: {scalar(sample)}  # the git tag to release"
    yield f"  SOURCE: {scalar(git_url(pipeline))}"
    yield "  XDG_CACHE_HOME: /build/cache"
    if pipeline.file:
        yield f"  PODBUILD_FILE: {scalar(pipeline.file)}"


def git_url(pipeline: Pipeline) -> str:
    """Give where the source is cloned from."""
    return f"{pipeline.source.removesuffix('.git')}.git" if pipeline.source else SOURCE


def _job(pipeline: Pipeline, leg: Leg | None, name: str, command: str) -> Iterator[str]:
    runner = leg.runner if leg else pipeline.legs[0].runner
    yield "apiVersion: batch/v1"
    yield "kind: Job"
    yield f"metadata: {{name: {object_name(pipeline)}-{name}}}"
    yield "spec:"
    # The join asks for all parts first (exit 2 until they are there), so it needs no order.
    yield f"  backoffLimit: {20 if leg is None and not pipeline.is_single else 1}"
    yield "  activeDeadlineSeconds: 10800"
    yield "  ttlSecondsAfterFinished: 604800"
    yield "  podFailurePolicy:"
    yield "    rules:"
    yield f"      - {{action: FailJob, onExitCodes: {{operator: In, values: {_FINAL}}}}}"
    yield "  template:"
    yield "    spec:"
    yield "      restartPolicy: Never"
    yield "      hostUsers: false"
    yield "      automountServiceAccountToken: false"
    yield f"      nodeSelector: {{kubernetes.io/arch: {scalar(runner)}}}"
    yield "      containers:"
    yield "        - name: podbuild"
    yield f"          image: {scalar(pipeline.image or PYTHON)}"
    yield "          command:"
    yield "            - sh"
    yield "            - -ec"
    yield "            - |"
    yield from indented((f"              {line}" for line in script(pipeline, command)), 0)
    if leg:
        yield "          env:"
        for key, value in leg_values(pipeline, leg).items():
            yield f"            - {flow_map({'name': key, 'value': value})}"
    yield f"          envFrom: [{', '.join(_sources(pipeline, leg))}]"
    yield "          securityContext:"
    yield "            seccompProfile: {type: Unconfined}"
    yield "            appArmorProfile: {type: Unconfined}"
    yield "          volumeMounts: [{name: build, mountPath: /build}]"
    yield "      volumes: [{name: build, emptyDir: {}}]"


def _sources(pipeline: Pipeline, leg: Leg | None) -> Iterator[str]:
    """Name what a job's variables come from."""
    project = object_name(pipeline)
    yield flow_ref("configMapRef", f"{project}-release")
    if pipeline.leg_variables if leg else pipeline.join_variables:
        yield flow_ref("secretRef", f"{project}-{'legs' if leg else 'release'}")


def script(pipeline: Pipeline, command: str) -> Iterator[str]:
    """Give what a pod runs: the toolchain, the source, the command.

    A line each: `set -e` minds no failure before `&&`.
    """
    if install(pipeline):
        yield "# from your index:"
        yield from install(pipeline).split(" && ")
    yield from _CLONE
    yield command


def flow_ref(kind: str, name: str) -> str:
    """Give where a container's variables come from."""
    return f"{{{kind}: {{name: {name}}}}}"
