"""podbuild's own image: made by `make image`, and at work as a pod runs it.

Root of a user namespace with the capabilities that containers have, nothing else: what the recipe
for Kubernetes asks for (`hostUsers: false`, no seccomp profile), its volume for the caches.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from podbuild import __version__
from podbuild.build.toolchain.emulation import native_architecture

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PODBUILD = (sys.executable, "-c", "import sys; from podbuild.cli import main; sys.exit(main())")
NEEDED = (
    *("Makefile", "README.md", "LICENSE", "pyproject.toml", "podbuild.image.toml"),
    *("containerfiles/podbuild", "podbuild", "requirements", "scripts", "share"),
)
RELEASE = r"""
mkdir -p /build/source && cd /build/source && git init -q .
cat >podbuild.toml <<'EOT'
[project]
name = "hello"
[defaults]
platforms = ["linux/PLATFORM"]
[images.hello]
EOT
cp /usr/bin/busybox .
cat >Containerfile <<'EOT'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN <<END
set -eu
echo hello >/greeting
END
EOT
echo /dist/ >.gitignore
git add . && git -c user.name=a -c user.email=a@example.com commit -qm first && git tag v1.2.3
podbuild release v1.2.3 && podbuild run hello:1.2.3 cat /greeting
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the project in which the image is released for this machine."""
    project = tmp_path_factory.mktemp("image")
    for name in NEEDED:
        source, target = ROOT / name, project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "*.tar")
            shutil.copytree(source, target, ignore=leave)
        else:
            shutil.copy(source, target)
    (project / ".venv").symlink_to(ROOT / ".venv")
    command = ("scripts/image", f"linux/{native_architecture()}")
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return project


def run_there(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    image = f"podbuild:{__version__}"
    settings = ("-e", "HOME=/nowhere", "-e", "XDG_CACHE_HOME=/build/cache")
    argv = (*PODBUILD, "--file", "podbuild.native.toml", "run", *settings, image, *command)
    return subprocess.run(
        argv, cwd=project, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_image_releases_as_the_recipe_for_kubernetes_runs_it(made: Path) -> None:
    script = RELEASE.replace("PLATFORM", native_architecture())
    done = run_there(made, "sh", "-ec", script)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "hello 1.2.3: published" in done.stdout
    assert done.stdout.splitlines()[-1] == "hello"


def test_the_image_holds_its_toolchain_and_this_version(made: Path) -> None:
    done = run_there(made, "sh", "-ec", "podbuild --version; podbuild toolchain show --json")
    version, _, shown = done.stdout.partition("\n")
    assert version.endswith(f" {__version__}"), done.stderr
    assert "/usr/bin/buildah" in json.dumps(json.loads(shown))
