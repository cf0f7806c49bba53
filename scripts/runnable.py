"""Print those of the given platforms that this machine runs, proved by a program of each.

runnable.py OS/ARCH...   (why another one does not run, and what would help, goes to stderr)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from podbuild.build.engine.namespace import open_namespace
from podbuild.build.toolchain.find import find
from podbuild.errors import ToolError
from podbuild.oci.names import Platform
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner


def main() -> None:
    """Try each platform."""
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, Path("dist"))
    toolchain = find(runner, folders)
    for platform in map(Platform.parse, sys.argv[1:]):
        try:
            with open_namespace(runner, folders, toolchain.qemu, emulate=(platform,)):
                print(platform)
        except ToolError as error:
            print(f"{error.message}\nhint: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
