"""Questions to layers: one pass over each answers all of them, and answers are kept by its digest.

An analysis sees every entry of a layer once, with its content, and gives JSON. What depends on
several layers (which file is visible) is made of these answers, by `oci/filesystem.py`.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from podbuild.oci.layers import EntryKind, FileEntry, LayerEntry, read_entries
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest
from podbuild.oci.store import BlobSource, Store
from podbuild.system.cancel import Cancel
from podbuild.system.files import write_atomically
from podbuild.system.records import JSONValue, parse_json

LAYERS = "layers"  # in the cache folder: what layers say, whoever asks
_IN_MEMORY = 32  # answers that one Examiner has at hand: those of bases are asked for again


class Gatherer(Protocol):
    """What one analysis makes of one layer."""

    def see(self, found: LayerEntry) -> None:
        """Take an entry, or not."""

    def result(self) -> JSONValue:
        """Give what was gathered, once the layer is over."""


class LayerAnalysis(Protocol):
    """A question to layers whose answer depends on one layer's bytes alone."""

    @property
    def key(self) -> str:
        """Name the question and the form of its answer: answers are kept by it."""

    def gather(self) -> Gatherer:
        """Begin a layer."""


@dataclass(frozen=True)
class Examiner:
    """Asks layers, each once: answers are kept in a folder by key and the layer's digest."""

    folder: Path
    cancel: Cancel = field(default_factory=Cancel, repr=False)
    _known: dict[tuple[str, Digest], JSONValue] = field(default_factory=dict, repr=False)
    _locks: dict[Digest, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock), repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(
        self, store: Store, layers: Iterable[Descriptor], analyses: Iterable[LayerAnalysis]
    ) -> tuple[Mapping[str, JSONValue], ...]:
        """Give each layer's answers by the analyses' keys, in the order of the layers.

        One pass over a layer answers all that is not known of it. Raises VerificationError for
        what is no layer, what the store raises, and what Cancel.check raises after a stop. Safe to
        share between threads, which wait for one that reads the same layer.
        """
        asked = tuple(analyses)
        return tuple(self._ask_once(store, layer, asked) for layer in layers)

    def knows(self, layers: Iterable[Descriptor], analyses: Iterable[LayerAnalysis]) -> bool:
        """Tell whether all of these layers' answers are kept, so that none is read."""
        keys = [each.key for each in analyses]
        return all(self._kept(key, each.digest) is not None for each in layers for key in keys)

    def _ask_once(
        self, store: Store, layer: Descriptor, analyses: tuple[LayerAnalysis, ...]
    ) -> Mapping[str, JSONValue]:
        with self._locks[layer.digest]:
            return self._ask(store, layer, analyses)

    def _ask(
        self, store: Store, layer: Descriptor, analyses: tuple[LayerAnalysis, ...]
    ) -> Mapping[str, JSONValue]:
        answers = {each.key: self._kept(each.key, layer.digest) for each in analyses}
        missing = {each.key: each.gather() for each in analyses if answers[each.key] is None}
        if missing:
            with store.blob(layer) as source:
                hashed = Hashing.key in missing
                last = [missing[Hashing.key]] if hashed else []
                others = [each for key, each in missing.items() if key != Hashing.key]
                name = f"{store.reference(layer.digest)}"
                heard = _Heard(source, self.cancel)
                for found in read_entries(heard, name, hashed=hashed):
                    for gatherer in (*others, *last):
                        gatherer.see(found)
        for key, gatherer in missing.items():
            answers[key] = self._remember(key, layer.digest, gatherer.result())
            packed = gzip.compress(json.dumps(answers[key]).encode(), compresslevel=1, mtime=0)
            write_atomically(self._file(key, layer.digest), packed)
        return answers

    def _kept(self, key: str, digest: Digest) -> JSONValue:
        """Give a known answer; None where there is none that can be read."""
        if (known := self._known.get((key, digest))) is not None:
            return known
        try:
            data = gzip.decompress(self._file(key, digest).read_bytes())
            return self._remember(key, digest, parse_json(data))
        except (OSError, EOFError, ValueError, zlib.error):
            return None

    def _remember(self, key: str, digest: Digest, answer: JSONValue) -> JSONValue:
        with self._lock:
            self._known[key, digest] = answer
            if len(self._known) > _IN_MEMORY:
                del self._known[next(iter(self._known))]
        return answer

    def _file(self, key: str, digest: Digest) -> Path:
        return self.folder / key / digest.hex


@dataclass(frozen=True)
class _Heard:
    """A layer, read until a stop: a large one takes long."""

    source: BlobSource
    cancel: Cancel

    @property
    def path(self) -> Path | None:
        return self.source.path

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        for chunk in self.source.chunks(start):
            self.cancel.check()
            yield chunk


class Listing:
    """The analysis that keeps every entry; `merged` makes a file system of its answers."""

    key = "listing-1"

    def gather(self) -> Gatherer:
        """Begin a layer."""
        return _Listed()


class _Listed:
    def __init__(self) -> None:
        self._entries: list[JSONValue] = []

    def see(self, found: LayerEntry) -> None:
        self._entries.append(found.entry.to_json())

    def result(self) -> JSONValue:
        return self._entries


def listed(answer: JSONValue) -> Iterator[FileEntry]:
    """Give the entries that `Listing` kept of a layer; raises ValueError for another's answer."""
    if not isinstance(answer, list):
        raise ValueError("not a listing")  # noqa: TRY004  # it comes from a file
    return map(FileEntry.from_json, answer)


@dataclass(frozen=True)
class FileAnalysis:
    """The analysis that keeps, by path, what `answer` gives of a regular file; None is not kept."""

    key: str
    answer: Callable[[LayerEntry], JSONValue]

    def gather(self) -> Gatherer:
        """Begin a layer."""
        return _FileAnswers(self.answer)


class _FileAnswers:
    def __init__(self, answer: Callable[[LayerEntry], JSONValue]) -> None:
        self._answer = answer
        self._found: dict[str, JSONValue] = {}

    def see(self, found: LayerEntry) -> None:
        if found.entry.kind is EntryKind.FILE:
            answer = self._answer(found)
            if answer is not None:
                self._found[found.entry.path] = answer

    def result(self) -> JSONValue:
        return self._found


class Hashing:
    """The analysis that keeps each file's digest and compressed bytes, in the order of `Listing`.

    It reads all content, so that it sees each entry last.
    """

    key = "contents-1"

    def gather(self) -> Gatherer:
        """Begin a layer."""
        return _Hashed()


class _Hashed:
    def __init__(self) -> None:
        self._found: list[JSONValue] = []

    def see(self, found: LayerEntry) -> None:
        if found.entry.kind is EntryKind.FILE:
            self._found.append([found.digest(), found.compressed])

    def result(self) -> JSONValue:
        return self._found


def contents(answer: JSONValue) -> Iterator[tuple[str, int]]:
    """Give what `Hashing` kept of a layer; raises ValueError for another's answer."""
    match answer:
        case list(found):
            for each in found:
                match each:
                    case [str(digest), int(compressed)]:
                        yield digest, compressed
                    case _:
                        raise ValueError("not a digest")
        case _:
            raise ValueError("not contents")
