"""`podbuild doctor` with the real toolchain of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind

pytestmark = pytest.mark.integration

PODBUILD = (sys.executable, "-c", "import sys; from podbuild.cli import main; sys.exit(main())")


def doctor(folder: Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        (*PODBUILD, "doctor", "--json"),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("kind", list(EngineKind))
def test_everything_is_tried_for_real(tmp_path: Path, kind: EngineKind) -> None:
    code, found = doctor(tmp_path, PODBUILD_ENGINE=kind, PODBUILD_TOOLCHAIN="private")
    assert code == 0, found
    assert found["engine"]["found"].startswith(f"{kind} ")
    assert found["one-step build"]["found"].startswith("a RUN ran on ")
    assert found["linux/amd64"]["state"] == found["linux/arm64"]["state"] == "ok"


def test_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    code, _ = doctor(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert code == 0
    left = [path for path in (tmp_path / "cache" / "podbuild").rglob("*") if path.is_dir()]
    assert {path.name for path in left} <= {"guests", "runtime", "trials"}


def test_configured_platforms_and_registries_are_examined(tmp_path: Path) -> None:
    (tmp_path / "podbuild.toml").write_text(
        '[project]\nname = "shop"\n[images.web]\nplatforms = ["linux/arm64"]\n'
        '[registries.lost]\nrepository = "127.0.0.1:1/{image}"\ninsecure = true\n'
    )
    code, found = doctor(tmp_path)
    assert "linux/amd64" not in found
    assert found["registry lost/web"]["state"] == "failed"
    assert "127.0.0.1:1" in found["registry lost/web"]["found"]
    assert code == 7


def test_no_engine_names_the_command_that_installs_one(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, XDG_STATE_HOME=str(tmp_path), PODBUILD_TOOLCHAIN="private")
    assert code == 11
    assert found["engine"]["fix"] == "podbuild toolchain install"
