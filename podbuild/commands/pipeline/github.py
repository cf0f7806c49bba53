"""A workflow for GitHub Actions, which others can call too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from podbuild.commands.pipeline.model import Pipeline, Variable
from podbuild.commands.pipeline.yaml import (
    flow_list,
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

FILE = ".github/workflows/podbuild.yml"
# Pinned by commit: a tag can be moved. Those of v4 ran on a node that is gone.
_CHECKOUT = "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2"
_UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1"
_DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1"
# Ubuntu refuses pip outside of an environment (PEP 668). The hosted runners have pipx, and on the
# PATH what it installs, which of pip's own folder is not so on arm64.
_INSTALL = "pipx install '{extras}' && podbuild toolchain install"
_RUN = "run-$GITHUB_RUN_ID"  # the same when failed jobs run again
_OWN = ("GITHUB_", "RUNNER_")  # variables that runners set themselves
_SPECIAL = re.compile(r"([*?+!\[\]\\])")


def github(pipeline: Pipeline) -> str:
    """Give the workflow's file."""
    lines = [
        *head(pipeline),
        f"name: {scalar(f'podbuild {pipeline.project}')}",
        *_triggers(pipeline),
    ]
    lines += ["", "permissions: {}", "", *_concurrency(pipeline)]
    if pipeline.file:
        lines += ["", f"env: {flow_map({'PODBUILD_FILE': pipeline.file})}"]
    lines += ["", "jobs:"]
    if not pipeline.is_single:
        lines += [*indented(_legs(pipeline), 2), ""]
    lines += indented(_join(pipeline, "release"), 2)
    if pipeline.branches:
        lines += ["", *indented(_join(pipeline, "snapshot"), 2)]
    return "\n".join(lines) + "\n"


def _triggers(pipeline: Pipeline) -> Iterator[str]:
    yield ""
    yield "on:"
    yield "  push:"
    yield f"    tags: {flow_list(_tags(pipeline.tag_form))}"
    if pipeline.branches:
        patterns = (each.replace("*", "**") for each in pipeline.branches)
        yield f"    branches: {flow_list(patterns)}"
    variables = {each.name: each for each in (*pipeline.leg_variables, *pipeline.join_variables)}
    secrets = [name for name, each in variables.items() if each.secret and name != "GITHUB_TOKEN"]
    if not secrets:
        yield "  workflow_call:"
        return
    yield "  workflow_call:"
    yield "    secrets:"
    yield from (f"      {name}: {{required: false}}" for name in secrets)


def _tags(form: str) -> Iterator[str]:
    if not form:
        yield from ("v[0-9]*", "[0-9]*")
        return
    before, after = (_SPECIAL.sub(r"\\\1", each) for each in tag_prefixes(form))
    yield f"{before}[0-9]*{after}"


def _concurrency(pipeline: Pipeline) -> Iterator[str]:
    """Let releases wait for each other, and a newer push stop a snapshot."""
    name = pipeline.project
    yield "concurrency:"
    yield f'  group: "podbuild-{name}-${{{{ github.ref }}}}"'
    if pipeline.branches:
        yield "  cancel-in-progress: ${{ github.ref_type == 'branch' }}"
    else:
        yield "  cancel-in-progress: false"


def _legs(pipeline: Pipeline) -> Iterator[str]:
    pushes = pipeline.carrier is not Carrier.WHOLE
    yield "build:"
    yield '  name: "build ${{ matrix.slug }}"'
    yield "  strategy:"
    yield "    fail-fast: false"
    yield "    matrix:"
    yield "      include:"
    for leg in pipeline.legs:
        values = {_column(name): value for name, value in leg_values(pipeline, leg).items()}
        yield f"        - {flow_map({**values, 'runner': leg.runner})}"
    yield "  runs-on: ${{ matrix.runner }}"
    yield "  timeout-minutes: 120"
    yield f"  permissions: {_permissions(pipeline, writes=pushes)}"
    yield "  steps:"
    yield from indented(_prepare(pipeline), 4)
    yield f"    - run: {leg_command(pipeline, _RUN)}"
    yield "      env:"
    for name in leg_values(pipeline, pipeline.legs[0]):
        yield f"        {name}: ${{{{ matrix.{_column(name)} }}}}"
    yield from indented(_environment(pipeline.leg_variables), 8)
    if pipeline.carrier is not Carrier.REGISTRY:
        yield from indented(_upload(pipeline), 4)


def _column(name: str) -> str:
    """Give the name that a leg's variable has in the matrix."""
    return "images" if name == "PODBUILD_IMAGE" else name.lower()


def _upload(pipeline: Pipeline) -> Iterator[str]:
    yield f"- uses: {_UPLOAD}"
    yield "  with:"
    yield '    name: "podbuild-${{ matrix.slug }}"'
    yield "    path: |"
    yield f"      {pipeline.output}/state.json"
    yield f"      {pipeline.output}/staging/"
    yield "    if-no-files-found: error"
    yield "    compression-level: 0"
    yield "    retention-days: 7"
    yield "    overwrite: true"


def _join(pipeline: Pipeline, verb: str) -> Iterator[str]:
    release = verb == "release"
    yield f"{verb}:"
    yield f"  name: {verb}"
    if pipeline.branches:
        yield f"  if: github.ref_type == '{'tag' if release else 'branch'}'"
    if not pipeline.is_single:
        yield "  needs: build"
    yield f"  runs-on: {scalar(pipeline.legs[0].runner)}"
    yield f"  timeout-minutes: {120 if pipeline.is_single else 60}"
    if release:
        yield f"  environment: {scalar(pipeline.environment)}"
    yield f"  permissions: {_permissions(pipeline, writes=True, signs=pipeline.keyless)}"
    yield "  steps:"
    yield from indented(_prepare(pipeline, deep=not release), 4)
    if not pipeline.is_single and pipeline.carrier is not Carrier.REGISTRY:
        for leg in pipeline.legs:
            yield f"    - uses: {_DOWNLOAD}"
            yield f"      with: {flow_map(_artifact(leg.slug))}"
    lines = [*_environment(pipeline.join_variables)]
    yield f"    - run: {join_command(pipeline, _RUN, verb)}"
    if lines:
        yield "      env:"
        yield from indented(lines, 8)


def _artifact(slug: str) -> dict[str, str]:
    return {"name": f"podbuild-{slug}", "path": f"legs/{slug}"}


def _permissions(pipeline: Pipeline, *, writes: bool, signs: bool = False) -> str:
    given = {"contents: read": "to check out"}
    if pipeline.packages and writes:
        given["packages: write"] = "to push to ghcr.io"
    if signs:
        given["id-token: write"] = "to sign as this workflow"
    return f"{{{', '.join(given)}}} # {'; '.join(given.values())}"


def _prepare(pipeline: Pipeline, *, deep: bool = False) -> Iterator[str]:
    yield f"- uses: {_CHECKOUT}"
    if deep:  # a branch's tag moves only to what comes after the commit that it names
        yield "  with: {persist-credentials: false, fetch-depth: 0}"
    else:
        yield "  with: {persist-credentials: false}"
    yield "- run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    yield f"- run: {_INSTALL.format(extras=pipeline.extras)} # from your index"


def _environment(variables: Iterable[Variable]) -> Iterator[str]:
    for each in variables:
        if not each.name.startswith(_OWN) or each.secret:
            yield f"{each.name}: ${{{{ {'secrets' if each.secret else 'vars'}.{each.name} }}}}"
