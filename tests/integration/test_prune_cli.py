"""`podbuild prune` as users run it, on a layout and in a clone whose commits give the dates."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from tests.images import make_image, make_index
from tests.projects import enter_project

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[registries.here]
kind = "layout"
path = "registry/{image}"

[tags]
branches = { main = ["edge", "sha-{sha}"] }

[retention]
protect = ['lts']
prune = [{ match = 'sha-[0-9a-f]{7}|lts|edge', keep = 1, older-than = "30d" }]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    return tmp_path


def push(project: Path, name: str, days: float, *tags: str) -> Manifest:
    when = datetime.now(UTC) - timedelta(days=days)
    store = LayoutStore(project / "registry/web", clock=lambda: when)
    amd64 = make_image(store, f"amd64 {name}".encode())
    arm64 = make_image(store, f"arm64 {name}".encode(), architecture="arm64")
    index = make_index(store, amd64=amd64, arm64=arm64)
    for tag in tags:
        store.put_manifest(index, Tag(tag))
    return index


def tags(project: Path) -> set[str]:
    return set(map(str, LayoutStore(project / "registry/web").tags()))


def test_without_apply_the_plan_is_shown_and_nothing_goes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(project, "old", 60, "sha-0000001", "lts")
    push(project, "older", 70, "sha-0000002")
    push(project, "new", 50, "sha-0000003", "edge")
    files = sorted(path.name for path in (project / "registry/web/blobs/sha256").iterdir())
    assert main(["prune"]) == 0
    shown = capsys.readouterr()
    assert "delete sha-0000002: outside the newest 1" in shown.out
    assert "keep lts: [retention] protect names it" in shown.out
    assert "keep edge: it is a moving tag" in shown.out
    assert "--apply" in shown.err
    assert len(tags(project)) == 5
    assert files == sorted(path.name for path in (project / "registry/web/blobs/sha256").iterdir())


def test_with_apply_the_plan_is_carried_out_and_told_as_json(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = push(project, "old", 60, "sha-0000001")
    new = push(project, "new", 50, "sha-0000003", "1.0.0")
    assert main(["prune", "--apply", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (repository,) = told["repositories"]
    assert {item.get("tag") for item in repository["deleted"]} == {"sha-0000001", None}
    assert str(old.digest) in {item["digest"] for item in repository["deleted"]}
    assert tags(project) == {"sha-0000003", "1.0.0"}
    store = LayoutStore(project / "registry/web")
    kept = {new.digest, *(child.digest for child in new.children)}
    for child in new.children:
        manifest = store.manifest(child.digest)
        assert manifest is not None
        kept |= {blob.digest for blob in manifest.blobs}
    left = (project / "registry/web/blobs/sha256").iterdir()
    assert {Digest(f"sha256:{path.name}") for path in left} == kept
    assert main(["prune", "--apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repositories"][0]["deleted"] == []


def test_most_bounds_a_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        push(project, f"n{number}", 90 - number, f"sha-000000{number}")
    assert main(["prune", "--apply", "--most", "2"]) == 0
    assert tags(project) == {"sha-0000002", "sha-0000003", "sha-0000004"}
    assert "next run" in capsys.readouterr().out


def test_a_damaged_repository_is_exit_12_and_loses_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(project, "old", 60, "sha-0000001")
    kept = push(project, "kept", 50, "1.0.0")
    (project / "registry/web/blobs/sha256" / kept.children[0].digest.hex).unlink()
    assert main(["prune", "--apply"]) == 12
    assert tags(project) == {"sha-0000001", "1.0.0"}
    assert "podbuild:" in capsys.readouterr().err


def test_an_index_that_another_tool_listed_without_its_children_keeps_their_layers(
    project: Path,
) -> None:
    """`skopeo copy --all` lists the index alone; here its child shares a layer with what goes."""
    push(project, "new", 50, "sha-0000003")
    when = datetime.now(UTC) - timedelta(days=60)
    store = LayoutStore(project / "registry/web", clock=lambda: when)
    store.put_manifest(make_image(store, b"shared"), Tag("sha-0000001"))
    child = make_image(store, b"shared", architecture="arm64")
    store.put_manifest(make_index(store, arm64=child), Tag("1.0.0"))
    listed = json.loads((store.path / "index.json").read_text())
    listed["manifests"] = [
        each for each in listed["manifests"] if each["digest"] != str(child.digest)
    ]
    (store.path / "index.json").write_text(json.dumps(listed))
    assert main(["prune", "--apply"]) == 0
    assert tags(project) == {"sha-0000003", "1.0.0"}
    assert all(map(store.has_blob, child.blobs))


def test_an_unknown_registry_is_exit_2(project: Path) -> None:
    assert project.is_dir()
    assert main(["prune", "--registry", "nowhere"]) == 2


def test_a_clone_gives_the_dates_where_the_layout_does_not(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = []
    for year in (2020, 2021):
        date = f"{year}-01-01T00:00:00+00:00"
        env = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "PATH": "/usr/bin:/bin"}
        run = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "init", "-q", "."], cwd=project, check=True, env=env)
        subprocess.run(
            [*run, "commit", "-q", "--allow-empty", "-m", "x"], cwd=project, check=True, env=env
        )
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=project, check=True, env=env, capture_output=True
        )
        commits.append(head.stdout.decode().strip())
    for commit in commits:
        undated(project, commit)
    assert main(["prune"]) == 0
    shown = capsys.readouterr().out
    assert f"delete sha-{commits[0][:7]}" in shown
    assert f"keep sha-{commits[1][:7]}: among the newest 1" in shown


def undated(project: Path, commit: str) -> None:
    """Put an index that names its revision, as another tool would: without a time of its push."""
    path = project / "registry/web"
    store = LayoutStore(path)
    child = make_image(store, commit.encode())
    content = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [child.descriptor.to_json()],
        "annotations": {"org.opencontainers.image.revision": commit},
    }
    index = Manifest(str(content["mediaType"]), json.dumps(content).encode())
    store.put_manifest(index, Tag(f"sha-{commit[:7]}"))
    listed = json.loads((path / "index.json").read_text())
    for entry in listed["manifests"]:
        entry.get("annotations", {}).pop("io.github.podbuild.pushed", None)
    (path / "index.json").write_text(json.dumps(listed))
