"""The JSON answers of commands, as users get them, by what is promised of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.cli import main, session
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Tag
from podbuild.plan import labels
from tests.contract import wrong
from tests.images import make_image, make_index
from tests.projects import enter_project

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"
[images.web]
containerfile = "Containerfile"
[registries.first]
kind = "layout"
path = "first/{image}"
[registries.second]
kind = "layout"
path = "second/{image}"
[retention]
prune = [{ match = '1\\.0\\.0', keep = 0 }]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    for place in ("first", "second"):
        store = LayoutStore(tmp_path / place / "web")
        for version in ("1.0.0", "1.1.0"):
            content = json.loads(make_index(store, amd64=make_image(store, b"x" * 9)).data)
            content["annotations"] = {labels.REVISION: "c" * 40, labels.VERSION: version}
            index = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
            for tag in (version, "latest"):
                store.put_manifest(index, Tag(tag))
    return tmp_path


def test_every_answer_is_as_promised(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "deploy.yaml").write_text("image: ghcr.io/acme/web:1\n")
    calls = (
        ("verify", "verify", "1.1.0"),
        ("error", "verify", "9.9.9"),
        ("moved", "promote", "1.0.0", "edge", "--yes"),
        ("moved", "promote", "1.0.0", "edge", "--yes"),
        ("moved", "rollback", "--yes"),
        ("prune", "prune"),
        ("prune", "prune", "--apply"),
        ("notes", "notes", "1.1.0"),
        ("pin", "pin", "1.1.0", "deploy.yaml"),
        ("check", "check"),
        ("plan", "plan", "1.2.0"),
        ("plan", "plan", "1.2.0", "--offline"),
        ("clean", "clean", "--dry-run"),
        ("error", "release", "not a version"),
        ("error", "nosuch"),
        ("error", "plan", "--nosuch"),
    )
    for name, *argv in calls:
        session._chosen.clear()  # a process of its own has no command before
        main([*argv, "--json"])
        out = capsys.readouterr().out
        assert wrong(name, json.loads(out)) == [], (argv, out)


def test_a_first_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, *argv in (("init", "init"), ("toolchain", "toolchain", "show")):
        assert main([*argv, "--json"]) == 0
        assert wrong(name, json.loads(capsys.readouterr().out)) == []
