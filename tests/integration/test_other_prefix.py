"""An engine of another prefix, such as Homebrew's: its helpers lie beside its own program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from tests.builds import NATIVE
from tests.shops import Shop, environment
from tests.toolchains import SYSTEM_PATH, private_toolchain

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("kind", list(EngineKind))
@pytest.mark.parametrize("place", ["libexec/podman", "lib/podman"])
def test_it_builds_without_any_configuration(tmp_path: Path, kind: EngineKind, place: str) -> None:
    tools = private_toolchain()
    home, prefix = tmp_path / "home", tmp_path / "cellar"
    shutil.copytree(tools.path[0], prefix / "bin", symlinks=True)
    shutil.copytree(tools.helper_dirs[0], prefix / place, symlinks=True)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / kind).symlink_to(prefix / "bin" / kind)
    home.mkdir()
    shop = Shop(root=tmp_path / "shop", environment=environment(tmp_path)).having(
        HOME=str(home),
        PATH=f"{linked}{os.pathsep}{SYSTEM_PATH}",
        PODBUILD_TOOLCHAIN="system",
        PODBUILD_ENGINE=kind,
    )
    shop.write(
        "podbuild.toml",
        f'[project]\nname = "shop"\n[images.web]\nplatforms = ["{NATIVE}"]\n',
    )
    shop.write("Containerfile", "FROM scratch\nCOPY Containerfile /\n")
    done = shop("build")
    assert done.code == 0, done.text
    assert shop("clean", "--keep", "0").code == 0
