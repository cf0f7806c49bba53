"""Which packages an image holds: databases in its layers, read in the pass that reads them.

A database counts where it is visible: what a later layer hides or replaces is not in the image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from podbuild.build.attest.packages import (
    RPM_DATABASE,
    Package,
    apk_packages,
    dpkg_packages,
    node_package,
    python_package,
    rpm_packages,
)
from podbuild.errors import VerificationError
from podbuild.oci.examine import Examiner, FileAnalysis, Listing, listed
from podbuild.oci.filesystem import Filesystem, merged
from podbuild.oci.layers import LayerEntry
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.system.records import JSONValue

_DPKG = re.compile(r"var/lib/dpkg/status(\.d/[^/]+)?")
_APK = re.compile(r"(usr/)?lib/apk/db/installed")
_PYTHON = re.compile(r"(.*/)?[^/]+\.(dist-info/METADATA|egg-info(/PKG-INFO)?)")
_NODE = re.compile(r"(.*/)?node_modules/(@[^/]+/)?[^/@]+/package\.json")
_RELEASE = re.compile(r"(etc|usr/lib)/os-release")
# Databases of forms that are not read, so that nobody takes their packages for missing.
_OTHER = re.compile(r"(var/lib|usr/lib/sysimage|usr/share)/rpm/(Packages(\.db)?|rpmdb\.sqlite-wal)")

_TEXT_CAP = 64 * 1024 * 1024  # bytes of one database that is text
_HEADERS = 256 * 1024  # bytes in which a METADATA file's headers stand
_JSON_CAP = 4 * 1024 * 1024  # bytes of one package.json
_SQLITE_CAP = 1024 * 1024 * 1024  # bytes


@dataclass(frozen=True, kw_only=True)
class Found:
    """The packages of an image, sorted, with where each is recorded; `remarks` says what is odd."""

    packages: Mapping[Package, tuple[str, ...]]  # paths in the image
    distribution: str = ""  # ID of os-release
    release: str = ""  # VERSION_ID
    remarks: tuple[str, ...] = ()


def _packages_in(found: LayerEntry) -> JSONValue:
    """Give the packages of a database, as JSON; a text says why one can't be read."""
    path = found.entry.path
    try:
        if _RELEASE.fullmatch(path):
            return _os_release(found.head(_HEADERS))
        read = _reader(path)
        return [each.to_json() for each in sorted(set(read(found)))] if read else None
    except ValueError as error:
        return f"{path} can't be read: {error}"


PACKAGES = FileAnalysis("packages-1", _packages_in)  # the packages of each database of a layer


def catalog(examiner: Examiner, store: Store, manifest: Manifest) -> Found:
    """Give the packages of one image; raises what reading its layers raises."""
    answers = examiner.ask(store, manifest.layers, (Listing(), PACKAGES))
    try:
        files = merged(listed(answer[Listing.key]) for answer in answers)
    except ValueError as error:
        raise VerificationError(f"the cache of layers can't be read: {error}") from error
    return found_in(files, [answer[PACKAGES.key] for answer in answers])


def found_in(files: Filesystem, answers: list[JSONValue]) -> Found:
    """Give the packages whose databases are visible; `answers` are each layer's to PACKAGES."""
    packages: dict[Package, list[str]] = {}
    remarks: list[str] = []
    distribution: dict[str, JSONValue] = {}
    for path, placed in files.paths.items():
        if _OTHER.fullmatch(path) and placed.entry.size:
            remarks.append(f"{path} is of a form that is not read: its packages are missing here")
        layer = answers[placed.layer]
        found = layer.get(placed.source) if isinstance(layer, dict) else None
        if isinstance(found, str):
            remarks.append(found)
        elif isinstance(found, dict):
            distribution = found if path == "etc/os-release" else {**found, **distribution}
        elif isinstance(found, list) and _reader(path):
            for each in found:
                packages.setdefault(Package.from_json(each), []).append(path)
    return Found(
        packages={each: tuple(packages[each]) for each in sorted(packages)},
        distribution=str(distribution.get("ID", "")),
        release=str(distribution.get("VERSION_ID", "")),
        remarks=tuple(remarks),
    )


def _reader(path: str) -> Callable[[LayerEntry], Iterator[Package]] | None:
    if _DPKG.fullmatch(path):
        return None if path.endswith(".md5sums") else lambda found: dpkg_packages(_whole(found))
    if _APK.fullmatch(path):
        return lambda found: apk_packages(_whole(found))
    if RPM_DATABASE.fullmatch(path):
        return _rpm
    if _PYTHON.fullmatch(path):
        return lambda found: python_package(found.head(_HEADERS))
    if _NODE.fullmatch(path):
        return lambda found: node_package(_whole(found, _JSON_CAP))
    return None


def _whole(found: LayerEntry, cap: int = _TEXT_CAP) -> bytes:
    if found.entry.size > cap:
        raise ValueError(f"it has more than {cap} bytes")
    return found.head(found.entry.size)


def _rpm(found: LayerEntry) -> Iterator[Package]:
    if found.entry.size > _SQLITE_CAP:
        raise ValueError(f"it has more than {_SQLITE_CAP} bytes")
    yield from rpm_packages(found.spooled())


def _os_release(data: bytes) -> dict[str, JSONValue]:
    fields: dict[str, JSONValue] = {}
    for line in data.decode(errors="replace").splitlines():
        name, equals, text = line.partition("=")
        if equals and name in ("ID", "VERSION_ID"):
            fields[name] = text.strip().strip("\"'")
    return fields
