"""What a shell is told of names in this project."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from podbuild.cli import cli
from tests.projects import enter_project

CONFIG = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64", "linux/arm64"]
[images.web]
[images.worker]
platforms = ["linux/riscv64"]
[registries.ghcr]
repository = "ghcr.io/acme/{image}"
[registries.hub]
repository = "docker.io/acme/{image}"
[tags]
release = ["{version}", "latest"]
branches = { main = ["edge", "sha-{sha}"] }
[deploy.production]
files = ["x"]
"""


def offered(*args: str, typed: str = "") -> list[str]:
    shell = ShellComplete(cli, {}, "podbuild", "_PODBUILD_COMPLETE")
    return [each.value for each in shell.get_completions(list(args), typed)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    monkeypatch.setattr("podbuild.cli.names._PATIENCE", 600.0)  # git may be slow here
    return tmp_path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("args", "typed", "names"),
    [
        (["build"], "w", ["web", "worker"]),
        (["release", "--image"], "wo", ["worker"]),
        (["release", "--registry"], "", ["ghcr", "hub"]),
        (["release", "--platform"], "linux/a", ["linux/amd64", "linux/arm64"]),
        (["release", "--platform"], "linux/amd64,linux/r", ["linux/amd64,linux/riscv64"]),
        (["pin", "--deploy"], "", ["production"]),
        pytest.param(["promote"], "", ["latest", "edge"], marks=pytest.mark.integration),
        pytest.param(["promote", "1.2.3"], "e", ["edge"], marks=pytest.mark.integration),
        pytest.param(["verify"], "l", ["latest"], marks=pytest.mark.integration),
    ],
)
def test_names_of_the_project_are_offered(args: list[str], typed: str, names: list[str]) -> None:
    assert offered(*args, typed=typed) == names


def test_from_a_folder_below_and_another_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert offered("build") == ["web", "worker"]
    (project / "other.toml").write_text("[images.api]\n")
    assert offered("build", "-f", "../other.toml") == ["api"]
    assert offered("-C", "..", "build") == ["web", "worker"]


def test_what_can_not_be_read_offers_nothing(project: Path) -> None:
    (project / "podbuild.toml").write_text("[images.web\n")
    assert offered("build") == []
    (project / "podbuild.toml").write_text("images = 3\n[registries]\nx = 1\n")
    assert offered("build") == []
    assert offered("release", "--registry") == ["x"]
