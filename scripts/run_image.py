"""Run an image of an OCI layout with podbuild's own toolchain: what podman would do, as anyone.

run_image.py [--platform OS/ARCH] LAYOUT:TAG [COMMAND...]; COMMAND stands for the image's CMD.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.engine.namespace import open_namespace
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.find import find
from podbuild.build.toolchain.model import Toolchain
from podbuild.oci.names import Platform
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/graph"\nrunroot = "{0}/run"\n'
CONTAINERS = "[engine]\nhelper_binaries_dir = [{0}]\n"


def settings(work: Path, toolchain: Toolchain) -> dict[str, str]:
    """Write an engine configuration of this run's own and give the variables that name it."""
    helpers = ", ".join(json.dumps(str(folder)) for folder in toolchain.helper_dirs)
    files = {
        "CONTAINERS_STORAGE_CONF": STORAGE.format(work),
        "CONTAINERS_CONF": CONTAINERS.format(helpers),
    }
    for name, text in files.items():
        (work / name).write_text(text)
    policy = work / "home/.config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(POLICY)
    own = {"HOME": str(work / "home"), "XDG_RUNTIME_DIR": str(work), "TMPDIR": str(work)}
    return own | {name: str(work / name) for name in files}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Calls the engine inside the namespace."""

    argv: tuple[str, ...]
    env: Mapping[str, str]

    def ask(self, *options: str) -> str:
        """Give what it prints."""
        return subprocess.check_output((*self.argv, *options), env=self.env, text=True).strip()

    def run(self, image: str, platform: Platform, command: Sequence[str]) -> int:
        """Run a command, by default the image's own, and give its exit code."""
        container = self.ask("from", "--quiet", "--platform", str(platform), image)
        config = json.loads(self.ask("inspect", "--format", "{{json .OCIv1.Config}}", container))
        argv = [*(config.get("Entrypoint") or ()), *(command or config.get("Cmd") or ())]
        run = ("run", "--isolation", "chroot", container, "--", *argv)
        # A session of its own: buildah panics on Ctrl-C; closing the namespace ends it instead.
        with subprocess.Popen((*self.argv, *run), env=self.env, start_new_session=True) as process:
            try:
                return process.wait()
            finally:
                process.kill()


def main() -> int:
    """Unpack the image for this machine, or for the platform asked for, and run it."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("image", metavar="LAYOUT:TAG")
    asking.add_argument("--platform", default=f"linux/{native_architecture()}")
    asking.add_argument("command", nargs=argparse.REMAINDER)
    asked = asking.parse_args()
    platform = Platform.parse(asked.platform)
    layout, _, tag = asked.image.rpartition(":")

    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, Path("dist"))
    toolchain = find(runner, folders)
    work = Path(tempfile.mkdtemp(dir=folders.cache, prefix="run-"))
    try:
        with open_namespace(runner, folders, toolchain.qemu, emulate=(platform,)) as namespace:
            engine = Engine(
                argv=(*namespace.prefix, str(toolchain.engine.path)),
                env={**os.environ, **namespace.env, **settings(work, toolchain)},
            )
            return engine.run(f"oci:{Path(layout).resolve()}:{tag}", platform, asked.command)
    except KeyboardInterrupt:
        return 130
    finally:  # in a namespace again: its files belong to other ids
        with open_namespace(runner, folders, toolchain.qemu) as namespace:
            namespace.inside(runner)("rm", "-rf", "--", str(work))


if __name__ == "__main__":
    sys.exit(main())
