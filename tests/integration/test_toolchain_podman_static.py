"""podman-static from an archive of our own, served on loopback: whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import random
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.build.toolchain.download import UnreachableError
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.find import Choice, find
from podbuild.build.toolchain.install import InstallRequest, ToolchainSource, install
from podbuild.build.toolchain.model import EngineKind, Installation, read_record
from podbuild.build.toolchain.podman_static import Release
from podbuild.build.toolchain.workshop import Workshop
from podbuild.errors import InterruptedBySignal, ToolError
from podbuild.system.cancel import Cancel
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from tests.insiders import ENVIRONMENT, insider_argv
from tests.toolchains import bare_runner

pytestmark = pytest.mark.integration

ARCHITECTURE = native_architecture()
NAME = f"podman-linux-{ARCHITECTURE}.tar.gz"
PODMAN = b"#!/bin/sh\necho podman version 5.8.4\n"
LAYOUT = {  # as the real archive has it
    "README.md": random.Random(1).randbytes(300_000),  # more than one block
    "usr/local/bin/podman": PODMAN,
    "usr/local/bin/crun": b"#!/bin/sh\necho crun version 1.28\n",
    "usr/local/bin/fusermount3": b"#!/bin/sh\n",
    "usr/local/bin/fuse-overlayfs": b"#!/bin/sh\necho fuse-overlayfs: version 1.16\n",
    "usr/local/lib/podman/conmon": b"#!/bin/sh\necho conmon version 2.2.1\n",
    "usr/local/lib/podman/netavark": b"#!/bin/sh\n",
    "usr/local/share/bash-completion/completions/podman": b"complete podman",
    "etc/containers/storage.conf": b'[storage]\ngraphroot = "/var/lib/containers/storage"\n',
    "etc/containers/registries.conf": b"[registries.search]\n",
}


def archive(files: Mapping[str, bytes]) -> bytes:
    """Pack files as the project does: one top folder, everything owned by 1001."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"podman-linux-{ARCHITECTURE}/{name}")
            entry.size, entry.uid, entry.gid = len(content), 1001, 1001
            entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


GOOD = archive(LAYOUT)


@dataclass
class Server:
    """What the next requests get: the body, and after how many bytes to cut it or to stall."""

    body: bytes
    url: str = ""
    cuts: list[int] = field(default_factory=list)
    stall_at: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.asked.append(f"{handler.path} {asked}".strip())
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = self.body[begin:]
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.close_connection = True
        if self.stall_at is not None:
            handler.wfile.write(body[: self.stall_at])
            handler.wfile.flush()
            self.stalled.set()
            self.go_on.wait()
            return
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(body=GOOD)) as found:
        yield found


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/download"
        try:
            yield server
        finally:
            server.go_on.set()
            listening.shutdown()
            thread.join()


class Impatient(Cancel):
    """Does not wait between attempts."""

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.check()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(cache=tmp_path / "cache", state=tmp_path / "state", runtime=tmp_path)


@pytest.fixture
def workshop(folders: Folders) -> Workshop:
    folders.cache.mkdir()
    runner = Runner(env=bare_runner().env, cancel=Impatient())
    return Workshop(runner=runner, folders=folders, note=lambda _text: None)


def request(url: str, data: bytes = GOOD) -> InstallRequest:
    sha256 = {ARCHITECTURE: hashlib.sha256(data).hexdigest()}
    release = Release(version="v9.9.9", sha256=sha256)
    return InstallRequest(source=ToolchainSource.PODMAN_STATIC, mirror=url, release=release)


def installed(folders: Folders) -> list[str]:
    """Give what lies in the toolchain's folder, the lock aside."""
    found = (folders.state / "toolchain").glob("*")
    return sorted(path.name for path in found if path.name != ".lock")


def test_a_good_archive_becomes_the_toolchain_in_use(server: Server, workshop: Workshop) -> None:
    record = install(workshop, request(server.url))
    assert server.asked == [f"/download/v9.9.9/{NAME}"]
    assert record == read_record(workshop.folders)
    assert record.versions["podman"] == "5.8.4"
    assert record.downloads == {
        f"podman-static-v9.9.9-{ARCHITECTURE}.tar.gz": hashlib.sha256(GOOD).hexdigest()
    }
    assert record.files["bin/podman"] == hashlib.sha256(PODMAN).hexdigest()
    assert "qemu" in record.notes[0]  # this machine pretends to have no apt


def test_only_programs_are_taken(server: Server, workshop: Workshop) -> None:
    record = install(workshop, request(server.url))
    assert sorted(record.files) == [
        "bin/conmon",
        "bin/crun",
        "bin/fuse-overlayfs",
        "bin/podman",
        "helpers/netavark",
    ]
    owners = {(record.folder / name).stat().st_uid for name in record.files}
    assert owners == {os.geteuid()}


def test_the_engine_is_told_where_its_own_helpers_are(server: Server, workshop: Workshop) -> None:
    record = install(workshop, request(server.url))
    toolchain = find(workshop.runner, workshop.folders)
    assert (toolchain.engine.kind, str(toolchain.engine.version)) == (EngineKind.PODMAN, "5.8.4")
    assert toolchain.crun == record.folder / "bin" / "crun"
    assert toolchain.conmon == record.folder / "bin" / "conmon"
    assert toolchain.helper_dirs == (record.folder / "helpers",)
    assert toolchain.firewall_driver == "iptables"
    with pytest.raises(ToolError, match=r"no buildah 1\.41 or newer in podbuild's own"):
        find(workshop.runner, workshop.folders, choice=Choice.PRIVATE, kind=EngineKind.BUILDAH)


def test_a_second_call_asks_nobody_and_changes_nothing(server: Server, workshop: Workshop) -> None:
    first = install(workshop, request(server.url))
    when = (first.folder / "record.json").stat().st_mtime_ns
    assert install(workshop, request(server.url)) == first
    assert (first.folder / "record.json").stat().st_mtime_ns == when
    assert len(server.asked) == 1


def test_damage_is_repaired_from_the_verified_download(server: Server, workshop: Workshop) -> None:
    first = install(workshop, request(server.url))
    (first.folder / "bin" / "podman").write_bytes(b"#!/bin/sh\nexit 1\n")
    assert install(workshop, request(server.url)).files == first.files
    assert (first.folder / "bin" / "podman").read_bytes() == PODMAN
    assert len(server.asked) == 1


@pytest.mark.parametrize("form", ["{path}", "file://{path}"])
def test_the_mirror_may_be_a_file(tmp_path: Path, workshop: Workshop, form: str) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(GOOD)
    url = form.format(path=path)
    assert install(workshop, request(url)).origin == url


def test_a_wrong_checksum_installs_nothing(server: Server, workshop: Workshop) -> None:
    server.body = archive({**LAYOUT, "usr/local/bin/podman": b"#!/bin/sh\nevil\n"})
    with pytest.raises(ToolError, match="wrong checksum") as caught:
        install(workshop, request(server.url))
    assert hashlib.sha256(server.body).hexdigest() in caught.value.message
    assert caught.value.exit_code == 11
    assert installed(workshop.folders) == []
    assert [path.name for path in workshop.downloads.iterdir()] == [".lock"]


def test_a_download_that_breaks_off_is_continued(server: Server, workshop: Workshop) -> None:
    server.cuts = [200_000]
    install(workshop, request(server.url))
    begin = int(server.asked[1].partition("bytes=")[2].removesuffix("-"))
    assert 0 < begin <= 200_000


def test_a_download_that_always_breaks_off_is_an_error(server: Server, workshop: Workshop) -> None:
    server.cuts = [10, 10, 10]
    with pytest.raises(UnreachableError, match="broke off"):
        install(workshop, request(server.url))
    assert len(server.asked) == 3
    assert installed(workshop.folders) == []


def test_nothing_at_the_address_is_an_error_at_once(workshop: Workshop) -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 does not answer"):
        install(workshop, request("http://127.0.0.1:1/download"))


def test_a_missing_file_is_named(tmp_path: Path, workshop: Workshop) -> None:
    with pytest.raises(UnreachableError, match=r"gone\.tar\.gz: No such file"):
        install(workshop, request(str(tmp_path / "gone.tar.gz")))


@pytest.mark.parametrize("name", ["../../../escaped", "usr/../../../escaped"])
def test_path_traversal_installs_nothing(
    server: Server, workshop: Workshop, tmp_path: Path, name: str
) -> None:
    server.body = archive({**LAYOUT, name: b"#!/bin/sh\n"})
    with pytest.raises(ToolError, match="leaves the folder"):
        install(workshop, request(server.url, server.body))
    assert read_record(workshop.folders) is None
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_without_podman_is_refused(server: Server, workshop: Workshop) -> None:
    server.body = archive({"README.md": b"read me"})
    with pytest.raises(ToolError, match="holds no podman"):
        install(workshop, request(server.url, server.body))
    assert read_record(workshop.folders) is None


def test_a_podman_that_does_not_run_is_not_put_in_use(server: Server, workshop: Workshop) -> None:
    server.body = archive({**LAYOUT, "usr/local/bin/podman": b"#!/bin/sh\nexit 1\n"})
    with pytest.raises(ToolError, match="do not run on this machine"):
        install(workshop, request(server.url, server.body))
    assert read_record(workshop.folders) is None


def test_auto_says_why_each_source_fails(workshop: Workshop) -> None:
    wanted = request("http://127.0.0.1:1/download")
    notes: list[str] = []
    listening = Workshop(runner=workshop.runner, folders=workshop.folders, note=notes.append)
    with pytest.raises(ToolError, match="no source of a toolchain serves") as caught:
        install(listening, InstallRequest(release=wanted.release, mirror=wanted.mirror))
    assert "does not answer" in caught.value.message
    assert "apt-get is missing" in caught.value.message
    assert any("trying Debian" in note for note in notes)


@contextmanager
def being_installed(server: Server, folders: Folders) -> Iterator[subprocess.Popen[bytes]]:
    """Give a podbuild that is at work."""
    folders.cache.mkdir(exist_ok=True)
    sha256 = hashlib.sha256(GOOD).hexdigest()
    child = subprocess.Popen(
        insider_argv("install_from", str(folders.cache), server.url, sha256),
        stdout=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def test_killed_in_the_middle_of_the_download_it_continues(tmp_path: Path) -> None:
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    with serving(Server(body=GOOD, stall_at=len(GOOD) // 2)) as stalling:
        with being_installed(stalling, folders) as child:
            assert stalling.stalled.wait(500)
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert installed(folders) == []
    with serving(Server(body=GOOD)) as whole:
        workshop = Workshop(runner=bare_runner(), folders=folders, note=lambda _text: None)
        record = install(workshop, request(whole.url))
    assert record.versions["podman"] == "5.8.4"
    assert installed(folders) == ["current", record.name]


def test_what_a_kill_while_unpacking_left_is_swept(server: Server, workshop: Workshop) -> None:
    base = workshop.folders.state / "toolchain"
    (base / ".new-killed" / "bin").mkdir(parents=True)
    (base / "podman-static-000000000000" / "bin").mkdir(parents=True)
    record = install(workshop, request(server.url))
    assert installed(workshop.folders) == ["current", record.name]


def test_the_toolchain_before_stays_for_the_runs_that_use_it(
    server: Server, workshop: Workshop
) -> None:
    first = install(workshop, request(server.url))
    server.body = archive({**LAYOUT, "README.md": b"newer"})
    second = update(workshop, first, server)
    assert installed(workshop.folders) == sorted(["current", first.name, second.name])
    assert read_record(workshop.folders) == second


def update(workshop: Workshop, first: Installation, server: Server) -> Installation:
    """Install the server's archive after the one in use was damaged."""
    (first.folder / "bin" / "podman").unlink()
    (workshop.downloads / next(iter(first.downloads))).unlink()
    return install(workshop, request(server.url, server.body))


def test_a_stop_request_ends_the_download(server: Server, folders: Folders) -> None:
    folders.cache.mkdir()
    cancel = Cancel()
    runner = Runner(env=bare_runner().env, cancel=cancel)

    def stop(_note: str) -> None:
        cancel.request(signal.SIGINT)

    with pytest.raises(InterruptedBySignal):
        install(Workshop(runner=runner, folders=folders, note=stop), request(server.url))
    assert installed(folders) == []


def test_a_second_installation_waits_for_the_first(tmp_path: Path) -> None:
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    notes: list[str] = []
    stalling = Server(body=GOOD, stall_at=10)
    with serving(stalling), being_installed(stalling, folders) as child:
        assert stalling.stalled.wait(500)

        def release(note: str) -> None:
            notes.append(note)
            child.kill()

        stalling.stall_at = None
        workshop = Workshop(runner=bare_runner(), folders=folders, note=release)
        record = install(workshop, request(stalling.url))
    assert "another installation is at work" in notes[0]
    assert record.versions["podman"] == "5.8.4"


def test_what_the_disk_refuses_is_one_line(server: Server, tmp_path: Path) -> None:
    inside_a_file = tmp_path / "file"
    inside_a_file.touch()
    folders = Folders(cache=tmp_path, state=inside_a_file, runtime=tmp_path)
    workshop = Workshop(runner=bare_runner(), folders=folders, note=lambda _text: None)
    with pytest.raises(ToolError, match=r"the toolchain can't be installed: .*Not a directory"):
        install(workshop, request(server.url))
