"""What people read says what the code does."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from podbuild.cli import COMMANDS
from podbuild.config.load import load_config
from podbuild.errors import EXIT_CODES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def generated() -> Mapping[Path, str]:
    """Give what scripts/reference.py would write."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files: Mapping[Path, str] = module.files()
    return files


@pytest.mark.integration  # click asks bash for its version
def test_reference_is_what_scripts_reference_writes() -> None:
    files = generated()
    written = {path: path.read_text() for path in files if path.exists()}
    assert written == files, "run .venv/bin/python scripts/reference.py"
    schemas = {path for path in files if path.parent.name == "schemas"}
    assert {*(ROOT / "docs/schemas").iterdir()} == schemas


@pytest.mark.integration  # the same
@pytest.mark.parametrize("name", ["README.md", "docs/ci.md"])
def test_pipelines_in_documents_are_what_podbuild_ci_prints(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "<!-- podbuild ci print " in text
    assert text == generated()[ROOT / name], "run .venv/bin/python scripts/reference.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_has_a_row_for_every_command(command: str) -> None:
    assert re.search(rf"^\| `podbuild {command}[` ]", README, re.MULTILINE)


def test_readme_has_a_row_for_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+)(?:, (\d+))? \| \S", README, re.MULTILINE)
    documented = {int(code) for row in rows for code in row if code}
    assert documented == EXIT_CODES.keys() | {143}


@pytest.mark.parametrize("target", ["build", "push", "manifest", "release", "doctor"])
def test_readme_shows_the_makefile_lines_that_this_project_uses(target: str) -> None:
    line = re.search(rf"^{target}:.*\$\(PODBUILD\).*$", README, re.MULTILINE)
    assert line is not None
    assert line[0] in (ROOT / "Makefile").read_text().splitlines()


def test_every_file_that_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


PAPERS = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"))
OURS = (ROOT / "Makefile", ROOT / ".ci/run", *filter(Path.is_file, ROOT.glob("scripts/*")))


@pytest.mark.parametrize("path", [*PAPERS, *OURS], ids=lambda path: path.name)
def test_every_script_that_is_named_exists(path: Path) -> None:
    # Right behind a quote it is one of the reader's, in a configuration.
    named = set(re.findall(r"""(?<![\w./"-])scripts/[\w.-]*\w""", path.read_text()))
    assert not {each for each in named if not (ROOT / each).exists()}


def test_readme_shows_what_the_demo_ends_with() -> None:
    said = re.findall(r'^echo "(.*)"$', (ROOT / "scripts/demo").read_text(), re.MULTILINE)
    text = "\n".join(said).replace("${version#v}", "1.2.3").replace("$config", "podbuild.toml")
    assert text
    assert f"\n{text}\n" in README


def test_the_configuration_in_readme_is_valid(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert block is not None
    for name in ("base", "web"):
        containerfile = tmp_path / "containerfiles" / name / "Containerfile"
        containerfile.parent.mkdir(parents=True)
        containerfile.write_text("FROM scratch\n")
    (tmp_path / "podbuild.toml").write_text(block[1])
    config = load_config(tmp_path / "podbuild.toml", {})
    assert [image.name for image in config.images] == ["base", "web"]
    assert [registry.name for registry in config.registries] == ["ghcr", "dockerhub"]


def test_every_row_of_what_is_not_as_with_docker_build_has_a_test() -> None:
    lines = (ROOT / "docs/docker-build.md").read_text().split("\n")
    rows = [line for line in lines if line.startswith("| ") and "| test |" not in line]
    assert rows
    for row in rows:
        named = re.search(r"\| `(tests/\S+\.py)::(test_\w+)` \|$", row)
        assert named, row
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text(), row


def test_no_document_holds_the_marks_of_a_conflict() -> None:
    marks = re.compile(r"^(<{7}|={7}$|>{7})", re.MULTILINE)
    wrong = [
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"))
        if marks.search(path.read_text())
    ]
    assert wrong == []
