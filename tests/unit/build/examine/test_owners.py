"""Who owns the files of an image, by the lists in it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from podbuild.build.examine.owners import OWNERS, owners_of
from podbuild.oci.examine import Examiner, Listing, listed
from podbuild.oci.filesystem import merged
from podbuild.oci.memory import MemoryStore
from podbuild.oci.store import BytesBlob
from tests.images import blob_of
from tests.layers import tar
from tests.unit.build.test_catalog import rpm_database

FILES: dict[str, str | bytes | None] = {
    "bin": "-> usr/bin",
    "usr/bin/bash": "b",
    "usr/lib/libc.so": "c",
    "sbin/apk": "a",
    "lib/libz.so": "z",
    "app/lib/requests/api.py": "r",
    "app/lib/requests/__pycache__/api.cpython-313.opt-1.pyc": "p",
    "app/bin/tool": "t",
    "srv/node_modules/@acme/ui/index.js": "u",
    "srv/node_modules/ms/package.json": "{}",
    "srv/node_modules/.package-lock.json": "{}",
    "srv/main.js": "m",
    "var/lib/dpkg/info/bash:amd64.list": "/.\n/bin\n/bin/bash\n",
    "var/lib/dpkg/info/base-files.list": "/usr/lib\n",
    "var/lib/dpkg/status.d/libc6.md5sums": "0123  usr/lib/libc.so\n",
    "lib/apk/db/installed": "P:apk-tools\nV:1\nF:sbin\nR:apk\n\nP:zlib\nF:lib\nR:libz.so\n",
    "app/lib/requests-2.0.dist-info/RECORD": 'requests/api.py,sha256=x,1\n"../bin/tool",,\n',
}
EXPECTED = {
    "usr/bin/bash": "deb:bash",
    "usr/lib/libc.so": "deb:libc6",
    "sbin/apk": "apk:apk-tools",
    "lib/libz.so": "apk:zlib",
    "app/lib/requests/api.py": "pip:requests",
    "app/lib/requests/__pycache__/api.cpython-313.opt-1.pyc": "pip:requests",
    "app/bin/tool": "pip:requests",
    "srv/node_modules/@acme/ui/index.js": "npm:@acme/ui",
    "srv/node_modules/ms/package.json": "npm:ms",
    "srv/node_modules/.package-lock.json": "",
    "srv/main.js": "",
}


def owners(folder: Path, *layers: dict[str, str | bytes | None]) -> dict[str, str]:
    store = MemoryStore()
    blobs = []
    for files in layers:
        data = tar(files)
        blobs.append(blob_of(data))
        store.put_blob(blobs[-1], BytesBlob(data))
    answers = Examiner(folder).ask(store, blobs, (Listing(), OWNERS))
    tree = merged(listed(each[Listing.key]) for each in answers)
    found = owners_of(tree, [each[OWNERS.key] for each in answers])
    return {path: found.of(path) for path in tree.paths}


@pytest.mark.parametrize("path", EXPECTED)
def test_a_file_belongs_to_the_package_that_lists_it(tmp_path: Path, path: str) -> None:
    assert owners(tmp_path, FILES)[path] == EXPECTED[path]


def test_a_list_that_a_later_layer_deletes_owns_nothing(tmp_path: Path) -> None:
    found = owners(tmp_path, FILES, {"var/lib/dpkg/info/.wh.bash:amd64.list": ""})
    assert found["usr/bin/bash"] == ""


def test_rpm_s_database_names_owners(tmp_path: Path) -> None:
    tags = {
        1000: (6, b"bash\0", 1),
        1001: (6, b"5\0", 1),
        1116: (4, struct.pack(">III", 0, 1, 0), 3),
        1117: (8, b"bash\0sh.1\0sh\0", 3),
        1118: (8, b"/usr/bin/\0/usr/share/\0", 2),
    }
    entries, data = b"", b""
    for tag, (kind, value, count) in tags.items():
        data += b"\0" * (-len(data) % 4)
        entries += struct.pack(">iiii", tag, kind, len(data), count)
        data += value
    blob = struct.pack(">ii", len(tags), len(data)) + entries + data
    files: dict[str, str | bytes | None] = {
        "usr/bin/bash": "b",
        "usr/bin/sh": "-> bash",
        "usr/share/sh.1": "m",
        "var/lib/rpm/rpmdb.sqlite": rpm_database(tmp_path, blob),
    }
    found = owners(tmp_path / "cache", files)
    assert [found[path] for path in [*files][:3]] == ["rpm:bash"] * 3
