"""Versions of tools, records on disk, and what ELF files say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from podbuild.build.toolchain.emulation import GUESTS, interpreter, is_static_program
from podbuild.build.toolchain.model import (
    Engine,
    EngineKind,
    Installation,
    ToolVersion,
    file_digests,
    read_record,
    select,
    write_record,
)
from podbuild.build.toolchain.podman_static import PINNED, archive_url
from podbuild.errors import ToolError
from podbuild.system.folders import Folders


@pytest.mark.parametrize(
    ("kind", "text", "good"),
    [
        (EngineKind.BUILDAH, "buildah version 1.41.0 (image-spec 1.1.1)", True),
        (EngineKind.BUILDAH, "buildah version 1.44.0-dev (image-spec 1.1.1)", True),
        (EngineKind.BUILDAH, "buildah version 1.40.1", False),
        (EngineKind.BUILDAH, "buildah version 1.39.3", False),
        (EngineKind.PODMAN, "podman version 5.6.0", True),
        (EngineKind.PODMAN, "podman version 4.3.1-rhel", False),
        (EngineKind.PODMAN, "podman version 10.0.0", True),
    ],
)
def test_engines_are_good_from_their_floor_on(kind: EngineKind, text: str, good: bool) -> None:
    engine = Engine(kind=kind, path=Path("/x"), version=ToolVersion.parse(text))
    assert engine.good is good


def test_a_text_without_a_version_is_an_error() -> None:
    with pytest.raises(ToolError, match="no version in 'command not found'"):
        ToolVersion.parse("command not found")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)


def put(folders: Folders, folder: Path) -> Installation:
    record = Installation(
        name=folder.name,
        source="debian",
        origin="http://deb.example.org/debian forky",
        installed="2026-01-01T00:00:00Z",
        folder=folder,
        downloads={"a.deb": "00"},
        files=file_digests(folder),
        versions={"buildah": "1.43.2"},
        notes=("a note",),
    )
    write_record(record, folder)
    select(folders, record.name)
    return record


def test_a_record_is_read_as_it_was_written(folders: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "toolchain" / "debian-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "buildah").write_text("program")
    record = put(folders, folder)
    assert read_record(folders) == record
    assert json.loads((folder / "record.json").read_text())["schema"] == 1
    assert record.changed_files() == ()


def test_damage_is_seen(folders: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "toolchain" / "debian-1"
    (folder / "bin").mkdir(parents=True)
    for name in ("buildah", "podman", "crun"):
        (folder / "bin" / name).write_text("program")
    record = put(folders, folder)
    (folder / "bin" / "buildah").write_text("another")
    (folder / "bin" / "podman").unlink()
    assert record.changed_files() == ("bin/buildah", "bin/podman")


def test_a_toolchain_that_was_moved_is_none(folders: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "toolchain" / "debian-1"
    folder.mkdir(parents=True)
    put(folders, folder)
    folder.rename(folder.with_name("debian-2"))
    select(folders, "debian-2")
    assert read_record(folders) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "name": 3}'])
def test_a_record_of_another_kind_is_none(folders: Folders, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "toolchain" / "debian-1"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(text)
    select(folders, "debian-1")
    assert read_record(folders) is None


def test_a_dynamic_program_names_its_loader() -> None:
    loader = interpreter(Path(sys.executable).resolve())
    assert loader is not None
    assert loader.startswith("/")
    assert "ld-" in loader
    assert not is_static_program(Path(sys.executable).resolve())


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.architecture)
def test_a_static_program_names_none(guest: object, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(next(found for found in GUESTS if found is guest).program())
    assert interpreter(program) is None
    assert is_static_program(program)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF"])
def test_what_is_no_program_has_no_loader(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert interpreter(path) is None


def test_a_file_that_is_not_there_is_no_program(tmp_path: Path) -> None:
    assert not is_static_program(tmp_path / "nothing")


def test_the_release_is_pinned_for_both_architectures() -> None:
    assert {name: len(sha256) for name, sha256 in PINNED.sha256.items()} == {
        "amd64": 64,
        "arm64": 64,
    }
    assert archive_url(PINNED, "amd64", "") == (
        "https://github.com/mgoltzsche/podman-static/releases/download/"
        "v5.8.4/podman-linux-amd64.tar.gz"
    )
