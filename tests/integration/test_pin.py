"""`podbuild pin` as users run it, with the lock that a release left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.oci.names import Digest
from podbuild.report.json import Lock, LockedImage, lock_json
from tests.projects import enter_project

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/acme/{image}"

[registries.hub]
repository = "docker.io/acme/{image}"
required = false

[deploy.production]
files = ["deploy/production/*.yaml"]
registry = "hub"
"""
DIGEST = Digest(f"sha256:{'a' * 64}")
POD = "kind: Pod\nspec:\n  containers:\n  - {name: web, image: %s}  # ours\n"


def pod(name: str) -> str:
    return POD % f"{name}:1.2.3@{DIGEST}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    repositories = {"ghcr": "ghcr.io/acme/web", "hub": "docker.io/acme/web"}
    web = LockedImage(
        name="web", tag="1.2.3", digest=DIGEST, platforms={}, repositories=repositories
    )
    lock = Lock(project="shop", version="1.2.3", images=(web,))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/images.lock.json").write_text(lock_json(lock))
    for name in ("a", "b"):
        file = tmp_path / "deploy/production" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(POD % "ghcr.io/acme/web:1.2.2")
        file.chmod(0o600)
    return tmp_path


def test_pin_changes_files_once_and_check_tells(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project / "deploy/production/a.yaml"
    assert main(["pin", "v1.2.3", "--check"]) == 10
    assert file.read_text() == POD % "ghcr.io/acme/web:1.2.2"
    said = capsys.readouterr()
    assert "deploy/production/a.yaml:4: ghcr.io/acme/web:1.2.2 ->" in said.out
    assert "hint: `podbuild pin v1.2.3` pins them" in said.err
    assert main(["pin", "v1.2.3"]) == 0
    assert file.read_text() == pod("ghcr.io/acme/web")
    assert file.stat().st_mode & 0o777 == 0o600
    err = capsys.readouterr().err
    assert "git commit -m 'Deploy 1.2.3' -- deploy/production/a.yaml" in err
    assert main(["pin", "v1.2.3"]) == 0
    assert capsys.readouterr().out.startswith("nothing to do")
    assert main(["pin", "v1.2.3", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "stale": False, "changes": []}


def test_a_stale_file_is_pinned_by_the_command_that_is_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pin", "v1.2.3", "--check", "-C", str(project), "--deploy", "production"]) == 10
    again = f"`podbuild pin v1.2.3 --directory={project} --deploy=production` pins them"
    assert again in capsys.readouterr().err


def test_named_files_and_links(project: Path) -> None:
    (project / "real.env").write_text("WEB=acme/web:1\n")
    (project / "link.env").symlink_to("real.env")
    assert main(["pin", "1.2.3", "link.env"]) == 0
    assert (project / "link.env").is_symlink()
    assert (project / "real.env").read_text() == f"WEB=acme/web:1.2.3@{DIGEST}\n"
    assert (project / "deploy/production/a.yaml").read_text() == POD % "ghcr.io/acme/web:1.2.2"


def test_lists_name_the_registry_that_is_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pin", "1.2.3", "--format", "env"]) == 0
    assert capsys.readouterr().out == f"WEB_IMAGE=docker.io/acme/web@{DIGEST}\n"
    assert main(["pin", "1.2.3", "--format", "env", "--registry", "ghcr"]) == 0
    assert capsys.readouterr().out == f"WEB_IMAGE=ghcr.io/acme/web@{DIGEST}\n"
    assert project.exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["1.2.3", "missing.yaml"], "missing.yaml: no such file"),
        (["deploy/none.yaml"], "deploy/none.yaml: no such file"),
        (["1.2.3", "--deploy", "prod"], "unknown deployment 'prod'"),
        (["1.2.3", "--format", "helm", "--registry", "x"], "unknown registry 'x'"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_not_there_is_exit_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pin", *argv]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("files = []", "files: must not be empty"),
        ('tag = "x"', "files is missing"),
        ('files = ["x"]\ntag = "x"\nfollow = "y"', "tag and follow exclude each other"),
        ('files = ["x"]\nregistry = "hubb"', "did you mean 'hub'?"),
        ('files = ["x"]\nservices = { a = "webb" }', "did you mean 'web'?"),
    ],
)  # fmt: skip
def test_the_table_is_checked(
    project: Path, more: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (project / "podbuild.toml").open("a") as file:
        file.write(f"\n[deploy.other]\n{more}\n")
    assert main(["pin", "1.2.3"]) == 2
    assert said in capsys.readouterr().err


def test_a_configuration_pins_nothing_outside(
    project: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.yaml"
    outside.write_text(POD % "ghcr.io/acme/web:1.2.2")
    (project / "deploy/production/c.yaml").symlink_to(outside)
    assert main(["pin", "1.2.3"]) == 2
    assert "outside" in capsys.readouterr().err
    assert outside.read_text() == POD % "ghcr.io/acme/web:1.2.2"
