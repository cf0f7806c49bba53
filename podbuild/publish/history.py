"""Where runs are remembered: one entry for each, never rewritten, in a folder or a repository.

Registries and folders have no compare-and-swap, so nothing is appended to: entries merge as a set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podbuild.errors import ConfigError, PublishError, VerificationError
from podbuild.oci import delete
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Tag
from podbuild.oci.store import Store, put_artifact, put_bytes, read_blob
from podbuild.system.files import write_atomically

ENTRY_TYPE = "application/vnd.podbuild.run.v1+json"
ENTRY_NOTE = "dev.podbuild.run"  # the annotation that holds the entry: one GET gives all of it
RUN_TAG = re.compile(r"run-\d{8}T\d{6}Z-[0-9a-f]{0,8}-[0-9a-f]{4}|runs-\d{6}")  # all tags of it
_NOTED = 8 * 1024  # bytes of an entry that an annotation holds
_CAP = 16 << 20  # bytes of one entry that are read
_AT_ONCE = 8


class HistoryPlace(Protocol):
    """Holds entries by their names. Raises PublishError, CredentialError, CleanupError."""

    @property
    def shown(self) -> str:
        """Give what people call it."""

    def names(self) -> tuple[str, ...]:
        """Give the names of everything that is there, sorted."""

    def read(self, name: str) -> bytes | None:
        """Give one entry; None where it is gone."""

    def write(self, name: str, data: bytes) -> None:
        """Put one entry."""

    def remove(self, name: str) -> None:
        """Take one entry away; none is no failure."""


@dataclass(frozen=True)
class FolderHistory:
    """Entries as files: podbuild's own folder, or one that a CI keeps."""

    folder: Path
    shown: str

    def names(self) -> tuple[str, ...]:
        """Give the names of everything that is there, sorted."""
        try:
            return tuple(sorted(each.stem for each in self.folder.glob("run*.json")))
        except OSError as error:
            raise self._failed(error) from error

    def read(self, name: str) -> bytes | None:
        """Give one entry; None where it is gone, or something else, such as a pipe."""
        try:
            if not self._path(name).is_file():
                return None
            with self._path(name).open("rb") as file:
                return file.read(_CAP)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def write(self, name: str, data: bytes) -> None:
        """Put one entry."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(name), data)
        except (OSError, ConfigError) as error:
            raise self._failed(error) from error

    def remove(self, name: str) -> None:
        """Take one entry away; none is no failure."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{os.path.basename(name)}.json"  # noqa: PTH119  # a name, no path

    def _failed(self, error: Exception) -> PublishError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return PublishError(f"{self.shown}: {reason}")


@dataclass(frozen=True)
class RegistryHistory:
    """Entries as artifacts of a repository, a tag for each."""

    store: Store
    remover: Callable[[], delete.Remover]

    @property
    def shown(self) -> str:
        """Give the repository."""
        return self.store.name

    def names(self) -> tuple[str, ...]:
        """Give the names of everything that is there, sorted."""
        return tuple(tag.text for tag in self.store.tags() if tag.text.startswith("run"))

    def read(self, name: str) -> bytes | None:
        """Give one entry; None where it is gone, or something else."""
        try:
            manifest = self.store.manifest(Tag(name))
            noted = manifest.annotations.get(ENTRY_NOTE) if manifest else None
        except VerificationError:  # whoever may push there can leave what is no manifest
            return None
        if manifest is None:
            return None
        if noted is not None:
            return noted.encode("utf-8", "replace")
        layer = next(iter(manifest.layers), None)
        if layer is None or layer.media_type != ENTRY_TYPE or layer.size > _CAP:
            return None
        return read_blob(self.store, layer)

    def write(self, name: str, data: bytes) -> None:
        """Put one entry."""
        layer: Descriptor = put_bytes(self.store, ENTRY_TYPE, data)
        notes: Mapping[str, str] = {ENTRY_NOTE: data.decode()} if len(data) <= _NOTED else {}
        put_artifact(self.store, ENTRY_TYPE, layer, Tag(name), notes)

    def remove(self, name: str) -> None:
        """Take one entry away; none is no failure."""
        tag = Tag(name)
        found = self.store.head(tag)
        if found is None:
            return
        remover = self.remover()
        able = remover.abilities()
        if able.manifests:
            remover.remove_manifest(found.digest, frozenset({tag}))
        elif able.tags:
            remover.remove_tag(tag, found.digest)
        else:
            raise PublishError(f"{self.shown}: {able.reason}")


def read_all(place: HistoryPlace, names: Iterable[str]) -> Mapping[str, bytes]:
    """Give several entries, asked for at once; those that are gone are left out."""
    wanted = tuple(names)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="history") as pool:
        found = dict(zip(wanted, pool.map(place.read, wanted), strict=True))
    return {name: data for name, data in found.items() if data is not None}


def fold(
    place: HistoryPlace,
    month: str,
    names: Iterable[str],
    pack: Callable[[Iterable[bytes]], bytes],
    is_whole: Callable[[bytes], bool],
) -> int:
    """Put the entries of a month that is over into one, read it back, then remove them.

    `month` is yyyymm. Entries that came late are added to what was folded before; those that are
    not whole (a newer podbuild's, say) stay as they are. Gives how many went in; raises as the
    place does, and PublishError for a month that can't be read, with nothing lost.
    """
    name = f"runs-{month}"
    found = {each: data for each, data in read_all(place, names).items() if is_whole(data)}
    if not found:
        return 0
    before = place.read(name)
    if before is not None and not is_whole(before):
        raise PublishError(f"{place.shown}: {name} can't be read; nothing was folded")
    data = pack([*([before] if before else []), *found.values()])
    place.write(name, data)
    if place.read(name) != data:
        raise PublishError(f"{place.shown}: {name} can't be read back; nothing was removed")
    for each in found:
        place.remove(each)
    return len(found)
