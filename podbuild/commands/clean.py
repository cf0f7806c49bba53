"""What lies in podbuild's cache folder, and what goes when it is to be smaller.

Everything there can be made again. What a run that is at work may need is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from podbuild.build.examine.children import VERDICTS
from podbuild.oci.examine import LAYERS
from podbuild.system.folders import Folders
from podbuild.system.locks import LEASE, locked, try_lock


class CacheKind(StrEnum):
    """What an item is."""

    LAYERS = "layer contents"  # what was found in layers: files, packages, verdicts
    BLOBS = "blobs"  # of images, waiting to be published or known to be
    STORAGE = "engine storage"  # layers that builds start from
    MOUNTS = "cache mounts"  # of RUN --mount=type=cache
    DOWNLOADS = "downloads"  # of `podbuild toolchain install`


@dataclass(frozen=True, kw_only=True)
class CacheItem:
    """Something that can be removed as a whole. `used` is when, in seconds since 1970."""

    kind: CacheKind
    path: Path
    size: int  # bytes on the disk
    used: float


@dataclass(frozen=True, kw_only=True)
class NamespaceFiles:
    """How files of other ids are measured and removed: inside the user's namespace."""

    measure: Callable[[Sequence[Path]], Mapping[Path, int]]  # bytes on the disk
    remove: Callable[[Path], None]


def survey(folders: Folders, inside: NamespaceFiles) -> tuple[CacheItem, ...]:
    """Give everything that the cache holds."""
    cache = folders.cache
    own = (*_blobs(cache), *_layers(cache), *_downloads(cache))
    return (*own, *_foreign(cache, inside))


def surplus(items: Iterable[CacheItem], keep: int) -> tuple[CacheItem, ...]:
    """Give what has to go so that at most `keep` bytes stay: what was not used for longest.

    >>> old, new = (CacheItem(kind=CacheKind.BLOBS, path=Path("x"), size=6, used=n) for n in (1, 2))
    >>> surplus([new, old], keep=10) == (old,)
    True
    """
    kept = 0
    gone = []
    for item in sorted(items, key=lambda each: (-each.used, str(each.path))):
        kept += item.size
        if kept > keep:
            gone.append(item)
    return tuple(reversed(gone))


def remove(
    folders: Folders, items: Iterable[CacheItem], inside: NamespaceFiles
) -> tuple[CacheItem, ...]:
    """Remove items and give those that are gone; what a run holds stays."""
    wanted = tuple(items)
    gone: set[CacheItem] = set()
    with _idle(folders.cache / "blobs" / "uploads") as idle:
        gone |= {each for each in wanted if each.kind is CacheKind.BLOBS and idle}
        _unlink(gone)
    with _locked(folders.cache / "downloads" / ".lock") as idle:
        files = {each for each in wanted if each.kind is CacheKind.DOWNLOADS and idle}
        _unlink(files)
    with _idle(folders.cache / "runs") as idle:
        mounts = {each for each in wanted if each.kind is CacheKind.MOUNTS and idle}
        for item in mounts:
            inside.remove(item.path)
    layers = {each for each in wanted if each.kind is CacheKind.LAYERS}
    _unlink(layers)  # whoever misses one reads its layer again
    storages = {each for each in wanted if each.kind is CacheKind.STORAGE}
    gone |= layers | files | mounts | {*_emptied(storages, inside)}
    return tuple(each for each in wanted if each in gone)


def _unlink(items: Iterable[CacheItem]) -> None:
    for item in items:
        item.path.unlink(missing_ok=True)


def _blobs(cache: Path) -> Iterator[CacheItem]:
    yield from _files(CacheKind.BLOBS, _entries(cache / "blobs" / "sha256"))


def _layers(cache: Path) -> Iterator[CacheItem]:
    for name in (LAYERS, VERDICTS):
        yield from _files(CacheKind.LAYERS, (cache / name).rglob("*"))


def _downloads(cache: Path) -> Iterator[CacheItem]:
    paths = (cache / "downloads").rglob("*")
    yield from _files(CacheKind.DOWNLOADS, (path for path in paths if "lock" not in path.name))


def _files(kind: CacheKind, paths: Iterable[Path]) -> Iterator[CacheItem]:
    for path in paths:
        if path.is_file() and not path.is_symlink():
            facts = path.stat()
            yield CacheItem(kind=kind, path=path, size=facts.st_blocks * 512, used=facts.st_mtime)


def _foreign(cache: Path, inside: NamespaceFiles) -> Iterator[CacheItem]:
    """Give storages and mounts, whose files belong to other ids."""
    found = {
        CacheKind.STORAGE: [
            storage
            for engine in _entries(cache / "engines")
            for storage in _entries(engine)
            if (storage / LEASE).is_file() and len(_entries(storage)) > 1
        ],
        CacheKind.MOUNTS: [
            mounts for project in _entries(cache / "mounts") for mounts in _entries(project)
        ],
    }
    every = [path for paths in found.values() for path in paths]
    sizes = inside.measure(every) if every else {}
    for kind, paths in found.items():
        for path in paths:
            yield CacheItem(kind=kind, path=path, size=sizes.get(path, 0), used=_used(path))


def _used(folder: Path) -> float:
    """Give when something last changed in the upper folders; deeper ones may be closed to us."""
    places = [folder, *_entries(folder)]
    places += [inner for place in places[1:] if place.name == "graph" for inner in _entries(place)]
    return max(place.lstat().st_mtime for place in places)


def _entries(folder: Path) -> Collection[Path]:
    try:
        return tuple(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()


def _emptied(storages: Iterable[CacheItem], inside: NamespaceFiles) -> Iterator[CacheItem]:
    """Empty the storages that nobody uses; the lease stays, as a run may be waiting for it."""
    for item in storages:
        with (item.path / LEASE).open("ab") as lease:
            if not try_lock(lease):
                continue
            for path in _entries(item.path):
                if path.name != LEASE:
                    inside.remove(path)
            yield item


@contextmanager
def _idle(parent: Path) -> Iterator[bool]:
    """Tell whether no run has a folder under `parent`; none can make one while the block runs."""
    if not parent.is_dir():
        yield True
        return
    with locked(parent / "lock"):
        yield not any(_held(folder / LEASE) for folder in _entries(parent))


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Tell whether a lock is ours while the block runs; False where someone holds it."""
    if not path.parent.is_dir():
        yield True
        return
    with path.open("ab") as lock:
        yield try_lock(lock)


def _held(lease: Path) -> bool:
    try:
        with lease.open("rb") as file:
            return not try_lock(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
