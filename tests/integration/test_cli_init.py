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
