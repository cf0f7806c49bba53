"""Layers as streams, what is asked of them once, and the file system that they make."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podbuild.errors import VerificationError
from podbuild.oci.examine import Examiner, Gatherer, Listing, listed
from podbuild.oci.filesystem import merged
from podbuild.oci.layers import EntryKind, FileEntry, LayerEntry, read_entries
from podbuild.oci.manifest import Descriptor
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest
from podbuild.oci.store import BytesBlob
from podbuild.system.records import JSONValue

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def layer(*members: tuple[str, str | None]) -> bytes:
    """Give a tar: text is a file's, None a folder; `-> x` a symlink, `= x` a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in members:
            info = tarfile.TarInfo(name)
            data = b""
            if text is None:
                info.type = tarfile.DIRTYPE
            elif text.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, text[3:]
            elif text.startswith("= "):
                info.type, info.linkname = tarfile.LNKTYPE, text[2:]
            else:
                data = text.encode()
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entries(data: bytes) -> list[FileEntry]:
    return [found.entry for found in read_entries(BytesBlob(data))]


def contents(data: bytes) -> list[bytes]:
    return [b"".join(found.chunks()) for found in read_entries(BytesBlob(data))]


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd.compress])
def test_a_layer_is_read_however_it_is_compressed(packed: object) -> None:
    assert callable(packed)
    data = packed(layer(("./etc/", None), ("etc/a", "some text"), ("/etc/b", "more")))
    found = [
        (each.entry.path, each.entry.kind, each.head(4), b"".join(each.chunks()))
        for each in read_entries(BytesBlob(data))
    ]
    assert found == [
        ("etc", EntryKind.DIRECTORY, b"", b""),
        ("etc/a", EntryKind.FILE, b"some", b"some text"),
        ("etc/b", EntryKind.FILE, b"more", b"more"),
    ]


def in_pieces(data: bytes, size: int) -> list[tuple[str, bytes]]:
    class Pieces:
        path: Path | None = None

        def chunks(self, start: int = 0) -> Iterator[bytes]:
            return (data[at : at + size] for at in range(start, len(data), size))

    return [(each.entry.path, b"".join(each.chunks())) for each in read_entries(Pieces())]


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_gzip_of_several_members_is_one_layer(size: int) -> None:
    whole = layer(("a", "text" * 999), ("b", ""), ("c", "more"))
    parts = [whole[at : at + 700] for at in range(0, len(whole), 700)]
    packed = b"".join(map(gzip.compress, parts)) + b"\0" * 50  # padded, as tapes are
    assert in_pieces(packed, size) == [("a", b"text" * 999), ("b", b""), ("c", b"more")]


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd.compress])
def test_a_layer_may_come_byte_by_byte(packed: object) -> None:
    assert callable(packed)
    assert in_pieces(packed(layer(("a", "text"))), 1) == [("a", b"text")]


def test_content_that_nobody_reads_is_passed_over() -> None:
    data = layer(*((f"f{n}", "x" * n) for n in (0, 1, 511, 512, 513, 5000)))
    assert [(each.path, each.size) for each in entries(data)] == [
        (f"f{n}", n) for n in (0, 1, 511, 512, 513, 5000)
    ]


def test_whiteouts_say_what_goes() -> None:
    data = layer(("a/.wh.gone", ""), ("b/.wh..wh..opq", ""), (".wh..wh.plnk", ""))
    assert entries(data) == [
        FileEntry("a/gone", EntryKind.WHITEOUT),
        FileEntry("b", EntryKind.OPAQUE),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"no tar at all, but long enough for nothing" * 20,
        layer(("a", "text" * 500))[:1000],
        gzip.compress(layer(("a", "text")), mtime=0)[:-9],
        gzip.compress(layer(("a", "x" * 3000)), mtime=0)[:60],
        zstd.compress(layer(("a", "text")))[:-5],
        b"\x1f\x8bnot really",
        gzip.compress(layer(("a", "text")), mtime=0) + b"no member",
    ],
    ids=["text", "cut tar", "cut gzip", "cut gzip data", "cut zstd", "no gzip", "after it"],
)
def test_what_is_no_layer_is_one_error(data: bytes) -> None:
    with pytest.raises(VerificationError, match="can't be read as a layer"):
        contents(data)


def test_an_empty_blob_is_an_empty_layer() -> None:
    assert entries(b"") == []


def test_a_header_of_any_length_is_not_read() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(VerificationError):
        entries(info.tobuf() + b"\0" * 1024)


def test_memory_is_flat_whatever_a_file_holds() -> None:
    class Zeros:
        path: Path | None = None

        def chunks(self, start: int = 0) -> Iterator[bytes]:
            assert start == 0
            info = tarfile.TarInfo("big")
            info.size = 64 << 20
            yield info.tobuf()
            for _ in range(64):
                yield bytes(1 << 20)
            yield bytes(1024)

    tracemalloc.start()
    try:
        read = sum(len(piece) for each in read_entries(Zeros()) for piece in each.chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == 64 << 20
    assert peak < 16 << 20


def fs(*layers: Iterable[FileEntry]) -> dict[str, tuple[int, str, int]]:
    return {
        path: (each.layer, each.source, each.put_by) for path, each in merged(layers).paths.items()
    }


def test_later_layers_win_and_whiteouts_reach_lower_layers_only() -> None:
    found = fs(
        entries(layer(("a/x", "1"), ("a/y", "1"), ("b/z", "1"), ("c", "file"))),
        entries(layer(("a/x", "2"), ("a/.wh.y", ""), ("b/new", "2"), ("b/.wh..wh..opq", ""))),
        entries(layer((".wh.c", ""), ("c/d", "3"))),
    )
    assert found == {"a/x": (1, "a/x", 1), "b/new": (1, "b/new", 1), "c/d": (2, "c/d", 2)}


def test_a_file_in_the_place_of_a_folder_hides_it() -> None:
    found = fs(entries(layer(("a/x", "1"))), entries(layer(("a", "now a file"))))
    assert found == {"a": (1, "a", 1)}


def test_a_hard_link_keeps_the_bytes_that_it_shared() -> None:
    found = fs(
        entries(
            layer(
                ("a", "old"),
            )
        ),
        entries(
            layer(
                ("b", "= a"),
            )
        ),
        entries(
            layer(
                ("a", "new"),
            )
        ),
    )
    assert found == {"a": (2, "a", 2), "b": (0, "a", 1)}


def test_paths_lead_over_symlinks() -> None:
    whole = merged(
        [
            entries(
                layer(
                    ("usr/lib/rpm/db", "1"),
                    ("lib", "-> usr/lib"),
                    ("var/rpm", "-> ../lib/rpm"),
                    ("round", "-> round"),
                    ("abs", "-> /var/rpm/db"),
                )
            )
        ]
    )
    for path in ("var/rpm/db", "/lib/rpm/../rpm/db", "abs"):
        found = whole.find(path)
        assert found is not None
        assert found.source == "usr/lib/rpm/db"
    assert whole.find("round/x") is None
    assert whole.find("nothing") is None


class Counting:
    """An analysis that notes how often it was asked."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked = 0

    def gather(self) -> Gatherer:
        self.asked += 1
        return Names()


class Names:
    def __init__(self) -> None:
        self._names: list[str] = []

    def see(self, found: LayerEntry) -> None:
        self._names.append(found.entry.path)

    def result(self) -> JSONValue:
        return [*self._names]


def test_one_pass_answers_all_and_answers_are_kept(tmp_path: Path) -> None:
    data = gzip.compress(layer(("a", "1"), ("b", "2")), mtime=0)
    blob = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
    store = MemoryStore()
    store.put_blob(blob, BytesBlob(data))
    first, second = Counting("first"), Counting("second")
    (answers,) = Examiner(tmp_path).ask(store, [blob], [first, Listing()])
    assert answers["first"] == ["a", "b"]
    assert [each.path for each in listed(answers["listing-1"])] == ["a", "b"]
    store.blobs.clear()
    store.put_blob(blob, BytesBlob(data))
    (again,) = Examiner(tmp_path).ask(store, [blob], [first, second, Listing()])
    assert (first.asked, second.asked) == (1, 1)
    assert again["second"] == again["first"] == ["a", "b"]
    store.blobs.clear()
    Examiner(tmp_path).ask(store, [blob], [first, second, Listing()])  # reads no layer


def test_threads_read_a_layer_once(tmp_path: Path) -> None:
    data = gzip.compress(layer(*((f"f{n}", "text") for n in range(2000))))
    blob = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
    store = MemoryStore()
    store.put_blob(blob, BytesBlob(data))
    asked, examiner = Counting("first"), Examiner(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: examiner.ask(store, [blob], [asked]), range(8)))
    assert asked.asked == 1
    assert all(each == answers[0] for each in answers)


def test_an_answer_that_is_damaged_is_asked_for_again(tmp_path: Path) -> None:
    data = layer(("a", "1"))
    blob = Descriptor(media_type="x", digest=Digest.of(data), size=len(data))
    store = MemoryStore()
    store.put_blob(blob, BytesBlob(data))
    Examiner(tmp_path).ask(store, [blob], [Counting("first")])
    (tmp_path / "first" / blob.digest.hex).write_bytes(b"\x1f\x8btorn")
    (answers,) = Examiner(tmp_path).ask(store, [blob], [Counting("first")])
    assert answers["first"] == ["a"]
