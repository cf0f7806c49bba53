from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.build.staging.area import Pool
from podbuild.cli.clean import read_size
from podbuild.commands.clean import CacheItem, CacheKind, NamespaceFiles, remove, surplus, survey
from podbuild.errors import ConfigError
from podbuild.oci.names import Digest
from podbuild.system.folders import Folders
from podbuild.system.locks import leased_folder


def measure(paths: Sequence[Path]) -> Mapping[Path, int]:
    return {
        path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for path in paths
    }


def remove_tree(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


INSIDE = NamespaceFiles(measure=measure, remove=remove_tree)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A cache with one of each kind; the blob is the oldest, the mount the newest."""
    cache = tmp_path / "cache"
    pool = Pool(cache / "blobs")
    digest = pool.add(b"x" * 5000)
    pool.close()
    os.utime(pool.path(digest), (1000, 1000))
    write(cache / "layers" / "packages-1" / digest.hex, b"known", 500)
    write(cache / "examined" / digest.hex, b"{}", 500)
    storage = cache / "engines" / "buildah-1.43.2" / "web"
    write(storage / "graph" / "overlay-layers" / "layers.json", b"[]", 2000)
    write(storage / "lease", b"", 2000)
    write(cache / "downloads" / "podman.tar.gz", b"y" * 5000, 3000)
    write(cache / "downloads" / ".lock", b"", 3000)
    write(cache / "mounts" / "0123" / "web-linux-amd64" / "apt" / "cached", b"z", 4000)
    for folder in (storage, storage / "graph", storage / "graph" / "overlay-layers"):
        os.utime(folder, (2000, 2000))
    for path in (cache / "mounts").rglob("*"):
        os.utime(path, (4000, 4000))
    return Folders(cache=cache, state=tmp_path / "state", runtime=tmp_path / "runtime")


def write(path: Path, data: bytes, when: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (when, when))


def kinds(items: Sequence[CacheItem]) -> set[CacheKind]:
    return {item.kind for item in items}


def test_everything_in_the_cache_is_found_with_size_and_age(folders: Folders) -> None:
    found = {item.kind: item for item in survey(folders, INSIDE)}
    assert {kind: item.used for kind, item in found.items()} == {
        CacheKind.LAYERS: 500,
        CacheKind.BLOBS: 1000,
        CacheKind.STORAGE: 2000,
        CacheKind.DOWNLOADS: 3000,
        CacheKind.MOUNTS: 4000,
    }
    assert found[CacheKind.BLOBS].size >= 5000
    assert found[CacheKind.MOUNTS].size == 1


def test_all_can_go_and_runs_find_their_locks_again(folders: Folders) -> None:
    items = survey(folders, INSIDE)
    assert remove(folders, surplus(items, 0), INSIDE) == surplus(items, 0)
    assert survey(folders, INSIDE) == ()
    assert (folders.cache / "engines" / "buildah-1.43.2" / "web" / "lease").is_file()
    assert (folders.cache / "downloads" / ".lock").is_file()


def test_blobs_stay_while_a_run_is_at_work(folders: Folders) -> None:
    pool = Pool(folders.cache / "blobs")
    items = survey(folders, INSIDE)
    assert CacheKind.BLOBS not in kinds(remove(folders, items, INSIDE))
    assert pool.size(Digest.of(b"x" * 5000)) == 5000
    pool.close()
    assert CacheKind.BLOBS in kinds(remove(folders, items, INSIDE))


def test_cache_mounts_stay_while_a_run_is_at_work(folders: Folders) -> None:
    items = survey(folders, INSIDE)
    with leased_folder(folders.cache / "runs", remove_tree):
        assert CacheKind.MOUNTS not in kinds(remove(folders, items, INSIDE))
    assert CacheKind.MOUNTS in kinds(remove(folders, items, INSIDE))


def test_storage_stays_while_a_run_uses_it(folders: Folders) -> None:
    items = survey(folders, INSIDE)
    storage = folders.cache / "engines" / "buildah-1.43.2" / "web"
    with (storage / "lease").open("ab") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        assert CacheKind.STORAGE not in kinds(remove(folders, items, INSIDE))
        assert (storage / "graph").is_dir()
    assert CacheKind.STORAGE in kinds(remove(folders, items, INSIDE))
    assert not (storage / "graph").exists()


def test_downloads_stay_while_an_installation_is_at_work(folders: Folders) -> None:
    items = survey(folders, INSIDE)
    with (folders.cache / "downloads" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert CacheKind.DOWNLOADS not in kinds(remove(folders, items, INSIDE))
    assert CacheKind.DOWNLOADS in kinds(remove(folders, items, INSIDE))


def test_empty_cache_is_fine(tmp_path: Path) -> None:
    folders = Folders(cache=tmp_path / "none", state=tmp_path, runtime=tmp_path)
    assert survey(folders, INSIDE) == ()
    assert remove(folders, (), INSIDE) == ()


items_strategy = st.lists(
    st.builds(
        lambda number, size, used: CacheItem(
            kind=CacheKind.BLOBS, path=Path(str(number)), size=size, used=float(used)
        ),
        st.integers(0, 10**6),
        st.integers(0, 100),
        st.integers(0, 5),
    ),
    unique_by=lambda item: item.path,
)


@given(items_strategy, st.integers(0, 500))
def test_what_stays_fits_and_nothing_newer_went(items: list[CacheItem], keep: int) -> None:
    gone = surplus(items, keep)
    stays = [item for item in items if item not in gone]
    assert sum(item.size for item in stays) <= keep
    if gone and stays:
        assert max(item.used for item in gone) <= min(item.used for item in stays)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("10GB", 10**10),
        ("500 mb", 5 * 10**8),
        ("1.5k", 1500),
        ("7", 7),
        ("2T", 2 * 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "nan", "inf", "1e999", "ten"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no size"):
        read_size(text)


def test_what_layers_said_and_verdicts_of_images_are_listed(folders: Folders) -> None:
    found = [each for each in survey(folders, INSIDE) if each.kind is CacheKind.LAYERS]
    assert {each.path.parent.name for each in found} == {"packages-1", "examined"}
