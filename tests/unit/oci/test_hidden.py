"""What layers hold that nobody sees: to the byte what unpacking them one on the other saves."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podbuild.oci.examine import Examiner, Hashing, Listing, contents, listed
from podbuild.oci.filesystem import Folded, Hiding, folded
from podbuild.oci.layers import clean
from podbuild.oci.memory import MemoryStore
from podbuild.oci.store import BytesBlob
from tests.images import blob_of

MODES = (0o644, 0o755)


@dataclass(frozen=True)
class Member:
    """One member of a layer: text is a file's, None a folder; `-> x` a symlink, `= x` a link."""

    text: str | None
    mode: int = 0o644


def tar(members: Sequence[tuple[str, Member]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, member in members:
            info = tarfile.TarInfo(name)
            info.mode = member.mode
            data = b""
            if member.text is None:
                info.type = tarfile.DIRTYPE
            elif member.text.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, member.text[3:]
            elif member.text.startswith("= "):
                info.type, info.linkname = tarfile.LNKTYPE, member.text[2:]
            else:
                data = member.text.encode()
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def fold(folder: Path, *layers: bytes) -> Folded:
    store = MemoryStore()
    blobs = [blob_of(each) for each in layers]
    for blob, data in zip(blobs, layers, strict=True):
        store.put_blob(blob, BytesBlob(data))
    answers = Examiner(folder).ask(store, blobs, (Hashing(), Listing()))
    return folded((listed(x[Listing.key]), contents(x[Hashing.key])) for x in answers)


def unpacked_bytes(layers: Sequence[bytes]) -> int:
    """Put layers on each other on a disk, as image-spec says, and add up what is there."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for data in layers:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                members = archive.getmembers()
                for member in members:
                    _take_away(root, member.name)
                for member in members:
                    if ".wh." not in member.name:
                        _unpack(root, archive, member)
        found = {}
        for here, _, names in os.walk(root):
            for each in names:
                facts = os.lstat(os.path.join(here, each))  # noqa: PTH118
                if not os.path.islink(os.path.join(here, each)):  # noqa: PTH114, PTH118
                    found[facts.st_ino] = facts.st_size
        return sum(found.values())


def _take_away(root: Path, name: str) -> None:
    place = root / clean(name)
    above = [root / each for each in place.relative_to(root).parents]
    if any(each.is_symlink() or not each.is_dir() for each in above):
        return
    if place.name == ".wh..wh..opq":
        for each in list(place.parent.iterdir()):
            _delete(each)
    elif place.name.startswith(".wh."):
        _delete(place.with_name(place.name[4:]))


def _delete(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _unpack(root: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    place = root / clean(member.name)
    for parent in reversed(place.relative_to(root).parents):
        folder = root / parent
        if folder.is_symlink() or not folder.is_dir():
            _delete(folder)
            folder.mkdir()
    if member.isdir():
        if place.is_symlink() or not place.is_dir():
            _delete(place)
            place.mkdir()
        return
    _delete(place)
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.islnk():
        os.link(root / clean(member.linkname), place)
    else:
        file = archive.extractfile(member)
        assert file is not None
        place.write_bytes(file.read())


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
TEXTS = st.one_of(st.none(), st.just("-> a"), st.text("xy", max_size=9), st.text("z", max_size=3))
GOING = st.one_of(
    NAMES.map(lambda path: str(Path(path).with_name(f".wh.{Path(path).name}"))),
    NAMES.map(lambda path: f"{path}/.wh..wh..opq"),
)


@st.composite
def members_of_layers(draw: st.DrawFn) -> list[tuple[str, Member]]:
    """Draw a layer that a diff of two file systems could be."""
    wanted = draw(st.dictionaries(NAMES, st.builds(Member, TEXTS, st.sampled_from(MODES))))
    members: dict[str, Member] = {}
    for path, member in sorted(wanted.items()):
        above = [str(each) for each in Path(path).parents if str(each) != "."]
        if all(each not in members or members[each].text is None for each in above):
            members[path] = member
    files = [path for path, each in members.items() if each.text and not each.text.startswith("-")]
    links = {}
    if files:
        for at in range(draw(st.integers(0, 2))):
            links[f"link{at}"] = Member(f"= {draw(st.sampled_from(files))}")
    going = draw(st.lists(GOING, max_size=3, unique=True))
    every = [*members.items(), *links.items()]
    gone = [(path, Member("")) for path in going if not _is_below_a_file(path, members)]
    at = draw(st.integers(0, len(every)))  # wherever they stand
    return [*every[:at], *gone, *every[at:]]


def _is_below_a_file(path: str, members: Mapping[str, Member]) -> bool:
    return any(
        str(each) in members and members[str(each)].text is not None for each in Path(path).parents
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(members_of_layers(), min_size=1, max_size=5))
def test_hidden_is_to_the_byte_what_squashing_saves(
    stack: list[list[tuple[str, Member]]],
) -> None:
    layers = [tar(each) for each in stack]
    with tempfile.TemporaryDirectory() as folder:
        found = fold(Path(folder), *layers)
    held = [
        member.size
        for data in layers
        for member in tarfile.open(fileobj=io.BytesIO(data)).getmembers()  # noqa: SIM115
        if member.isreg() and ".wh." not in member.name
    ]
    assert found.total == sum(held)
    assert found.visible_bytes == unpacked_bytes(layers)
    assert found.visible_bytes + found.hidden_bytes == found.total
    assert all(each.layer <= each.by for each in found.hidden)


BIG, OTHER = "x" * 100, "y" * 100
CASES: dict[str, tuple[list[list[tuple[str, Member]]], set[tuple[str, int, int, Hiding]]]] = {
    "a whiteout": (
        [[("d/f", Member(BIG))], [("d/.wh.f", Member(""))]],
        {("d/f", 0, 1, Hiding.DELETED)},
    ),
    "a whiteout of a folder": (
        [[("d/f", Member(BIG)), ("d/g", Member("1"))], [(".wh.d", Member(""))]],
        {("d/f", 0, 1, Hiding.DELETED), ("d/g", 0, 1, Hiding.DELETED)},
    ),
    "chmod": (
        [[("f", Member(BIG))], [("f", Member(BIG, 0o755))]],
        {("f", 0, 1, Hiding.METADATA)},
    ),
    "copied again": ([[("f", Member(BIG))], [("f", Member(BIG))]], {("f", 0, 1, Hiding.SAME)}),
    "edited": ([[("f", Member(BIG))], [("f", Member(OTHER))]], {("f", 0, 1, Hiding.REPLACED)}),
    "deleted and made again in one step": (
        [[("d/f", Member(BIG))], [("d/.wh..wh..opq", Member("")), ("d/f", Member(BIG))]],
        {("d/f", 0, 1, Hiding.SAME)},
    ),
    "a link in its place": (
        [[("f", Member(BIG)), ("g", Member(OTHER))], [("f", Member("-> g"))]],
        {("f", 0, 1, Hiding.REPLACED)},
    ),
    "a file where a folder was": (
        [[("d/f", Member(BIG))], [("d", Member(OTHER))]],
        {("d/f", 0, 1, Hiding.DELETED)},
    ),
    "a folder where a file was": (
        [[("d", Member(BIG))], [("d/f", Member(OTHER))]],
        {("d", 0, 1, Hiding.DELETED)},
    ),
    "one of two hard links is deleted": (
        [[("f", Member(BIG)), ("g", Member("= f"))], [(".wh.f", Member(""))]],
        set(),
    ),
    "both are, one after the other": (
        [
            [("f", Member(BIG)), ("g", Member("= f"))],
            [(".wh.f", Member(""))],
            [("g", Member(OTHER))],
        ],
        {("f", 0, 2, Hiding.REPLACED)},
    ),
    "twice in one layer": (
        [[("f", Member(BIG)), ("f", Member(BIG, 0o755))]],
        {("f", 0, 0, Hiding.METADATA)},
    ),
    "a whiteout without a target": ([[("f", Member(BIG))], [(".wh.x", Member(""))]], set()),
}


@pytest.mark.parametrize("name", CASES)
def test_each_hidden_byte_has_an_owner_who_hides_it_and_a_cause(tmp_path: Path, name: str) -> None:
    layers, expected = CASES[name]
    found = fold(tmp_path, *map(tar, layers))
    assert {(each.path, each.layer, each.by, each.cause) for each in found.hidden} == expected
    assert found.visible_bytes + found.hidden_bytes == found.total


def test_the_compressed_bytes_of_files_are_those_of_the_layer(tmp_path: Path) -> None:
    noise = os.urandom(300_000).hex()
    data = gzip.compress(tar([("noise", Member(noise)), ("zeros", Member("0" * 2_000_000))]))
    found = fold(tmp_path, data)
    shares = {path: body.compressed for path, body in found.visible.items()}
    assert 0 <= len(data) - sum(shares.values()) < 64 * 1024
    assert shares["noise"] > 10 * shares["zeros"]
