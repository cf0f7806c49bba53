"""What is in an image: every file with its kind, mode, owner and bytes, and the config's keys."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping

from podbuild.system.records import JSONValue

# What a runtime mounts or makes for RUN, and what the base holds.
_LEFT_OUT = ("bin", "dev", "proc", "sys", "etc/hosts", "etc/resolv.conf", "etc/mtab")
_KEYS = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes"),
    *("StopSignal", "Healthcheck", "OnBuild", "Shell"),
)
_TEXT = 200  # bytes of a file that are recorded as they are, longer ones by their hash


def listing(layers: Iterable[bytes]) -> dict[str, JSONValue]:
    """Give the files of an image, `path -> "kind mode uid:gid content"`, lower layers first."""
    found: dict[str, JSONValue] = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for entry in archive:
                _put(found, archive, entry)
    return {path: found[path] for path in sorted(found)}


def config_keys(config: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Give the keys of an image's config that say how it runs, empty ones left out."""
    inner = config.get("config")
    assert isinstance(inner, Mapping)
    found = {key: inner[key] for key in _KEYS if inner.get(key)}
    labels = found.get("Labels")
    if isinstance(labels, Mapping):  # podbuild's own, from the project
        found["Labels"] = {
            key: value
            for key, value in labels.items()
            if not key.startswith(("org.opencontainers.", "io.buildah."))
        }
    return {key: value for key, value in found.items() if value}


def _put(found: dict[str, JSONValue], archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    path = entry.name.removeprefix("./").strip("/")
    folder, _, name = path.rpartition("/")
    if name.startswith(".wh."):
        gone = "" if ".wh..wh." in name else f"{folder}/{name.removeprefix('.wh.')}".lstrip("/")
        for each in [key for key in found if key == gone or key.startswith(f"{gone or folder}/")]:
            del found[each]
        return
    if not path or any(path == each or path.startswith(f"{each}/") for each in _LEFT_OUT):
        return
    found[path] = f"{_kind(entry)} {entry.mode:04o} {entry.uid}:{entry.gid} " + (
        entry.linkname if entry.issym() or entry.islnk() else _content(archive, entry)
    )


def _kind(entry: tarfile.TarInfo) -> str:
    kinds = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hardlink"}
    return kinds.get(entry.type, "file" if entry.isreg() else "special")


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = archive.extractfile(entry) if entry.isreg() else None
    data = file.read() if file else b""
    if len(data) > _TEXT:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data.decode("latin-1")
