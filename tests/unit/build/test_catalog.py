"""Which packages an image holds, whatever layer names them."""

from __future__ import annotations

import gzip
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from podbuild.build.attest.catalog import Found, catalog
from podbuild.build.attest.cyclonedx import cyclonedx_document
from podbuild.build.attest.packages import Package, PackageKind
from podbuild.build.attest.spdx import NOTHING, spdx_document
from podbuild.oci.examine import Examiner
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest
from podbuild.oci.statements import canonical
from podbuild.oci.store import BytesBlob
from tests.layers import tar

DPKG = "var/lib/dpkg/status"
BASH = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n"
LIBC = "Package: libc6\nVersion: 2.36\nArchitecture: arm64\nSource: glibc (2.36-9)\n"
APK = """\
C:Q1
P:busybox
V:1.36.1-r2
A:x86_64
L:GPL-2.0-only
o:busybox

P:ssl_client
V:1
o:busybox

"""


def found(tmp_path: Path, *layers: dict[str, str | bytes | None]) -> Found:
    store = MemoryStore()
    blobs = []
    for files in layers:
        data = gzip.compress(tar(files), mtime=0)
        blob = Descriptor(media_type="layer", digest=Digest.of(data), size=len(data))
        store.put_blob(blob, BytesBlob(data))
        blobs.append(blob)
    content = canonical({"layers": [blob.to_json() for blob in blobs]})
    return catalog(Examiner(tmp_path), store, Manifest(MediaType.OCI_MANIFEST, content))


def names(what: Found) -> list[tuple[str, str, str]]:
    return [(each.kind.value, each.name, each.version) for each in what.packages]


def test_databases_of_distributions_are_read(tmp_path: Path) -> None:
    what = found(
        tmp_path,
        {
            DPKG: f"{BASH}\nPackage: old\nStatus: deinstall ok config-files\nVersion: 1\n",
            "var/lib/dpkg/status.d/libc6": LIBC,
            "var/lib/dpkg/status.d/libc6.md5sums": "0123  usr/lib/libc.so\n",
            "lib/apk/db/installed": APK,
            "etc/os-release": 'ID="debian"\nVERSION_ID=12\n',
        },
    )
    assert names(what) == [
        ("apk", "busybox", "1.36.1-r2"),
        ("apk", "ssl_client", "1"),
        ("deb", "bash", "5.2-1"),
        ("deb", "libc6", "2.36"),
    ]
    assert (what.distribution, what.release) == ("debian", "12")
    libc = next(each for each in what.packages if each.name == "libc6")
    assert libc.purl("debian", "12") == (
        "pkg:deb/debian/libc6@2.36?arch=arm64&distro=debian-12&upstream=glibc%402.36-9"
    )


def test_packages_of_python_and_node_are_read(tmp_path: Path) -> None:
    what = found(
        tmp_path,
        {
            "usr/lib/python3/dist-packages/Flask_Login-1.0.dist-info/METADATA": (
                "Metadata-Version: 2.1\nName: Flask_Login\nVersion: 1.0\nLicense: MIT\n\nName: no\n"
            ),
            "usr/lib/python3/old-2.egg-info": "Name: old\nVersion: 2\n",
            "usr/lib/python3/older.egg-info/PKG-INFO": "Name: older\nVersion: 3\n",
            "app/node_modules/@acme/pad/package.json": '{"name":"@acme/pad","version":"1.0.0"}',
            "app/node_modules/pad/package.json": '{"name":"pad","version":"2.0.0"}',
            "app/node_modules/pad/esm/package.json": '{"type":"module"}',
            "app/package.json": '{"name":"the-app","version":"9"}',
        },
    )
    assert [(each.kind.value, each.purl("", "")) for each in what.packages] == [
        ("npm", "pkg:npm/%40acme/pad@1.0.0"),
        ("npm", "pkg:npm/pad@2.0.0"),
        ("pypi", "pkg:pypi/flask-login@1.0"),
        ("pypi", "pkg:pypi/old@2"),
        ("pypi", "pkg:pypi/older@3"),
    ]


def test_only_what_is_visible_counts(tmp_path: Path) -> None:
    metadata = "usr/lib/python3/{0}-1.dist-info/METADATA"
    python = {metadata.format(n): f"Name: {n}\nVersion: 1\n" for n in ("six", "seven")}
    what = found(
        tmp_path,
        {DPKG: BASH, **python},
        {
            DPKG: f"{BASH}\n{LIBC}",
            "usr/lib/python3/.wh.six-1.dist-info": "",
            "opt/copy": "= var/lib/dpkg/status",
        },
    )
    assert [each.name for each in what.packages] == ["bash", "libc6", "seven"]


def rpm_header(**fields: str | int) -> bytes:
    tags = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "arch": 1022}
    index, data = b"", b""
    for name, value in fields.items():
        if isinstance(value, int):
            data += b"\0" * (-len(data) % 4)
            index += struct.pack(">iiii", tags[name], 4, len(data), 1)
            data += struct.pack(">i", value)
        else:
            index += struct.pack(">iiii", tags[name], 6, len(data), 1)
            data += value.encode() + b"\0"
    return struct.pack(">ii", len(fields), len(data)) + index + data


def rpm_database(folder: Path, *blobs: bytes) -> bytes:
    file = folder / "made.sqlite"
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        base.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
        base.commit()
    return file.read_bytes()


def test_rpm_s_database_is_read(tmp_path: Path) -> None:
    database = rpm_database(
        tmp_path,
        rpm_header(name="bash", version="5.2", release="1.fc40", epoch=1, arch="x86_64"),
        rpm_header(name="gpg-pubkey", version="a", release="b"),
    )
    what = found(
        tmp_path,
        {"usr/lib/sysimage/rpm/rpmdb.sqlite": database, "usr/lib/os-release": "ID=fedora\n"},
    )
    assert [each.purl(what.distribution, what.release) for each in what.packages] == [
        "pkg:rpm/fedora/bash@5.2-1.fc40?arch=x86_64&distro=fedora&epoch=1"
    ]


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    what = found(
        tmp_path,
        {
            "var/lib/rpm/rpmdb.sqlite": "no database",
            "var/lib/rpm/Packages": "Berkeley DB",
            "app/node_modules/bad/package.json": "{",
        },
    )
    assert not what.packages
    said = "\n".join(what.remarks)
    assert "var/lib/rpm/rpmdb.sqlite can't be read" in said
    assert "var/lib/rpm/Packages is of a form that is not read" in said
    assert "app/node_modules/bad/package.json can't be read" in said
    document = spdx_document("web", Digest.of(b"x"), what)
    assert str(document["comment"]).startswith(NOTHING)


@pytest.mark.parametrize("layers", [({DPKG: BASH},), ({"a": "b"}, {DPKG: BASH})])
def test_a_document_is_a_function_of_the_image(
    tmp_path: Path, layers: tuple[dict[str, str | bytes | None], ...]
) -> None:
    cold = found(tmp_path / "1", *layers)
    warm = found(tmp_path / "1", *layers)
    other = found(tmp_path / "2", *layers)
    texts = {canonical(spdx_document("web", Digest.of(b"x"), w)) for w in (cold, warm, other)}
    assert len(texts) == 1
    assert b'"comment"' not in texts.pop()


def test_ids_of_packages_are_unique() -> None:
    twins = [Package(PackageKind.DEB, "a", "1", arch) for arch in ("amd64", "arm64")]
    document = spdx_document("web", Digest.of(b"x"), Found(packages=dict.fromkeys(twins, ("p",))))
    packages = document["packages"]
    assert isinstance(packages, list)
    assert len({each["SPDXID"] for each in packages if isinstance(each, dict)}) == 3


def test_cyclonedx_names_the_same_packages_and_nothing_random(tmp_path: Path) -> None:
    what = found(tmp_path, {DPKG: BASH, "etc/os-release": "ID=debian\nVERSION_ID=12\n"})
    image = Digest.of(b"image")
    document = cyclonedx_document("web linux/amd64", image, what)
    assert canonical(document) == canonical(cyclonedx_document("web linux/amd64", image, what))
    spdx = spdx_document("web linux/amd64", image, what)
    assert "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12" in canonical(document).decode()
    assert "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12" in canonical(spdx).decode()
    assert str(document["serialNumber"]).startswith("urn:uuid:")
    assert NOTHING in canonical(cyclonedx_document("x", image, found(tmp_path, {}))).decode()
