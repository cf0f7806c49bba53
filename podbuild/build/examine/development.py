"""What is in an image for development alone, by the lists that package managers leave.

npm 7 and later mark it in node_modules/.package-lock.json, Composer in installed.json; without
them the devDependencies of a package.json name it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

from podbuild.oci.examine import FileAnalysis
from podbuild.oci.filesystem import Filesystem
from podbuild.oci.layers import LayerEntry
from podbuild.system.records import JSONValue, document_of

_LOCK = re.compile(r"(?P<root>(?:.*/)?)node_modules/\.package-lock\.json")
_MANIFEST = re.compile(r"(?P<root>(?:.*/)?)package\.json")
_COMPOSER = re.compile(r"(?P<root>(?:.*/)?vendor/)composer/installed\.json")
_CAP = 64 * 1024 * 1024  # bytes of one list


def _folders_in(found: LayerEntry) -> JSONValue:
    entry = found.entry
    if not (0 < entry.size <= _CAP and _reads(entry.path)):
        return None
    value = document_of(found.head(entry.size))
    return None if value is None else list(_folders(entry.path, value))


DEVELOPMENT = FileAnalysis("development-1", _folders_in)  # folders that such lists name


def development_folders(files: Filesystem, answers: Iterable[JSONValue]) -> frozenset[str]:
    """Give the visible folders that hold what is for development alone."""
    layers = [each if isinstance(each, dict) else {} for each in answers]
    found: set[str] = set()
    for path, placed in files.paths.items():
        named = layers[placed.layer].get(placed.source) if _reads(path) else None
        if not isinstance(named, list):
            continue
        manifest = None if _LOCK.fullmatch(path) else _MANIFEST.fullmatch(path)
        if manifest and f"{manifest['root']}node_modules/.package-lock.json" in files.paths:
            continue  # it says more exactly
        found.update(map(str, named))
    return frozenset(found)


def _reads(path: str) -> bool:
    if _LOCK.fullmatch(path) or _COMPOSER.fullmatch(path):
        return True
    return path.endswith("package.json") and "node_modules/" not in path


def _folders(path: str, value: JSONValue) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if found := _LOCK.fullmatch(path):
        packages = value.get("packages")
        for name, each in packages.items() if isinstance(packages, dict) else ():
            if name and isinstance(each, dict) and each.get("dev") is True:
                yield posixpath.join(found["root"], name)
    elif found := _COMPOSER.fullmatch(path):
        names = value.get("dev-package-names")
        yield from (f"{found['root']}{x}" for x in (names if isinstance(names, list) else ()))
    elif found := _MANIFEST.fullmatch(path):
        names = value.get("devDependencies")
        for name in names if isinstance(names, dict) else ():
            yield f"{found['root']}node_modules/{name}"
