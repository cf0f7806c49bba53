"""The toolchain that `make test` installed, for tests of real engines."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from podbuild.build.toolchain.find import Choice, find
from podbuild.build.toolchain.model import Toolchain
from podbuild.system.folders import Folders, find_folders
from podbuild.system.process import Runner

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def plain_runner() -> Runner:
    """Give a runner with little more than a PATH."""
    return Runner(env={"PATH": SYSTEM_PATH, "HOME": os.environ.get("HOME", "/")})


def bare_runner() -> Runner:
    """Give a runner that finds a shell and no package tools."""
    return Runner(env={"PATH": "/nowhere"})


@functools.cache
def own_folders() -> Folders:
    """Give this user's folders, where the private toolchain is."""
    return find_folders(os.environ, Path("/nowhere"))


@functools.cache
def private_toolchain() -> Toolchain:
    """Give the private toolchain; fails with podbuild's own error where there is none."""
    return find(plain_runner(), own_folders(), choice=Choice.PRIVATE)


def skopeo(*argv: str) -> bytes:
    """Give what skopeo answers, without this user's logins and settings."""
    program = private_toolchain().skopeo
    assert program is not None
    nobody = {"PATH": SYSTEM_PATH, "HOME": "/nowhere", "XDG_RUNTIME_DIR": "/nowhere"}
    command = (str(program), "--insecure-policy", *argv)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=nobody).stdout
