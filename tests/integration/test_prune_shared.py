"""`podbuild prune` where images share one repository: none loses what belongs to another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from tests.images import make_image
from tests.projects import enter_project

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[images.worker]
containerfile = "Containerfile"

[images.worker.tags]
release = ["{version}-alpine", "{major}-alpine", "alpine"]
branches = { main = ["nightly"] }

[registries.here]
kind = "layout"
path = "registry/shop"

[tags]
release = ["{version}", "{major}", "latest"]
branches = { main = ["{image}-edge", "{branch}"] }

[retention]
prune = [{ match = '.*', keep = 0, older-than = "30d" }]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    return tmp_path


def push(project: Path, name: str, *tags: str) -> Manifest:
    when = datetime.now(UTC) - timedelta(days=60)
    store = LayoutStore(project / "registry/shop", clock=lambda: when)
    image = make_image(store, name.encode())
    for tag in tags:
        store.put_manifest(image, Tag(tag))
    return image


def tags(project: Path) -> set[str]:
    return set(map(str, LayoutStore(project / "registry/shop").tags()))


WEB = ("2.0.0", "2", "latest")
WORKER = ("1.5.0-alpine", "1-alpine", "alpine")


@pytest.mark.parametrize("narrowed", [(), ("--image", "web"), ("--image", "worker")])
def test_each_image_s_current_release_and_moving_tags_stay(
    project: Path, narrowed: tuple[str, ...]
) -> None:
    push(project, "old web", "1.0.0")
    push(project, "web", *WEB)
    push(project, "old worker", "1.4.0-alpine")
    push(project, "worker", *WORKER)
    push(project, "snapshots", "web-edge", "main", "nightly")
    push(project, "strangers", "strange")
    assert main(["prune", "--apply", *narrowed]) == 0
    assert tags(project) == {*WEB, *WORKER, "web-edge", "main", "nightly"}


def test_the_release_that_a_rollback_went_to_is_the_current_one(project: Path) -> None:
    config = CONFIG.replace("[tags]", '[tags]\nyanked = ["2.0.0"]')
    (project / "podbuild.toml").write_text(config)
    push(project, "yanked", "2.0.0", "2")
    push(project, "current", "1.9.1", "1", "latest")
    push(project, "old", "1.9.0")
    assert main(["prune", "--apply"]) == 0
    assert tags(project) >= {"1.9.1", "1", "latest"}
    assert "1.9.0" not in tags(project)
