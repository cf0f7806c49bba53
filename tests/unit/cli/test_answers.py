"""What a command answers where it is called in an unusual way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from podbuild.cli import _open_streams, main, session
from podbuild.cli.session import read_build_args, read_secret
from podbuild.errors import ConfigError
from tests.projects import enter_project

CONFIG = """
[project]
name = "shop"
[images.web]
containerfile = "Containerfile"
"""


@pytest.fixture
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_project(tmp_path, CONFIG, monkeypatch)
    session._chosen.clear()  # a process of its own has no command before


def test_without_stdin_there_is_no_terminal_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of `<&-`
    _open_streams()
    assert sys.stdin is not None


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize("argv", [["verify"], ["ci"], ["toolchain"]], ids=" ".join)
@pytest.mark.parametrize("by_variable", [False, True])
def test_wrong_usage_is_answered_as_json(
    argv: list[str],
    by_variable: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if by_variable:
        monkeypatch.setenv("PODBUILD_JSON", "1")
    assert main([*([] if by_variable else ["--json"]), *argv]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit-code"] == 2


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize("command", ["run", "sbom"])
def test_an_empty_tag_is_not_what_is_staged(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "web:"]) == 3
    assert "not a valid tag: ''" in capsys.readouterr().err


@pytest.mark.usefixtures("_project")
def test_a_page_that_can_t_be_written_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--output", str(tmp_path / "Containerfile/page.html")]) == 2
    assert "--output names another file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["id=npm", "id=npm,env=A,src=b", "env=A", "id=npm,other=1"])
def test_a_secret_is_refused_in_the_option_s_words(text: str) -> None:
    with pytest.raises(ConfigError, match="--secret") as refused:
        read_secret(text, Path())
    assert "id=ID,env=NAME" in refused.value.hint


@pytest.mark.parametrize(("text", "lacks"), [("A", "value"), ("=x", "name")])
def test_a_build_argument_says_what_it_lacks(text: str, lacks: str) -> None:
    with pytest.raises(ConfigError, match=f"has no {lacks}"):
        read_build_args([text])


@pytest.mark.integration
@pytest.mark.usefixtures("_project")
def test_a_snapshot_without_git_asks_for_a_work_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", "--branch", "main", "--skip-push"]) == 2
    assert "hint: run it in a git work tree" in capsys.readouterr().err
