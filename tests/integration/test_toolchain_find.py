"""Which engine is used: programs on PATH that answer as engines do, and the private one."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.toolchain.emulation import GUESTS, native_architecture
from podbuild.build.toolchain.find import Choice, find, start_cost
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import ToolError
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from tests.toolchains import own_folders, plain_runner, private_toolchain

pytestmark = pytest.mark.integration

HINT = "podbuild toolchain install"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def runner(tools: Path) -> Runner:
    return Runner(env={"PATH": str(tools)})


def put(tools: Path, name: str, script: str) -> Path:
    path = tools / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_good_buildah_on_path_is_used_before_podman(folders: Folders, tools: Path) -> None:
    buildah = put(tools, "buildah", "echo 'buildah version 1.42.1 (image-spec 1.1.1)'")
    put(tools, "podman", "echo podman version 5.8.0")
    found = find(runner(tools), folders)
    assert (found.engine.path, str(found.engine)) == (buildah, "buildah 1.42.1")
    assert [engine.kind for engine in found.engines] == [EngineKind.BUILDAH, EngineKind.PODMAN]
    assert (found.origin, found.identity) == ("system", "buildah-1.42.1")
    assert (found.helper_dirs, found.crun, found.path) == ((), None, ())


def test_podman_serves_where_buildah_is_too_old(folders: Folders, tools: Path) -> None:
    put(tools, "buildah", "echo buildah version 1.39.3")
    put(tools, "podman", "echo podman version 5.6.0")
    assert find(runner(tools), folders).engine.kind is EngineKind.PODMAN


def test_one_engine_may_be_asked_for(folders: Folders, tools: Path) -> None:
    put(tools, "buildah", "echo buildah version 1.43.0")
    put(tools, "podman", "echo podman version 5.8.0")
    assert find(runner(tools), folders, kind=EngineKind.PODMAN).engine.kind is EngineKind.PODMAN


def test_older_ones_count_as_missing_and_are_named(folders: Folders, tools: Path) -> None:
    buildah = put(tools, "buildah", "echo buildah version 1.28.2")
    put(tools, "podman", "echo podman version 4.3.1")
    with pytest.raises(ToolError) as caught:
        find(runner(tools), folders)
    assert caught.value.message.startswith("no buildah 1.41 or podman 5.6 or newer; too old: ")
    assert f"buildah 1.28.2 at {buildah}" in caught.value.message
    assert "podman 4.3.1" in caught.value.message
    assert (caught.value.exit_code, caught.value.hint) == (11, HINT)


@pytest.mark.parametrize("choice", Choice)
def test_no_engine_at_all_says_how_to_get_one(
    folders: Folders, tools: Path, choice: Choice
) -> None:
    with pytest.raises(ToolError, match=r"no buildah 1\.41 or podman 5\.6") as caught:
        find(runner(tools), folders, choice=choice)
    also = ", and unset PODBUILD_TOOLCHAIN" if choice is Choice.SYSTEM else ""
    assert caught.value.hint == HINT + also


@pytest.mark.parametrize("script", ["exit 1", "echo no number here", "kill -9 $$"])
def test_an_engine_that_does_not_answer_is_none(folders: Folders, tools: Path, script: str) -> None:
    put(tools, "buildah", script)
    with pytest.raises(ToolError, match="no buildah"):
        find(runner(tools), folders)


def test_the_private_one_is_not_used_when_the_system_is_asked_for(tools: Path) -> None:
    put(tools, "podman", "echo podman version 5.9.9")
    found = find(runner(tools), own_folders(), choice=Choice.SYSTEM)
    assert (found.origin, str(found.engine.version)) == ("system", "5.9.9")


def test_auto_prefers_the_private_one(tools: Path) -> None:
    put(tools, "buildah", "echo buildah version 9.9.9")
    assert find(runner(tools), own_folders()).engine == private_toolchain().engine


def test_only_static_qemu_of_the_system_is_taken(folders: Folders, tools: Path) -> None:
    put(tools, "buildah", "echo buildah version 1.43.0")
    guest = next(found for found in GUESTS if found.architecture != native_architecture())
    static = tools / guest.qemu_names[0]
    static.write_bytes(guest.program())
    static.chmod(0o755)
    other = next(found for found in GUESTS if found != guest)
    (tools / other.qemu).symlink_to(Path("/bin/sh").resolve())  # a dynamic program
    put(tools, "qemu-riscv64", "exit 0")  # a script
    assert find(runner(tools), folders).qemu == {guest.architecture: static}


def test_the_private_toolchain_runs_and_has_an_independent_reader() -> None:
    toolchain = private_toolchain()
    assert [engine.kind for engine in toolchain.engines] == list(EngineKind)
    run = plain_runner()
    for engine in toolchain.engines:
        assert str(engine.version) in run(str(engine.path), "--version").out
    assert toolchain.skopeo is not None
    assert "skopeo version" in run(str(toolchain.skopeo), "--version").out


def test_the_private_folder_never_holds_newuidmap() -> None:
    folder = private_toolchain().path[0].parent
    assert not [path for path in folder.rglob("*") if path.name.startswith("newuid")]
    assert not [path for path in folder.rglob("*") if path.name.startswith("newgid")]


def test_the_cost_of_a_start_is_measured() -> None:
    assert 0 < start_cost(plain_runner(), private_toolchain().engine) < 60
