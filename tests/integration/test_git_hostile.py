"""Repositories whose own files try to start a program through git."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.errors import ConfigError
from podbuild.plan.git.worktree import Facts, git_runner, read_facts
from podbuild.system.process import Runner

pytestmark = pytest.mark.integration

PROJECT = '[project]\nname = "shop"\n\n[images.web]\n'
COMMANDS = (
    ["check"],
    ["plan", "v1.0.0", "--offline"],
    ["plan"],
    ["build"],
    ["release", "v1.0.0"],
    ["snapshot"],
    ["init"],
)


def git(folder: Path, *words: str) -> str:
    run = Runner(env={"PATH": os.environ["PATH"], "HOME": str(folder)}, cwd=folder)
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return run("git", *who, *words).out.strip()


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """What a hostile program makes when it runs."""
    return tmp_path / "proof"


@pytest.fixture
def program(tmp_path: Path, proof: Path) -> Path:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\necho ran >> {proof}\n")
    path.chmod(0o755)
    return path


def hostile(folder: Path, program: Path) -> None:
    """Make a folder that looks like a bare repository, as a pull request can bring it."""
    for name in ("objects", "refs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "keep").touch()
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text(
        "[core]\nrepositoryformatversion = 0\nbare = false\n"
        f"worktree = .\nfsmonitor = {program}\nhooksPath = {folder / 'hooks'}\n"
        f'sshCommand = {program}\n[filter "x"]\nclean = {program}\n[diff]\nexternal = {program}\n'
        f'[remote "origin"]\nurl = ssh://h/x\nuploadpack = {program}\n'
    )
    (folder / ".gitattributes").write_text("* filter=x\n")
    donor = folder / "donor"
    donor.mkdir()
    git(donor, "init", "-q")
    (donor / "file").touch()
    git(donor, "add", "file")
    shutil.copy(donor / ".git" / "index", folder / "index")  # git asks a monitor only of its files
    shutil.rmtree(donor)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("below", ["", "deep/er"])
def test_folder_that_looks_like_a_bare_repository_starts_nothing(
    tmp_path: Path,
    program: Path,
    proof: Path,
    words: list[str],
    below: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = tmp_path / "project"
    sub = project / "sub"
    hostile(sub, program)
    here = sub / below
    here.mkdir(parents=True, exist_ok=True)
    (here / "README").touch()
    if words != ["init"]:
        (here / "podbuild.toml").write_text(PROJECT)
        (here / "Containerfile").write_text("FROM scratch\nCOPY podbuild.toml /\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "x")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project), str(clone))
    assert main([*words, "-C", str(clone / "sub" / below)]) == 2
    error = capsys.readouterr().err
    assert "looks like a bare git repository" in error
    assert error.count("podbuild: ") == 1
    assert not proof.exists()


def test_bare_repository_beside_the_project_does_no_harm(
    tmp_path: Path, program: Path, proof: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile(tmp_path / "sub", program)
    git(tmp_path, "init", "-q")
    (tmp_path / "podbuild.toml").write_text(PROJECT)
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    git(tmp_path, "add", "podbuild.toml", "Containerfile", "sub")
    git(tmp_path, "commit", "-q", "-m", "x")
    assert main(["check", "-C", str(tmp_path)]) == 0, capsys.readouterr().err
    assert not proof.exists()


@pytest.mark.parametrize("kind", ["file", "absolute file", "link"])
def test_git_folder_inside_its_own_work_tree_starts_nothing(
    tmp_path: Path, program: Path, proof: Path, kind: str
) -> None:
    hostile(tmp_path / "stuff", program)
    link = tmp_path / ".git"
    match kind:
        case "file":
            link.write_text("gitdir: stuff\n")
        case "absolute file":
            link.write_text(f"gitdir: {tmp_path / 'stuff'}\n")
        case _:
            link.symlink_to("stuff")
    with pytest.raises(ConfigError, match="a folder of the project itself"):
        read_facts(Runner(env={"PATH": os.environ["PATH"]}), tmp_path)
    assert not proof.exists()


def test_hooks_and_monitors_of_a_real_repository_are_not_run(
    tmp_path: Path, program: Path, proof: Path
) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    git(tmp_path, "config", "core.fsmonitor", str(program))
    for name in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        shutil.copy(program, tmp_path / ".git" / "hooks" / name)
    run = git_runner(Runner(env={"PATH": os.environ["PATH"]}), tmp_path)
    run("git", "status")
    run("git", "update-ref", "refs/heads/other", "HEAD")
    assert not proof.exists()


def test_settings_of_the_environment_are_kept_and_do_not_win(
    tmp_path: Path, program: Path, proof: Path
) -> None:
    git(tmp_path, "init", "-q")
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(program),
        "GIT_CONFIG_KEY_1": "user.name",
        "GIT_CONFIG_VALUE_1": "kept",
    }
    run = git_runner(Runner(env=environment), tmp_path)
    run("git", "status")
    assert run("git", "config", "user.name").out == "kept\n"
    assert not proof.exists()


def test_worktrees_and_submodules_are_read_as_before(tmp_path: Path) -> None:
    main_tree, inner, other = tmp_path / "main", tmp_path / "inner", tmp_path / "other"
    for folder in (main_tree, inner):
        folder.mkdir()
        git(folder, "init", "-q")
        git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    git(main_tree, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(main_tree, "worktree", "add", "-q", str(other))
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "-q", "--bare", str(inner), str(bare))
    git(bare, "worktree", "add", "-q", str(bare / "tree"))
    run = Runner(env={"PATH": os.environ["PATH"]})
    for folder in (main_tree, main_tree / "sub", other, bare / "tree"):
        assert isinstance(read_facts(run, folder), Facts)
