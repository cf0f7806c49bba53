"""Packages as databases in images name them: dpkg, apk, rpm, Python and Node. Pure parsing.

Sources: deb-control(5), dpkg(1) status; apk-tools doc/apk-installed; rpm's lib/header.c (the blob
of a header); core metadata of Python packages; npm's package.json.
"""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, astuple, dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from podbuild.system.records import JSONValue, parse_document


class PackageKind(StrEnum):
    """The kinds of packages; the value is the type in a package URL."""

    DEB = "deb"
    APK = "apk"
    RPM = "rpm"
    PYTHON = "pypi"
    NODE = "npm"


@dataclass(frozen=True, order=True)
class Package:
    """One installed package. `origin` is the source package, `licence` what it says itself."""

    kind: PackageKind
    name: str
    version: str
    architecture: str = ""
    origin: str = ""
    licence: str = ""
    epoch: str = ""

    def to_json(self) -> JSONValue:
        """Give a compact record."""
        return [str(part) for part in astuple(self)]

    @classmethod
    def from_json(cls, value: JSONValue) -> Package:
        """Read what `to_json` gave; raises ValueError for anything else."""
        if not isinstance(value, list) or len(value) != len(asdict(_ANY)):
            raise ValueError("not a package")
        kind, *rest = map(str, value)
        return cls(PackageKind(kind), *rest)

    def purl(self, distribution: str, release: str) -> str:
        """Give the package URL; `distribution` and `release` are ID and VERSION_ID of os-release.

        >>> Package(PackageKind.DEB, "bash", "5.2-1+b1", "amd64").purl("debian", "12")
        'pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64&distro=debian-12'
        """
        name, version = self.name, quote(self.version, safe=":~.-_")
        if self.kind is PackageKind.PYTHON:
            return f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
        if self.kind is PackageKind.NODE:
            return f"pkg:npm/{quote(name, safe='/')}@{version}"
        space = quote(distribution.lower()) or {"apk": "alpine", "deb": "debian"}.get(self.kind, "")
        distro = f"{distribution}-{release}" if distribution and release else distribution
        found = {
            "arch": self.architecture,
            "distro": distro,
            "epoch": self.epoch,
            "upstream": self.origin,
        }
        qualifiers = "&".join(
            f"{key}={quote(text, safe=':~.-_')}" for key, text in found.items() if text
        )
        place = f"{space}/{quote(name, safe='+~.-_')}" if space else quote(name, safe="+~.-_")
        return f"pkg:{self.kind}/{place}@{version}" + (f"?{qualifiers}" if qualifiers else "")


_ANY = Package(PackageKind.DEB, "", "")


def dpkg_packages(data: bytes) -> Iterator[Package]:
    """Give the installed packages of a dpkg status file, or of one in status.d (distroless)."""
    for stanza in _stanzas(data):
        status = stanza.get("status", "install ok installed").split()
        name, version = stanza.get("package", ""), stanza.get("version", "")
        if name and version and status[-1] == "installed":
            origin = stanza.get("source", "").replace(" (", "@").rstrip(")")
            yield Package(PackageKind.DEB, name, version, stanza.get("architecture", ""), origin)


def apk_packages(data: bytes) -> Iterator[Package]:
    """Give the packages of apk's database."""
    for block in data.decode(errors="replace").split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            key, colon, text = line.partition(":")
            if colon and len(key) == 1:
                fields.setdefault(key, text.strip())
        if fields.get("P") and fields.get("V"):
            origin = fields.get("o", "")
            yield Package(
                PackageKind.APK,
                fields["P"],
                fields["V"],
                fields.get("A", ""),
                "" if origin == fields["P"] else origin,
                fields.get("L", ""),
            )


def python_package(data: bytes) -> Iterator[Package]:
    """Give the package of a METADATA or PKG-INFO file, whose headers come first."""
    fields = next(_stanzas(data), {})
    if fields.get("name") and fields.get("version"):
        licence = fields.get("license-expression") or fields.get("license", "")
        one_line = "" if "\n" in licence or licence == "UNKNOWN" else licence
        yield Package(PackageKind.PYTHON, fields["name"], fields["version"], licence=one_line)


def node_package(data: bytes) -> Iterator[Package]:
    """Give the package of a package.json; raises ValueError for what is no JSON."""
    match parse_document(data):
        case {"name": str(name), "version": str(version), **rest} if name and version:
            licence = rest.get("license")
            text = licence if isinstance(licence, str) else ""
            yield Package(PackageKind.NODE, name, version, licence=text)


RPM_DATABASE = re.compile(r"(var/lib|usr/lib/sysimage|usr/share)/rpm/rpmdb\.sqlite")
_TAGS = {1000: "name", 1001: "version", 1002: "release", 1003: "epoch"} | {
    1014: "licence",
    1022: "architecture",
    1044: "source",
}
_DIRINDEXES, _BASENAMES, _DIRNAMES = 1116, 1117, 1118
_NUMBER, _TEXTS = 4, (6, 8, 9)  # types of rpm's tags: INT32; STRING, STRING_ARRAY, I18NSTRING
_ENTRY = struct.Struct(">iiii")
_KEYS = "gpg-pubkey"  # keys that rpm keeps as if they were packages


def rpm_packages(database: Path) -> Iterator[Package]:
    """Give the packages of an rpmdb.sqlite; raises ValueError for what is none."""
    for _, found in _rpm_headers(database):
        yield _rpm_package(found)


def rpm_files(database: Path) -> Iterator[tuple[str, str]]:
    """Give each path that a package of an rpmdb.sqlite owns, with the package's name.

    Raises ValueError for what is no such database.
    """
    for blob, found in _rpm_headers(database):
        try:
            folders, names = _rpm_texts(blob, _DIRNAMES), _rpm_texts(blob, _BASENAMES)
            for at, name in zip(_rpm_numbers(blob, _DIRINDEXES), names, strict=False):
                yield found["name"], f"{folders[at]}{name}"
        except (struct.error, IndexError) as error:
            raise ValueError(f"not an rpm database: {error}") from None


def _rpm_headers(database: Path) -> Iterator[tuple[bytes, dict[str, str]]]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?immutable=1", uri=True)) as base:
            for (blob,) in base.execute("SELECT blob FROM Packages ORDER BY hnum"):
                found = _rpm_header(blob)
                if found.get("name") and found.get("version") and found["name"] != _KEYS:
                    yield blob, found
    except (sqlite3.Error, struct.error, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not an rpm database: {error}") from None


def _rpm_entry(blob: bytes, wanted: int) -> tuple[int, int]:
    """Give where the data of a tag begin and how many there are; none, where it is missing."""
    count, _ = struct.unpack_from(">ii", blob)
    for index in range(count):
        tag, _, offset, items = _ENTRY.unpack_from(blob, 8 + index * _ENTRY.size)
        if tag == wanted:
            return 8 + count * _ENTRY.size + offset, items
    return 0, 0


def _rpm_numbers(blob: bytes, wanted: int) -> Iterator[int]:
    start, items = _rpm_entry(blob, wanted)
    return (struct.unpack_from(">I", blob, start + 4 * at)[0] for at in range(items))


def _rpm_texts(blob: bytes, wanted: int) -> list[str]:
    start, items = _rpm_entry(blob, wanted)
    found = blob[start:].split(b"\0", items)[:items] if items else []
    return [text.decode(errors="replace") for text in found]


def _rpm_package(found: dict[str, str]) -> Package:
    version, release = found["version"], found.get("release", "")
    return Package(
        PackageKind.RPM,
        found["name"],
        f"{version}-{release}" if release else version,
        found.get("architecture", ""),
        found.get("source", ""),
        found.get("licence", ""),
        found.get("epoch", ""),
    )


def _rpm_header(blob: bytes) -> dict[str, str]:
    count, _ = struct.unpack_from(">ii", blob)
    data = 8 + count * _ENTRY.size
    found: dict[str, str] = {}
    for index in range(count):
        tag, kind, offset, _ = _ENTRY.unpack_from(blob, 8 + index * _ENTRY.size)
        if tag not in _TAGS:
            continue
        if kind == _NUMBER:
            found[_TAGS[tag]] = str(struct.unpack_from(">i", blob, data + offset)[0])
        elif kind in _TEXTS:
            start = data + offset
            found[_TAGS[tag]] = blob[start : blob.index(b"\0", start)].decode(errors="replace")
    return found


def _stanzas(data: bytes) -> Iterator[dict[str, str]]:
    """Give the stanzas of `Key: text` lines; keys in lower case, continued lines joined."""
    fields: dict[str, str] = {}
    key = ""
    for line in data.decode(errors="replace").splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields, key = {}, ""
        elif line[0] in " \t":
            if key:
                fields[key] += f"\n{line.strip()}"
        else:
            name, colon, text = line.partition(":")
            key = name.strip().lower() if colon else ""
            if key and key not in fields:
                fields[key] = text.strip()
            else:
                key = ""
    if fields:
        yield fields
