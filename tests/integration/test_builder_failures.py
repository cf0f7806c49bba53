"""What keeps a builder from being used, and what is left of it when it is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podbuild.build.engine.registries_conf import RegistriesConf
from podbuild.build.remote import script, ssh
from podbuild.build.remote.builder import RemoteBuilder, Supplies
from podbuild.config.builders import BuilderHost
from podbuild.config.choices import Compression
from podbuild.errors import CredentialError, PodbuildError
from podbuild.oci.transport.local import LostServiceError
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from tests.machines import Machine, machine, pids_of, send
from tests.toolchains import SYSTEM_PATH

pytestmark = pytest.mark.integration

SUPPLIES = Supplies(port=9, registries=RegistriesConf())


@contextmanager
def connecting(there: Machine, folder: Path) -> Iterator[RemoteBuilder]:
    folder.mkdir(mode=0o700, exist_ok=True)
    builder = RemoteBuilder(
        BuilderHost(name="b", host=there.host),
        Runner(env={"PATH": f"{there.path}:{SYSTEM_PATH}", "HOME": str(folder)}),
        Folders(cache=folder, state=folder, runtime=folder),
    )
    try:
        yield builder
    finally:
        builder.close()


def failure(there: Machine, folder: Path) -> PodbuildError:
    with (
        connecting(there, folder) as builder,
        pytest.raises(PodbuildError) as caught,
        builder.service(SUPPLIES, "key", Compression.GZIP),
    ):
        pass
    return caught.value


def until(true: Callable[[], bool]) -> None:
    """Wait; the test's own timeout ends what never becomes true."""
    while not true():
        time.sleep(0.1)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine") / "m") as found:
        yield found


@pytest.mark.parametrize("known", ["", "other"])
def test_a_host_key_is_never_accepted(there: Machine, tmp_path: Path, known: str) -> None:
    before = there.known_hosts.read_text()
    place, kind, _ = before.split()
    changed = (there.folder / "client.pub").read_text().split()[1]
    there.known_hosts.write_text(f"{place} {kind} {changed}\n" if known else "")
    given = there.known_hosts.read_text()
    try:
        error = failure(there, tmp_path / "own")
        assert there.known_hosts.read_text() == given
    finally:
        there.known_hosts.write_text(before)
    assert isinstance(error, CredentialError)
    assert ("has changed" if known else "is not known") in error.message
    assert error.hint.startswith("ssh builder")


def test_no_login_is_one_of_credentials(there: Machine, tmp_path: Path) -> None:
    authorized = there.folder / "authorized"
    before = authorized.read_text()
    authorized.write_text("")
    try:
        error = failure(there, tmp_path / "own")
    finally:
        authorized.write_text(before)
    assert (type(error), "Permission denied" in error.message) == (CredentialError, True)


OTHER = 'case "$*" in --version) echo podman version {};; *info*) echo vfs 1 amd64 2;; *) {};; esac'


@pytest.mark.parametrize(
    ("settings", "podman", "said"),
    [
        ("AllowTcpForwarding no\n", "", "forbids forwards"),
        ("AllowStreamLocalForwarding no\n", "", "forbids forwards"),
        ("DisableForwarding yes\n", "", "forbids forwards"),
        ("", OTHER.format("5.5.2", "exit 1"), "podman 5.5.2 is too old"),
        ("", OTHER.format("4.9.3", "exit 1"), "podman 4.9.3 is too old"),
        ("", OTHER.format("5.8.6", "echo 1"), "too few ids"),
        ("", 'echo "exec format error" >&2; exit 1', "podman does not work there"),
        (
            "",
            OTHER.format("5.8.6", "echo disk is full >&2; exit 1"),
            "no space left on the builder b",
        ),
    ],
)
def test_an_unfit_builder_says_why(tmp_path: Path, settings: str, podman: str, said: str) -> None:
    with machine(tmp_path / "m", settings=settings, podman=podman) as there:
        error = failure(there, tmp_path / "own")
        until(lambda: not there.left)
    assert isinstance(error, ssh.UnfitBuilderError)
    assert (said in error.message, bool(error.hint)) == (True, True), error.message
    assert error.exit_code == (5 if "no space" in said else 11)


def test_nobody_there_is_unfit(there: Machine, tmp_path: Path) -> None:
    config = there.folder / "ssh_config"
    before = config.read_text()
    config.write_text(before.replace(f"Port {there.port}", "Port 1"))
    try:
        error = failure(there, tmp_path / "own")
    finally:
        config.write_text(before)
    assert (type(error), "Connection refused" in error.message) == (ssh.UnfitBuilderError, True)


def test_a_frozen_network_ends_all_there_and_the_next_use_connects_anew(
    there: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (script, ssh):
        monkeypatch.setattr(module, "SILENCE", 15)
    monkeypatch.setattr(ssh, "BEAT", 0.2)
    with connecting(there, tmp_path / "own") as builder:
        with builder.service(SUPPLIES, "key", Compression.GZIP) as service:
            assert there.processes()
            send(signal.SIGSTOP, *pids_of(f"ssh -F {there.folder}/ssh_config"))
            service.lost.wait()
            there.wait_until_empty()
            with pytest.raises(LostServiceError):
                service.podman.holds("0" * 64)
        with builder.service(SUPPLIES, "key", Compression.GZIP) as service:
            assert service.podman.answers()
    there.wait_until_empty()


def test_what_a_killed_script_leaves_is_removed_by_the_next_run(
    there: Machine, tmp_path: Path
) -> None:
    with (
        connecting(there, tmp_path / "one") as first,
        first.service(SUPPLIES, "key", Compression.GZIP),
    ):
        run = there.left
        secret = there.home / f".cache/podbuild-builder/runs/{run[0]}/tmp/0/secret"
        secret.write_text("secret")
        sessions = there.sessions()
        assert sessions
        send(signal.SIGKILL, *sessions)
        assert there.left == run
    assert there.processes()
    with connecting(there, tmp_path / "two") as second:
        second.facts()
        assert len(there.left) == 1
        assert there.left != run
    there.wait_until_empty()
