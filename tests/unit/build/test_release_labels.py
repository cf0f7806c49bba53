"""A release's labels in every platform's image: written after the build, anew each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.build.images import labelled
from podbuild.build.inputs.recipe import _tagged
from podbuild.build.model import BuiltImage
from podbuild.build.staging.area import Pool, Staging, repository_name
from podbuild.config.load import parse_config
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import read_blob
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version
from tests.images import make_image

AMD64 = Platform.parse("linux/amd64")
CONFIG = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64", "linux/arm64"]
release-labels = true
[images.web]
[images.single]
platforms = ["linux/amd64"]
[images.plain]
release-labels = false
"""


def plan_for(folder: Path, version: str, commit: str, branch: str = "main") -> Plan:
    config = parse_config(CONFIG, folder / "podbuild.toml", {})
    request = Request(version=Version.parse(version) if version else None)
    return make_plan(config, request, Commit(commit=commit * 40, branch=branch))


def labels_of(staging: Staging, manifest: Manifest) -> dict[str, str]:
    store = staging.repository(repository_name("web"))
    assert manifest.config
    found: dict[str, str] = json.loads(read_blob(store, manifest.config))["config"]["Labels"]
    return found


def test_they_are_of_this_release_whatever_was_re_used(tmp_path: Path) -> None:
    staging = Staging(Pool(tmp_path / "blobs"))
    made = make_image(staging.repository(repository_name("web")), b"layer")
    built = BuiltImage(job=Job("web", AMD64), manifest=made)
    first = labelled(plan_for(tmp_path, "1.2.3", "a"), staging, built)
    assert labels_of(staging, first.manifest) == {
        "org.opencontainers.image.revision": "a" * 40,
        "org.opencontainers.image.version": "1.2.3",
    }
    assert first.manifest.layers == made.layers
    snapshot = plan_for(tmp_path, "", "b")
    again = labelled(snapshot, staging, BuiltImage(job=built.job, manifest=first.manifest))
    assert labels_of(staging, again.manifest)["org.opencontainers.image.version"] == "main"
    assert again.manifest == labelled(snapshot, staging, built).manifest


@pytest.mark.parametrize("name", ["single", "plain"])
def test_others_stay_as_they_are(tmp_path: Path, name: str) -> None:
    """The image of a single platform gets them with everything else that its index would have."""
    staging = Staging(Pool(tmp_path / "blobs"))
    made = make_image(staging.repository(repository_name(name)), b"layer")
    built = BuiltImage(job=Job(name, AMD64), manifest=made)
    assert labelled(plan_for(tmp_path, "1.2.3", "a"), staging, built) is built


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("debian:trixie", "docker.io/library/debian:trixie"),
        ("debian", "docker.io/library/debian:latest"),
        ("docker.io/library/debian:13@sha256:ab", "docker.io/library/debian:13"),
        ("debian@sha256:ab", "docker.io/library/debian@sha256:cd"),
        ("localhost:5000/debian", "docker.io/library/debian:latest"),
        ("docker-image://debian:12", "docker.io/library/debian:12"),
    ],
)
def test_the_base_keeps_the_tag_by_which_it_was_asked_for(written: str, named: str) -> None:
    assert _tagged(written, "docker.io/library/debian@sha256:cd") == named
