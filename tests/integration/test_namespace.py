"""Real user namespaces: ids, foreign programs, and that nothing outlives them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from podbuild.build.engine.idmap import MIN_IDS
from podbuild.build.engine.namespace import (
    Emulation,
    Namespace,
    kernel_release,
    open_namespace,
)
from podbuild.build.engine.storage import DriverName, prove_storage_driver
from podbuild.build.staging.area import Pool, Staging
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import (
    EXIT_PROOF,
    GUESTS,
    Guest,
    foreign_guests,
    native_architecture,
)
from podbuild.errors import InterruptedBySignal, ToolError
from podbuild.oci.names import Platform
from podbuild.system.cancel import Cancel
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from tests.insiders import ENVIRONMENT, insider_argv
from tests.toolchains import plain_runner, private_toolchain

pytestmark = pytest.mark.integration

NATIVE = native_architecture()
FOREIGN = next(name for name in ("arm64", "amd64") if name != NATIVE)
FOREIGN_PLATFORM = Platform("linux", FOREIGN)

SCOPES_KERNEL = (6, 12)  # landlock(7): scopes


@pytest.fixture
def run() -> Runner:
    return plain_runner()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)


def handlers() -> list[str]:
    """Give what a host's binfmt_misc shows, and whether it is mounted."""
    place = Path("/proc/sys/fs/binfmt_misc")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    names = sorted(path.name for path in place.iterdir()) if place.exists() else []
    return names + [line for line in mounts if "binfmt_misc" in line]


def program(folder: Path, guest: Guest) -> str:
    path = folder / f"program-{guest.architecture}"
    path.write_bytes(guest.program())
    path.chmod(0o755)
    return str(path)


def left_in(folders: Folders) -> list[str]:
    """Give what an open namespace had made; the lock of the folder for such things may stay."""
    found = (str(path.relative_to(folders.cache)) for path in folders.cache.rglob("*"))
    return [name for name in found if name not in {"guests", "guests/lock"}]


def test_inside_this_user_is_root_with_enough_ids(run: Runner, folders: Folders) -> None:
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run)
        assert inside("id", "-u").out.strip() == "0"
        assert namespace.ids >= MIN_IDS
        owned = folders.cache / "owned"
        owned.touch()
        inside("chown", "1000:33", str(owned))
        assert inside("stat", "--format=%u:%g", str(owned)).out.strip() == "1000:33"
        inside("rm", str(owned))
    assert left_in(folders) == []


def test_mounts_inside_are_not_seen_outside(run: Runner, folders: Folders) -> None:
    place = folders.cache / "place"
    place.mkdir()
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run)
        inside("mount", "-t", "tmpfs", "none", str(place))
        assert str(place) in inside("cat", "/proc/self/mounts").out
        assert str(place) not in Path("/proc/self/mounts").read_text()


def test_engines_reach_no_abstract_socket_of_the_machine(run: Runner, folders: Folders) -> None:
    """Such sockets (D-Bus, X, containerd) belong to the network, which RUN steps share."""
    call = "import socket; s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + '{}'); print('in')"
    with (
        socket.socket(socket.AF_UNIX) as theirs,
        open_namespace(run, folders, {}) as namespace,
    ):
        theirs.bind(f"\0podbuild-test-{os.getpid()}")
        theirs.listen()
        program = (sys.executable, "-c", call.format(f"podbuild-test-{os.getpid()}"))
        assert namespace.inside(run)(*program).out == "in\n"
        if kernel_release() >= SCOPES_KERNEL:
            refused = namespace.confined(run)(*program, ok=(1,))
            assert refused.tail[-1] == "PermissionError: [Errno 1] Operation not permitted"
        own = "import socket as x; s = x.socket(x.AF_UNIX); s.bind(''); s.listen(); "  # any free
        own += "x.socket(x.AF_UNIX).connect(s.getsockname()); print('in')"
        assert namespace.confined(run)(sys.executable, "-c", own).out == "in\n"


def test_staging_serves_no_other_user_whatever_login_it_has(run: Runner, folders: Folders) -> None:
    pool = Pool(folders.cache / "blobs")
    with (
        StagingRegistry(Staging(pool)) as registry,
        open_namespace(run, folders, {}) as namespace,
    ):
        host, _, port = registry.login.host.partition(":")
        call = (
            f"import socket; s = socket.create_connection(({host!r}, {port}), 10); "
            f"s.sendall(b'GET /v2/ HTTP/1.0\\r\\nAuthorization: Basic {registry.login.basic}\\r\\n"
            f"\\r\\n'); print(s.recv(12))"
        )
        inside = namespace.inside(run)
        assert inside(sys.executable, "-c", call).out == "b'HTTP/1.1 200'\n"
        other = ("setpriv", "--reuid=1", "--clear-groups", "/usr/bin/python3", "-c", call)
        assert "200" not in inside(*other, ok=(0, 1)).out
    pool.close()


def test_every_known_architecture_runs_and_the_host_stays_as_it_was(
    run: Runner, folders: Folders
) -> None:
    before = handlers()
    platforms = [Platform("linux", guest.architecture) for guest in GUESTS]
    with open_namespace(run, folders, private_toolchain().qemu, emulate=platforms) as namespace:
        assert namespace.emulation in (Emulation.HOST, Emulation.PRIVATE)
        inside = namespace.inside(run)
        for guest in foreign_guests(platforms):
            inside(program(folders.cache, guest), ok=(EXIT_PROOF,))
        assert inside("echo", "native programs still run").out
        assert handlers() == before
    assert handlers() == before


def test_without_qemu_and_handler_the_error_names_the_three_ways(
    run: Runner, folders: Folders
) -> None:
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run).extended(ENVIRONMENT)
        # An empty list hides the host's handlers.
        inside("mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc")
        argv = insider_argv("emulate_without_qemu", str(folders.cache), FOREIGN)
        told = inside(*argv, timeout=500).out
    assert "linux/" + FOREIGN in told
    assert "--from DIR" in told
    assert "toolchain install" in told


def test_where_proc_is_masked_it_opens_without_a_pid_namespace(
    run: Runner, folders: Folders
) -> None:
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run).extended(ENVIRONMENT)
        # As container engines mask it: the kernel then refuses to mount a fresh /proc.
        inside("mount", "-t", "tmpfs", "none", "/proc/fs")
        told = inside(*insider_argv("enter", str(folders.cache)), timeout=500).out
    assert "--pdeathsig=KILL" in told
    assert told.endswith("uid 0\n\n")


def test_a_killed_podbuild_takes_everything_inside_with_it(tmp_path: Path) -> None:
    child = subprocess.Popen(
        insider_argv("stay", str(tmp_path)),
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    )
    assert child.stdout is not None
    pids = [int(word) for word in child.stdout.readline().split()]
    watched = [os.pidfd_open(pid) for pid in pids]
    assert len(watched) == 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    for pidfd in watched:
        assert select.select([pidfd], [], [], 500)[0], "a process outlived podbuild"
        os.close(pidfd)


def test_a_stop_request_ends_the_namespace_too(folders: Folders) -> None:
    cancel = Cancel()
    run = Runner(env=plain_runner().env, cancel=cancel)
    with open_namespace(run, folders, {}) as namespace:
        pidfd = os.pidfd_open(namespace.pid)
        cancel.request(signal.SIGINT)
        with pytest.raises(InterruptedBySignal):
            namespace.inside(run)("true")
    assert select.select([pidfd], [], [], 500)[0]
    os.close(pidfd)


def test_a_user_without_newuidmap_is_told_what_to_install(folders: Folders, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("nsenter", "setpriv"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    run = Runner(env={"PATH": str(tools)})
    if os.geteuid() == 0:  # root needs no such helper
        with open_namespace(run, folders, {}) as namespace:
            assert namespace.ids >= MIN_IDS
        return
    with pytest.raises(ToolError, match="can map 1 user id") as caught:
        open_at_once(run, folders)
    assert "apt-get install uidmap" in caught.value.hint


def open_at_once(run: Runner, folders: Folders) -> Namespace:
    with open_namespace(run, folders, {}) as namespace:
        return namespace


def test_native_overlay_or_the_next_best_driver_is_proved(run: Runner, folders: Folders) -> None:
    with open_namespace(run, folders, {}) as namespace:
        driver = prove_storage_driver(run, namespace, folders.cache, None)
    assert driver.name in set(DriverName)
    assert left_in(folders) == []


def test_where_overlay_is_impossible_it_is_vfs(run: Runner, folders: Folders) -> None:
    lower, upper, work, merged = (folders.cache / name for name in ("l", "u", "w", "m"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run).extended(ENVIRONMENT)
        options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
        inside("mount", "-t", "overlay", "none", "-o", options, str(merged))
        # The kernel refuses an overlay on an overlay.
        told = inside(*insider_argv("prove", str(merged)), timeout=500).out
        inside("umount", str(merged))
        inside("rm", "-rf", str(work))
    assert told.strip() == "vfs"


def test_user_inside_has_a_home_of_podbuilds_that_goes_with_it(
    run: Runner, folders: Folders
) -> None:
    database = Path("/etc/passwd").read_text()
    with open_namespace(run, folders, {}) as namespace:
        inside = namespace.inside(run)
        uid = namespace.env["_CONTAINERS_ROOTLESS_UID"]
        home = inside("getent", "passwd", uid).out.split(":")[5]
        assert Path(home).is_relative_to(folders.cache)
        inside("mkdir", f"{home}/.config")
    assert left_in(folders) == []
    assert Path("/etc/passwd").read_text() == database
