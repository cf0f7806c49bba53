from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.cli import main

pytestmark = pytest.mark.integration  # asks git for the files' modes

GOOD = '[project]\nname = "shop"\n[images.web]\n'


def project(folder: Path, text: str, containerfile: str = "FROM scratch\n") -> Path:
    (folder / "podbuild.toml").write_text(text)
    (folder / "Containerfile").write_text(containerfile)
    return folder


def test_good_project_is_all_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-C", str(project(tmp_path, GOOD))]) == 0
    assert capsys.readouterr() == ("all good\n", "")


def test_error_is_exit_code_2_and_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path, GOOD + 'containerfile = "nope"\n')
    assert main(["check", "-C", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "1 error\n"
    first, second = err.splitlines()
    assert first.startswith("podbuild: ")
    assert first.endswith("podbuild.toml:4: image 'web': there is no " + str(tmp_path / "nope"))
    assert second.startswith("hint: ")


def test_warnings_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path, GOOD, "FROM scratch\nHEALTHCHECK CMD true\n")
    assert main(["check", "-C", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    (finding,) = json.loads(out)["findings"]
    assert (finding["level"], finding["line"]) == ("warning", 2)
    assert err.startswith("warning: ")
    assert "Containerfile:2: oci format has no HEALTHCHECK" in err


def test_broken_configuration_names_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path, GOOD + "platfroms = []\n")
    assert main(["check", "-C", str(folder)]) == 2
    assert "podbuild.toml:4: images.web.platfroms: unknown key" in capsys.readouterr().err
