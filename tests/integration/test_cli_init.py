from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.config.load import load_config

pytestmark = pytest.mark.integration  # asks git for the remote


def test_init_makes_a_project_that_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "-C", str(tmp_path), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert [Path(path).name for path in written] == ["podbuild.toml", "Containerfile", ".gitignore"]
    assert load_config(tmp_path / "podbuild.toml", {}).images
    assert main(["check", "-C", str(tmp_path)]) == 0


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "podbuild.toml").write_text("mine")
    assert main(["init", "-C", str(tmp_path)]) == 2
    assert (tmp_path / "podbuild.toml").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["podbuild.toml"]
    assert "is there already" in capsys.readouterr().err


def test_init_takes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-C", str(tmp_path), "-f", "other.toml"]) == 2
    assert "hint: -C names the folder" in capsys.readouterr().err


def test_init_carries_over_a_bake_file_and_lists_what_it_could_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    (tmp_path / "docker-bake.hcl").write_text(
        'target "web" {\n  tags = ["ghcr.io/acme/web"]\n  ulimits = ["nofile=1"]\n}\n'
    )
    assert main(["init", "-C", str(tmp_path), "--from", "docker-bake.hcl", "--json"]) == 0
    said = capsys.readouterr()
    assert [each["line"] for each in json.loads(said.out)["left-out"]] == [3]
    assert "docker-bake.hcl:3: not carried over: target web: ulimits" in said.err
    assert main(["check", "-C", str(tmp_path)]) == 0


def test_init_says_what_from_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").touch()
    assert main(["init", "-C", str(tmp_path), "--from", "x.toml"]) == 2
    assert "neither a bake file nor a compose file" in capsys.readouterr().err
    assert not (tmp_path / "podbuild.toml").exists()


def test_a_command_that_fails_answers_json_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--json", "-f", "x.toml", "-C", str(tmp_path)]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["exit-code"] == 2
    assert error["message"]
    assert error["hint"] in said.err
    assert main(["init", "-C", str(tmp_path), "-f", "x.toml"]) == 2
    assert capsys.readouterr().out == ""
