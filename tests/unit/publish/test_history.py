"""The places of the history: a folder and a registry, and writers that finish together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podbuild.errors import PublishError
from podbuild.oci.delete import Abilities
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Tag
from podbuild.oci.store import EMPTY, put_artifact
from podbuild.publish.history import (
    ENTRY_NOTE,
    ENTRY_TYPE,
    RUN_TAG,
    FolderHistory,
    HistoryPlace,
    RegistryHistory,
    fold,
    read_all,
)
from podbuild.report.runs import Run, is_whole, merged, packed, unpacked
from tests.memory_remover import MemoryRemover
from tests.unit.report.test_runs import run

Opened = Callable[[Path], HistoryPlace]


def registry(_folder: Path) -> HistoryPlace:
    store = MemoryStore()
    remover = MemoryRemover(store, Abilities(tags=False, manifests=True, together=True))
    return RegistryHistory(store, lambda: remover)


def folder(path: Path) -> HistoryPlace:
    return FolderHistory(path / "history", "history")


def pack(several: Iterable[bytes]) -> bytes:
    return packed(entry for data in several for entry in unpacked(data))


def entries(place: HistoryPlace) -> tuple[Run, ...]:
    return merged(*map(unpacked, read_all(place, place.names()).values()))


@pytest.mark.parametrize("opened", [registry, folder])
def test_twelve_runners_that_end_together_lose_no_entry(opened: Opened, tmp_path: Path) -> None:
    place = opened(tmp_path)
    runs = [run(0, name=f"run-20260102T030405Z-01234567-{number:04x}") for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        tuple(pool.map(lambda each: place.write(each.name, packed([each])[1:-1]), runs))
    assert entries(place) == tuple(runs)
    assert all(RUN_TAG.fullmatch(name) for name in place.names())


@pytest.mark.parametrize("opened", [registry, folder])
def test_a_month_that_is_over_becomes_one_entry_and_says_the_same(
    opened: Opened, tmp_path: Path
) -> None:
    place = opened(tmp_path)
    runs = [run(number) for number in range(5)]
    for each in runs:
        place.write(each.name, packed([each])[1:-1])
    assert fold(place, "202601", [each.name for each in runs[:3]], pack, is_whole) == 3
    assert entries(place) == tuple(runs)
    assert fold(place, "202601", [each.name for each in runs[3:]], pack, is_whole) == 2  # came late
    assert place.names() == ("runs-202601",)
    assert entries(place) == tuple(runs)
    assert fold(place, "202601", ["run-20260101T000000Z-01234567-0000"], pack, is_whole) == 0
    place.remove("runs-202601")
    place.remove("runs-202601")
    assert place.names() == ()


def test_a_registry_says_it_all_in_one_manifest(tmp_path: Path) -> None:
    place = registry(tmp_path)
    assert isinstance(place, RegistryHistory)
    entry = run(1)
    place.write(entry.name, packed([entry])[1:-1])
    assert isinstance(place.store, MemoryStore)
    place.store.blobs.clear()
    assert entries(place) == (entry,)


def test_an_entry_whose_text_is_no_text_is_read(tmp_path: Path) -> None:
    place = registry(tmp_path)
    assert isinstance(place, RegistryHistory)
    assert isinstance(place.store, MemoryStore)
    put_artifact(place.store, ENTRY_TYPE, EMPTY, Tag(run(1).name), {ENTRY_NOTE: "half"})
    half = b'{"annotations":{"%b":"\\ud800"}}' % ENTRY_NOTE.encode()
    manifest = Manifest(MediaType.OCI_MANIFEST, half)
    place.store.manifests[manifest.digest] = manifest
    place.store.named[Tag(run(2).name)] = manifest.digest
    place.write(run(3).name, packed([run(3)])[1:-1])
    assert entries(place) == (run(3),)


def test_what_can_not_be_read_back_removes_nothing(tmp_path: Path) -> None:
    place = folder(tmp_path)
    entry = run(1)
    place.write(entry.name, packed([entry])[1:-1])

    class Losing(FolderHistory):
        def write(self, name: str, data: bytes) -> None:
            super().write(name, data[:-1])

    losing = Losing(tmp_path / "history", "history")
    with pytest.raises(PublishError, match="can't be read back"):
        fold(losing, "202601", [entry.name], pack, is_whole)
    assert entry.name in place.names()


@pytest.mark.parametrize("strange", [b'{"schema": 99}', b"no JSON", b"[" * 100_000])
def test_what_this_podbuild_can_not_read_is_not_folded_away(tmp_path: Path, strange: bytes) -> None:
    place = folder(tmp_path)
    place.write(run(1).name, packed([run(1)])[1:-1])
    place.write(run(2).name, strange)
    assert fold(place, "202601", [run(1).name, run(2).name], pack, is_whole) == 1
    assert place.read(run(2).name) == strange
    place.write("runs-202602", strange)
    place.write(run(3).name, packed([run(3)])[1:-1])
    with pytest.raises(PublishError, match="runs-202602 can't be read; nothing was folded"):
        fold(place, "202602", [run(3).name], pack, is_whole)
    assert place.read("runs-202602") == strange


def test_a_registry_that_deletes_nothing_says_so() -> None:
    store = MemoryStore()
    remover = MemoryRemover(store, Abilities(tags=False, manifests=False, reason="delete is off"))
    place = RegistryHistory(store, lambda: remover)
    place.write(run(1).name, b"{}")
    with pytest.raises(PublishError, match="delete is off"):
        place.remove(run(1).name)


def test_what_is_no_file_is_no_entry_and_is_not_waited_for(tmp_path: Path) -> None:
    place = folder(tmp_path)
    place.write(run(1).name, packed([run(1)])[1:-1])
    os.mkfifo(tmp_path / "history" / f"{run(2).name}.json")
    (tmp_path / "history" / f"{run(3).name}.json").mkdir()
    assert entries(place) == (run(1),)


def test_a_folder_that_is_none_is_one_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("")
    with pytest.raises(PublishError, match="history"):
        folder(tmp_path).write("run-1", b"{}")
