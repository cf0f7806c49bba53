"""The wheel and the source archive: what is in them, and that indexes take them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from podbuild.cli import COMMANDS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHARED = (
    "share/man/man1/podbuild.1",
    "share/bash-completion/completions/podbuild",
    "share/zsh/site-functions/_podbuild",
    "share/fish/vendor_completions.d/podbuild.fish",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "hatchling", "build", "-d", str(folder))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_manual_completions_and_data(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        found = next(name for name in names if name.endswith("METADATA"))
        metadata = Metadata.from_email(wheel.read(found), validate=True)
    assert {name.partition(".data/data/")[2] for name in names} >= {*SHARED}
    assert "podbuild/report/outputs.txt" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description


def test_the_source_archive_holds_what_builds_and_tests_it(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {*SHARED, "pyproject.toml", "README.md", "LICENSE", "docs/reference.md", "Makefile"}
    assert wanted <= names
    assert not [name for name in names if name.endswith(".tar") or name.startswith("dist/")]


def test_the_manual_names_every_command() -> None:
    text = (ROOT / SHARED[0]).read_text()
    missing = [name for name in COMMANDS if f".SS podbuild {name}" not in text]
    assert missing == []
    assert all(line.isprintable() for line in text.splitlines())
