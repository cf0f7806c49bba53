"""Who owns a visible path: a package, by the lists in the image itself, else nobody.

Sources: dpkg's info/*.list, distroless' status.d/*.md5sums, apk's installed (F:, R:), rpm's
header (dirnames, basenames), RECORD of Python packages, and the folders of Node packages.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from podbuild.build.attest.packages import RPM_DATABASE, rpm_files
from podbuild.oci.examine import FileAnalysis
from podbuild.oci.filesystem import Filesystem
from podbuild.oci.layers import LayerEntry, clean
from podbuild.system.records import JSONValue

_DPKG_LIST = re.compile(r"var/lib/dpkg/info/(?P<name>[^/:]+)(?::[^/]+)?\.list")
_DISTROLESS = re.compile(r"var/lib/dpkg/status\.d/(?P<name>[^/]+)\.md5sums")
_APK = re.compile(r"(usr/)?lib/apk/db/installed")
_RECORD = re.compile(r"(?P<folder>.*?)/?(?P<name>[^/]+?)-[^/-]+\.dist-info/RECORD")
_NODE = re.compile(r"(?:.*/)?node_modules/(?P<name>(?:@[^/]+/)?[^/@.][^/]*)/.+")
_COMPILED = re.compile(
    r"(?P<folder>(?:.*/)?)__pycache__/(?P<name>[^/]+?)\.[\w-]+(?:\.opt-\d)?\.pyc"
)
_CAP = 64 * 1024 * 1024  # bytes of one list
_SQLITE_CAP = 1024 * 1024 * 1024  # bytes


def _owners_in(found: LayerEntry) -> JSONValue:
    """Give which paths each package of a list says it owns; nothing of one that can't be read."""
    read = _reader(found.entry.path)
    if read is None:
        return None
    try:
        return {owner: [*paths] for owner, paths in read(found).items()}
    except ValueError:
        return {}


OWNERS = FileAnalysis("owners-1", _owners_in)  # what the lists of packages in a layer say


@dataclass(frozen=True)
class Ownership:
    """The packages that own paths: `deb:bash`, `apk:musl`, `rpm:bash`, `pip:requests`, `npm:ms`."""

    listed: Mapping[str, str] = field(repr=False)  # by visible path

    def of(self, path: str) -> str:
        """Give the package that owns a visible path; empty: no package does."""
        found = self.listed.get(path)
        if found is None and (compiled := _COMPILED.fullmatch(path)):
            found = self.listed.get(f"{compiled['folder']}{compiled['name']}.py")
        if found is None and (node := _NODE.fullmatch(path)):
            found = f"npm:{node['name']}"
        return found or ""


def owners_of(files: Filesystem, answers: Iterable[JSONValue]) -> Ownership:
    """Give the owners that the visible lists name; `answers` are each layer's to OWNERS."""
    layers = [each if isinstance(each, dict) else {} for each in answers]
    found: dict[str, str] = {}
    lists: list[tuple[str, str, list[JSONValue]]] = []
    for path, placed in files.paths.items():
        named = layers[placed.layer].get(placed.source) if _reader(path) else None
        if isinstance(named, dict):
            lists += [(each, path, some) for each, some in named.items() if isinstance(some, list)]
    folders = _Folders(files)
    for owner, _, paths in sorted(lists, key=lambda each: (_rank(each[0]), each[:2])):
        for listed in paths:
            found.setdefault(folders.real(str(listed)), owner)
    return Ownership(found)


def _rank(owner: str) -> int:
    """Give the order of kinds: the first wins, as dpkg owns its own Python packages too."""
    return ("deb", "apk", "rpm", "pip").index(owner.partition(":")[0])


class _Folders:
    """Where a listed path is: lists name `/bin/x` where the root has `bin -> usr/bin`."""

    def __init__(self, files: Filesystem) -> None:
        self._files = files
        self._known: dict[str, str] = {"": ""}

    def real(self, path: str) -> str:
        folder, name = posixpath.split(clean(path))
        if folder not in self._known:
            self._known[folder] = self._files.real(folder) or folder
        return posixpath.join(self._known[folder], name)


def _reader(path: str) -> Callable[[LayerEntry], Mapping[str, Iterable[str]]] | None:
    for pattern, read in _READERS:
        if match := pattern.fullmatch(path):
            return partial(read, match)
    return None


def _dpkg(found: re.Match[str], entry: LayerEntry) -> Mapping[str, Iterable[str]]:
    return {f"deb:{found['name']}": _text(entry).splitlines()}


def _distroless(found: re.Match[str], entry: LayerEntry) -> Mapping[str, Iterable[str]]:
    lines = (line.split(maxsplit=1) for line in _text(entry).splitlines())
    return {f"deb:{found['name']}": [line[1] for line in lines if len(line) > 1]}


def _apk(_found: re.Match[str], entry: LayerEntry) -> Mapping[str, Iterable[str]]:
    owned: dict[str, list[str]] = {}
    name = folder = ""
    for line in _text(entry).splitlines():
        key, _, text = line.partition(":")
        if key == "P":
            name, folder = text, ""
        elif key == "F":
            folder = text
        elif key == "R" and name:
            owned.setdefault(f"apk:{name}", []).append(posixpath.join(folder, text))
    return owned


def _python(found: re.Match[str], entry: LayerEntry) -> Mapping[str, Iterable[str]]:
    rows = csv.reader(io.StringIO(_text(entry)))
    try:
        paths = [posixpath.join("/", found["folder"], row[0]) for row in rows if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return {f"pip:{python_name(found['name'])}": paths}


def python_name(name: str) -> str:
    """Give a Python package's name as the index compares it (PEP 503).

    >>> python_name("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _rpm(_found: re.Match[str], entry: LayerEntry) -> Mapping[str, Iterable[str]]:
    if entry.entry.size > _SQLITE_CAP:
        raise ValueError("it is too large")
    owned: dict[str, list[str]] = {}
    for name, path in rpm_files(entry.spooled()):
        owned.setdefault(f"rpm:{name}", []).append(path)
    return owned


def _text(entry: LayerEntry) -> str:
    if entry.entry.size > _CAP:
        raise ValueError("it is too large")
    return entry.head(entry.entry.size).decode(errors="replace")


_READERS = (
    (_DPKG_LIST, _dpkg),
    (_DISTROLESS, _distroless),
    (_APK, _apk),
    (RPM_DATABASE, _rpm),
    (_RECORD, _python),
)
