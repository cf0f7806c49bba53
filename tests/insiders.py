"""Programs that tests start elsewhere: inside a namespace, or to be killed."""

from __future__ import annotations

# They answer on stdout.
# ruff: noqa: T201
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from podbuild.build.engine.namespace import open_namespace
from podbuild.build.engine.storage import prove_storage_driver
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.install import InstallRequest, ToolchainSource, install
from podbuild.build.toolchain.podman_static import Release
from podbuild.build.toolchain.workshop import Workshop
from podbuild.errors import ToolError
from podbuild.oci.names import Platform
from podbuild.system.folders import Folders
from tests.toolchains import bare_runner, plain_runner

ENVIRONMENT: Mapping[str, str] = {"PYTHONPATH": str(Path(__file__).parents[1])}


def insider_argv(verb: str, *arguments: str) -> tuple[str, ...]:
    """Give the argv that runs one of the functions below; ENVIRONMENT must be set."""
    return (sys.executable, "-m", "tests.insiders", verb, *arguments)


def folders_in(folder: str) -> Folders:
    return Folders(cache=Path(folder), state=Path(folder), runtime=Path(folder))


def emulate_without_qemu(folder: str, architecture: str) -> None:
    """Print the error of a namespace whose foreign architecture has no qemu."""
    platform = Platform("linux", architecture)
    try:
        with open_namespace(plain_runner(), folders_in(folder), {}, emulate=[platform]):
            print("opened")
    except ToolError as error:
        print(error, error.hint)


def enter(folder: str) -> None:
    """Print how a namespace is entered, and who one is inside."""
    run = plain_runner()
    with open_namespace(run, folders_in(folder), {}) as namespace:
        print(" ".join(namespace.prefix), "uid", namespace.inside(run)("id", "-u").out)


def stay(folder: str) -> None:
    """Run a process inside that does not end, print its id and the holder's, and wait."""
    run = plain_runner()
    with open_namespace(run, folders_in(folder), {}) as namespace:
        endless = ("sh", "-c", "trap '' TERM; exec sleep 1000")
        with namespace.inside(run).background(*endless) as process:
            print(process.pid, namespace.pid, flush=True)
            process.done.wait()


def prove(folder: str) -> None:
    """Print the storage driver for a folder."""
    run = plain_runner()
    with open_namespace(run, folders_in(str(Path(folder).parent)), {}) as namespace:
        print(prove_storage_driver(run, namespace, Path(folder), None))


def install_from(folder: str, url: str, sha256: str) -> None:
    """Install a podman-static release from a URL; to be killed while at work."""
    release = Release(version="v9.9.9", sha256={native_architecture(): sha256})
    request = InstallRequest(source=ToolchainSource.PODMAN_STATIC, mirror=url, release=release)
    workshop = Workshop(runner=bare_runner(), folders=folders_in(folder), note=print)
    print(install(workshop, request).name)


VERBS: Mapping[str, Callable[..., None]] = {
    "emulate_without_qemu": emulate_without_qemu,
    "enter": enter,
    "stay": stay,
    "prove": prove,
    "install_from": install_from,
}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
