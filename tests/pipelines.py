"""Projects whose pipelines are looked at, and what their jobs run, as plain commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml  # type: ignore[import-untyped]

_PLAIN = """\
[project]
name = "shop"
source = "https://github.com/acme/shop"

[defaults]
platforms = ["linux/amd64", "linux/arm64"]

[images.base]
publish = false

[images.web]
secrets = [{ id = "npm", env = "NPM_TOKEN" }]

[images.api]

[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/acme/{image}"

[tags]
branches = { main = ["edge"] }
"""
_EVERYTHING = """
[registries.hub]
kind = "dockerhub"
repository = "docker.io/acme/{image}"

[registries.quay]
repository = "quay.io/{env.OWNER}/{image}"

[cache]
repository = "cache.example.com/{project}/{image}"
mounts = true

[attest]
sign = { key = "env:COSIGN_PRIVATE_KEY" }

[ci]
slices = 2
tag-children = true
environment = "live: it's on"
image = "registry.example.com/podbuild:1"
runners = { "linux/arm64" = "ubuntu-26.04-arm" }
"""
_KEYLESS = """
[attest]
sign = { keyless = true, identity = "https://ci.example/shop@v{version}", issuer = "https://ci" }

[[checks]]
run = ["scan", "$PODBUILD_LAYOUT"]
env = ["SCAN_TOKEN"]

[history]
repository = "history.example.com/shop"

[notify]
webhook-env = "TEAM_WEBHOOK"
"""
VARIANTS = {
    "plain": _PLAIN,
    "everything": _PLAIN + _EVERYTHING,
    "keyless": _PLAIN + _KEYLESS,
    "artifact": f'{_PLAIN}\n[ci]\nhand-over = "artifact"\nslices = 2\n',
    "whole": f'{_PLAIN}\n[ci]\nhand-over = "whole"\n',
    "one platform": _PLAIN.replace('"linux/amd64", ', "").partition("[tags]")[0],
}


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a job runs, and the variables that only it has."""

    job: str
    text: str
    environment: Mapping[str, str]
    artifacts: tuple[str, ...] = ()  # folders that it gets of other jobs


def github_scripts(text: str) -> Iterator[Script]:
    """Give what the jobs of a workflow run, legs first; as for a tag."""
    jobs = yaml.safe_load(text)["jobs"]
    for leg in jobs["build"]["strategy"]["matrix"]["include"]:
        yield _github(f"build {leg['slug']}", jobs["build"], leg)
    yield _github("release", jobs["release"], {})


def _github(name: str, job: dict[str, object], leg: Mapping[str, str]) -> Script:
    steps = job["steps"]
    assert isinstance(steps, list)
    environment: dict[str, str] = {}
    for step in steps:
        for key, value in step.get("env", {}).items():
            found = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", value)
            if found:
                environment[key] = leg[found[1]]
    return Script(
        job=name,
        text="\n".join(step["run"] for step in steps if "run" in step),
        environment=environment,
    )


def gitlab_scripts(text: str) -> Iterator[Script]:
    """Give what the jobs of a pipeline run, legs first; as for a tag."""
    jobs = yaml.safe_load(text)
    before = jobs[".podbuild"].get("before_script", [])
    for leg in jobs["build"]["parallel"]["matrix"]:
        lines = "\n".join([*before, *jobs["build"]["script"]])
        yield Script(job=f"build {leg['SLUG']}", text=lines, environment=leg)
    lines = "\n".join([*before, *jobs["release"]["script"]])
    yield Script(job="release", text=lines, environment={})


def kubernetes_scripts(text: str) -> Iterator[Script]:
    """Give what the jobs of the manifests run, legs first."""
    settings, *jobs = yaml.safe_load_all(text)
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        own = {each["name"]: each["value"] for each in container.get("env", [])}
        name = job["metadata"]["name"].removeprefix("shop-")
        yield Script(
            job=name if name == "release" else f"build {name}",
            text=container["command"][-1],
            environment={**settings["data"], **own},
        )


def tekton_scripts(text: str) -> Iterator[Script]:
    """Give what the tasks of a pipeline run, in an order that `runAfter` allows."""
    pipeline, run = yaml.safe_load_all(text)
    source = next(each["default"] for each in pipeline["spec"]["params"] if "default" in each)
    values = {each["name"]: each["value"] for each in run["spec"]["params"]} | {"source": source}
    done: set[str] = set()
    for task in pipeline["spec"]["tasks"]:
        assert done >= {*task.get("runAfter", [])}
        done.add(task["name"])
        (step,) = task["taskSpec"]["steps"]
        values["run"] = "6c9e"
        environment = {
            each["name"]: re.sub(
                r"\$\(params\.(\w+)\)", lambda found: values[found[1]], each["value"]
            )
            for each in step["env"]
        }
        name = task["name"]
        yield Script(
            job=name if name == "release" else f"build {name}",
            text=step["script"],
            environment=environment,
        )
