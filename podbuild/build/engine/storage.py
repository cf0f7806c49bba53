"""What containers/storage's own files say of a storage, without starting an engine.

Which driver works here is proved by using it: native overlay, fuse-overlayfs, vfs.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from podbuild.build.containers import container_ids, list_in
from podbuild.build.engine.namespace import Namespace
from podbuild.oci.names import Digest
from podbuild.system.files import write_atomically
from podbuild.system.process import CommandError, Runner
from podbuild.system.records import JSONValue, document_of

_SCRIPT = Path(__file__).parent / "programs" / "overlay.py"
_PROBE_SECONDS = 30.0
_ID = 64  # letters of an image's id


class DriverName(StrEnum):
    """containers/storage's names."""

    OVERLAY = "overlay"
    VFS = "vfs"


@dataclass(frozen=True)
class StorageDriver:
    """A driver for storage.conf; `mount_program` is fuse-overlayfs where native overlay fails."""

    name: DriverName
    mount_program: Path | None = None

    def __str__(self) -> str:
        if self.name is DriverName.OVERLAY and self.mount_program is None:
            return "native overlay"
        return "fuse-overlayfs" if self.mount_program else "vfs"


def prove_storage_driver(
    runner: Runner, namespace: Namespace, folder: Path, fuse_overlayfs: Path | None
) -> StorageDriver:
    """Give the fastest driver that works on this folder's file system, inside the namespace."""
    inside = namespace.inside(runner)
    if _works(inside, folder, None):
        return StorageDriver(DriverName.OVERLAY)
    if fuse_overlayfs is not None and _works(inside, folder, fuse_overlayfs):
        return StorageDriver(DriverName.OVERLAY, fuse_overlayfs)
    return StorageDriver(DriverName.VFS)


def _works(inside: Runner, folder: Path, program: Path | None) -> bool:
    base = tempfile.mkdtemp(dir=folder, prefix="overlay-")
    argv = (sys.executable, "-I", "-S", str(_SCRIPT), base, str(program or ""))
    try:
        inside(*argv, timeout=_PROBE_SECONDS)
    except CommandError:
        return False
    finally:
        inside("rm", "-rf", "--", base)  # holds files of other ids
    return True


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Where an image's files lie: in layers, as overlay's lowerdir names them, or in one folder."""

    folder: Path
    below: str = ""  # layers relative to the folder, the highest first
    copy: Path | None = None  # the folder that holds all, which is to be copied


def _layer(entry: JSONValue) -> tuple[str, str, str]:
    """Give a layer's id, that of the one below, and what it holds; one half written holds none."""
    match entry:
        case {"id": str(name), **rest}:
            flags = rest.get("flags")
            half = isinstance(flags, dict) and flags.get("incomplete") is True
            held = "" if half else str(rest.get("diff-digest", ""))
            return name, str(rest.get("parent", "")), held
        case _:
            return "", "", ""


def _diff(folder: Path, layer: str) -> str:
    """Give where a layer's files are, below the driver's folder; raises OSError where nowhere.

    By its short name, as the kernel takes a page of them. Engines lose short names when they are
    killed and make them anew (containers/storage, drivers/overlay/overlay.go, recreateSymlinks), so
    what layers say of those below them may be out of date too.
    """
    whole = f"{layer}/diff"
    (folder / whole).stat()
    short = f"l/{(folder / layer / 'link').read_text().strip()}"
    return short if (folder / short).is_dir() else whole


# containers/storage, containers.go: those of builds are volatile


@dataclass(frozen=True, kw_only=True)
class Storage:
    """One storage of an engine: its folders and its driver."""

    graph: Path
    run: Path
    driver: StorageDriver

    def holds(self, image: str) -> bool:
        """Tell whether an image id is here."""
        return (self._part("images") / image).is_dir()

    def config(self, image: str) -> bytes:
        """Give an image's config as it was built; raises OSError where it is not here.

        containers/storage names such a file by its key, the config's digest (images.go and
        utils.go, makeBigDataBaseName).
        """
        name = base64.b64encode(f"sha256:{image}".encode()).decode()
        return (self._part("images") / image / f"={name}").read_bytes()

    def remember(self, config: Digest, image: str) -> None:
        """Note which image here has become the published one with this config."""
        write_atomically(self._finished / config.hex, image.encode())

    def image(self, config: Digest) -> str | None:
        """Give the image here from which the published one with this config was made."""
        try:
            image = (self._finished / config.hex).read_text()
        except FileNotFoundError:
            return None
        return image if self.holds(image) else None

    @property
    def images(self) -> frozenset[str]:
        """Give the ids of all images here, those of single steps too."""
        try:
            names = os.listdir(self._part("images"))  # noqa: PTH208  # thousands, by name alone
        except FileNotFoundError:
            return frozenset()
        return frozenset(name for name in names if len(name) == _ID)

    def named(self, image: str) -> str | None:
        """Give the id of an image by id or name; None where it is not here."""
        for each in self._listed("images"):
            match each:
                case {"id": str(found)} if image in (found, *_names(each)):
                    return found
        return None

    def environment(self, image: str) -> dict[str, str] | None:
        """Give the ENV of an image by id or name; None where it is not here."""
        found = self.named(image)
        return self._environment(found) if found else None

    def _environment(self, image: str) -> dict[str, str]:
        try:
            match document_of(self.config(image)):
                case {"config": {"Env": list(entries)}}:
                    return dict(str(entry).partition("=")[::2] for entry in entries)
                case _:
                    return {}
        except OSError:
            return {}

    def layers(self, contents: Sequence[str]) -> Layers | None:
        """Give where the files of an image lie; None where it is not here.

        `contents` are the digests of its layers without compression, the lowest first, as its
        config has them (diff_ids).
        """
        tops = {""}
        known = [*map(_layer, (*self._listed("layers"), *self._listed("volatile-layers")))]
        for digest in contents:
            tops = {layer for layer, below, held in known if held == digest and below in tops}
        top = next(iter(sorted(tops)), None)
        if top is None:
            return None
        folder = self.graph / self.driver.name
        if self.driver.name is DriverName.VFS:
            return Layers(folder=folder, copy=folder / "dir" / top if top else None)
        if not top:
            return Layers(folder=folder)
        below = {layer: under for layer, under, _ in known}
        chain = [top]
        while under := below[chain[-1]]:
            chain.append(under)
        try:
            return Layers(folder=folder, below=":".join(_diff(folder, layer) for layer in chain))
        except OSError:
            return None

    @property
    def containers(self) -> tuple[str, ...]:
        """Give the ids of the containers of builds that are under way here, or were killed."""
        return container_ids(self.graph)

    def _listed(self, what: str) -> list[JSONValue]:
        return list_in(self._part(what.removeprefix("volatile-")) / f"{what}.json")

    @property
    def _finished(self) -> Path:
        return self.graph.parent / "finished"

    def _part(self, what: str) -> Path:
        return self.graph / f"{self.driver.name}-{what}"


def _names(image: JSONValue) -> list[JSONValue]:
    match image:
        case {"names": list(names)}:
            return names
        case _:
            return []
