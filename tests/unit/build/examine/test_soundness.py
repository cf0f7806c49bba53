"""Whether images can start, told from their files and configs alone."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.build.examine.programs import ANALYSES, files_of, read_program
from podbuild.build.examine.soundness import Fault, faults_of
from podbuild.oci.examine import Examiner
from podbuild.oci.manifest import Descriptor
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform
from podbuild.oci.store import BytesBlob
from podbuild.system.records import JSONValue

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def elf(
    machine: int,
    loader: str = "",
    *,
    kind: int = 2,
    wide: bool = True,
    order: str = "<",
    gap: int = 0,
) -> bytes:
    """Give a program's headers; the loader's name stands `gap` bytes behind them."""
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    start = 64 if wide else 52
    offset, size = start + 56 + gap, len(loader) + 1
    if wide:
        head += struct.pack(
            f"{order}HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        segment = struct.pack(
            f"{order}IIQQQQQQ", 3 if loader else 1, 4, offset, 0, 0, size, size, 1
        )
    else:
        head += struct.pack(
            f"{order}HHIIIIIHHHHHH", kind, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0
        )
        segment = struct.pack(
            f"{order}IIIIIIII", 3 if loader else 1, offset, 0, 0, size, size, 4, 1
        )
    return (head + segment).ljust(offset, b"\0") + loader.encode() + b"\0"


@dataclass
class Layer:
    """A layer in the making."""

    _out: io.BytesIO = field(default_factory=io.BytesIO)

    def __post_init__(self) -> None:
        self._tar = tarfile.open(fileobj=self._out, mode="w")  # noqa: SIM115  # closed by data

    def file(self, name: str, data: bytes | str, mode: int = 0o755, uid: int = 0) -> Layer:
        raw = data.encode() if isinstance(data, str) else data
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.uid, info.gid = len(raw), mode, uid, uid
        self._tar.addfile(info, io.BytesIO(raw))
        return self

    def folder(self, name: str, mode: int = 0o755) -> Layer:
        return self._other(name, tarfile.DIRTYPE, "", mode)

    def link(self, name: str, target: str) -> Layer:
        return self._other(name, tarfile.SYMTYPE, target, 0o777)

    def hard_link(self, name: str, target: str) -> Layer:
        return self._other(name, tarfile.LNKTYPE, target, 0o644)

    def _other(self, name: str, kind: bytes, target: str, mode: int) -> Layer:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, target, mode
        self._tar.addfile(info)
        return self

    @property
    def data(self) -> bytes:
        self._tar.close()
        return self._out.getvalue()


def base() -> Layer:
    """Give a layer with a shell, its loader and two users."""
    return (
        Layer()
        .file("usr/bin/busybox", elf(62, "/lib64/ld-linux-x86-64.so.2"))
        .link("usr/bin/sh", "busybox")
        .link("usr/bin/env", "/usr/bin/busybox")
        .link("bin", "usr/bin")
        .link("lib64", "usr/lib64")
        .file("usr/lib64/ld-2.so", elf(62, kind=3))
        .link("usr/lib64/ld-linux-x86-64.so.2", "ld-2.so")
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:10:20::/:/bin/sh\n", 0o644)
        .file("etc/group", "root:x:0:\nweb:x:30:app\n", 0o644)
    )


def judge(
    tmp_path: Path,
    config: Mapping[str, JSONValue],
    *layers: Layer,
    platform: Platform = AMD64,
) -> tuple[Fault, ...]:
    store = MemoryStore()
    blobs = []
    for layer in layers:
        data = layer.data
        blob = Descriptor(media_type="tar", digest=Digest.of(data), size=len(data))
        store.put_blob(blob, BytesBlob(data))
        blobs.append(blob)
    return faults_of(files_of(Examiner(tmp_path).ask(store, blobs, ANALYSES)), config, platform)


def rules(faults: tuple[Fault, ...]) -> list[str]:
    return [each.rule.value for each in faults]


LIBC = "/lib64/ld-linux-x86-64.so.2"
SOUND: Mapping[str, tuple[Layer, dict[str, JSONValue]]] = {
    "nothing to start": (Layer(), {}),
    "static": (Layer().file("app", elf(62)), {"Entrypoint": ["/app"]}),
    "dynamic": (Layer().file("app", elf(62, LIBC)), {"Cmd": ["/app", "x"]}),
    "patched": (Layer().file("app", elf(62, LIBC, gap=100_000)), {"Cmd": ["/app"]}),
    "relative": (Layer().file("srv/app", elf(62)), {"Cmd": ["./app"], "WorkingDir": "/srv"}),
    "on PATH": (
        Layer().file("opt/x/app", elf(62)),
        {"Cmd": ["app"], "Env": ["A=1", "PATH=/opt/x:/bin"]},
    ),
    "first not executable on PATH": (
        Layer().file("opt/x/sh", "text", 0o644),
        {"Cmd": ["sh"], "Env": ["PATH=/opt/x:/bin"]},
    ),
    "script": (Layer().file("run", "#! /bin/sh -e\n"), {"Cmd": ["/run"]}),
    "env": (Layer().file("run", "#!/usr/bin/env -S A=1 sh -e\n"), {"Cmd": ["/run"]}),
    "shell form": (Layer(), {"Cmd": ["/bin/sh", "-c", "cd /x && ./missing"]}),
    "hard link": (Layer().file("a", elf(62)).hard_link("b", "a"), {"Cmd": ["/b"]}),
    "link": (Layer().file("a", elf(62)).link("b", "../../a"), {"Cmd": ["/b"]}),
    "numbers": (Layer(), {"Cmd": ["sh"], "User": "4711:4712"}),
    "names": (Layer(), {"Cmd": ["sh"], "User": "app:web"}),
    "closed to others": (
        Layer().file("run", elf(62), 0o700, uid=10),
        {"Cmd": ["/run"], "User": "app"},
    ),
    "closed, for a group": (
        Layer().file("run", elf(62), 0o710, uid=30),
        {"Cmd": ["/run"], "User": "app"},
    ),
    "root enters any folder": (
        Layer().folder("x", 0).file("x/run", elf(62), 0o100),
        {"Cmd": ["/x/run"]},
    ),
    "32 bits": (Layer().file("app", elf(3, wide=False)), {"Cmd": ["/app"]}),
    "a builtin, in shell form": (Layer(), {"Cmd": ["/bin/sh", "-c", "exec nowhere 1"]}),
    "read by a shell": (
        Layer().file("srv/run", "echo hi\n"),
        {"Entrypoint": ["/bin/sh", "-c", "./run"], "WorkingDir": "/srv"},
    ),
    "a builtin with a dot": (Layer().folder("usr/bin/x"), {"Cmd": ["sh", "-c", ". x"]}),
    "firmware": (
        Layer().file("lib/firmware/x", elf(183)).file("usr/bin/x.o", elf(183, kind=1)),
        {"Cmd": ["sh"]},
    ),
    "a foreign file in PATH that nobody can start": (
        Layer().file("usr/bin/x", elf(183), 0o644),
        {"Cmd": ["sh"]},
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_can_start_is_left_alone(tmp_path: Path, name: str) -> None:
    layer, config = SOUND[name]
    assert judge(tmp_path, config, base(), layer) == ()


FAULTY: Mapping[str, tuple[Layer, dict[str, JSONValue], str, str]] = {
    "foreign": (
        Layer().file("app", elf(183)),
        {"Cmd": ["/app"]},
        "foreign-binary",
        "/app is a program for arm64, not linux/amd64",
    ),
    "foreign, big-endian, 32 bits": (
        Layer().file("app", elf(22, wide=False, order=">")),
        {"Cmd": ["/app"]},
        "foreign-binary",
        "a program for s390x",
    ),
    "foreign, by a link on PATH": (
        Layer().file("opt/tool-arm", elf(183)).link("usr/bin/tool", "/opt/tool-arm"),
        {"Cmd": ["sh"]},
        "foreign-binary",
        "/usr/bin/tool is a program for arm64",
    ),
    "foreign, behind an init": (
        Layer().file("usr/bin/tini", elf(62)).file("app", elf(183)),
        {"Entrypoint": ["tini", "-g", "--"], "Cmd": ["/app"]},
        "foreign-binary",
        "/app is a program for arm64",
    ),
    "foreign, in shell form": (
        Layer().file("app", elf(183)),
        {"Cmd": ["/bin/sh", "-c", "exec /app --port 80"]},
        "foreign-binary",
        "/app is a program for arm64",
    ),
    "a relative name, in shell form": (
        Layer().folder("srv"),
        {"Cmd": ["/bin/sh", "-c", "./app"], "WorkingDir": "/srv"},
        "no-entrypoint",
        "./app is not in the image",
    ),
    "a link to nowhere on PATH, in shell form": (
        Layer().link("usr/bin/app", "/opt/app"),
        {"Entrypoint": ["/bin/sh", "-c", "exec app --serve"]},
        "no-entrypoint",
        "/usr/bin/app leads nowhere",
    ),
    "empty, in busybox's shell": (
        Layer().file("bin/busybox", elf(62)).file("usr/bin/app", b""),
        {"Entrypoint": ["/bin/busybox", "sh", "-c", "app"]},
        "empty-entrypoint",
        "app is empty",
    ),
    "a foreign interpreter": (
        Layer().file("opt/python", elf(183)).file("run", "#!/opt/python\n"),
        {"Cmd": ["/run"]},
        "foreign-binary",
        "/opt/python is a program for arm64",
    ),
    "mode": (
        Layer().file("app", elf(62), 0o644),
        {"Cmd": ["/app"]},
        "not-executable",
        "its mode is 0644",
    ),
    "mode, for a user": (
        Layer().file("app", elf(62), 0o700),
        {"Cmd": ["/app"], "User": "app"},
        "not-executable",
        "for USER app: /app has the mode 0700",
    ),
    "folder, for a user": (
        Layer().folder("root", 0o700).file("root/app", elf(62)),
        {"Cmd": ["/root/app"], "User": "10"},
        "not-executable",
        "/root has the mode 0700",
    ),
    "a folder": (Layer().folder("app"), {"Cmd": ["/app"]}, "not-executable", "is a directory"),
    "empty": (Layer().file("app", b""), {"Cmd": ["/app"]}, "empty-entrypoint", "/app is empty"),
    "missing": (Layer(), {"Cmd": ["/app"]}, "no-entrypoint", "/app is not in the image"),
    "missing on PATH": (Layer(), {"Cmd": ["app"]}, "no-entrypoint", "app is not on PATH"),
    "a link to nowhere": (
        Layer().link("app", "/opt/app"),
        {"Cmd": ["/app"]},
        "no-entrypoint",
        "/app leads nowhere",
    ),
    "a link in a circle": (
        Layer().link("app", "/app"),
        {"Cmd": ["/app"]},
        "no-entrypoint",
        "/app leads nowhere",
    ),
    "loader": (
        Layer().file("app", elf(62, "/lib/ld-musl-x86_64.so.1")),
        {"Cmd": ["/app"]},
        "no-interpreter",
        "needs the loader /lib/ld-musl-x86_64.so.1",
    ),
    "loader, far behind": (
        Layer().file("app", elf(62, "/nowhere/ld.so", gap=100_000)),
        {"Cmd": ["/app"]},
        "no-interpreter",
        "needs the loader /nowhere/ld.so",
    ),
    "interpreter": (
        Layer().file("run", "#!/usr/bin/python3 -u\n"),
        {"Cmd": ["/run"]},
        "no-interpreter",
        "/usr/bin/python3 is not in the image",
    ),
    "interpreter by env": (
        Layer().file("run", "#!/usr/bin/env python3\n"),
        {"Cmd": ["/run"]},
        "no-interpreter",
        "python3 is not on PATH",
    ),
    "line ends": (
        Layer().file("run", "#!/bin/sh\r\n"),
        {"Cmd": ["/run"]},
        "no-interpreter",
        "Windows line ends",
    ),
    "text": (
        Layer().file("run", "echo hi\n"),
        {"Cmd": ["/run"]},
        "no-interpreter",
        "neither a program nor a script",
    ),
    "user": (Layer(), {"Cmd": ["sh"], "User": "web"}, "unknown-user", "user 'web'"),
    "group": (Layer(), {"Cmd": ["sh"], "User": "app:app"}, "unknown-user", "group 'app'"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_can_not_start_is_found_once(tmp_path: Path, name: str) -> None:
    layer, config, rule, message = FAULTY[name]
    found = judge(tmp_path, config, base(), layer)
    assert rules(found) == [rule]
    assert message in found[0].message


def test_a_fault_names_the_layer_that_made_it(tmp_path: Path) -> None:
    app, closed = Layer().file("app", elf(62)), Layer().file("app", elf(62), 0o644)
    (fault,) = judge(tmp_path, {"Cmd": ["/app"]}, base(), app, closed, Layer())
    assert fault.layer == 2


def test_an_image_of_another_platform_altogether_is_one_fault_for_each_layer(
    tmp_path: Path,
) -> None:
    more = Layer().file("usr/bin/x", elf(62)).file("usr/bin/y", elf(62))
    found = judge(tmp_path, {"Cmd": ["sh"]}, base(), more, platform=ARM64)
    assert [(each.rule.value, each.layer) for each in found] == [
        ("foreign-binary", 0),
        ("foreign-binary", 1),
    ]
    assert found[1].message.startswith("/usr/bin/x, /usr/bin/y are programs for amd64")


def test_faults_are_read_as_they_were_kept(tmp_path: Path) -> None:
    found = judge(tmp_path, {"User": "web", "Cmd": ["/x"]}, base())
    assert tuple(Fault.from_json(each.to_json()) for each in found) == found


@pytest.mark.parametrize("cut", [5, 19, 63, 70, 119])
def test_a_cut_program_is_no_reason_to_stop(cut: int) -> None:
    data = elf(62, LIBC)[:cut]
    read_program(lambda count: data[:count])
