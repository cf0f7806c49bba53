"""Archives of cache mounts that somebody else wrote."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podbuild.build.cache import archive as mount_archive
from podbuild.build.cache.archive import rewrite
from podbuild.errors import VerificationError

ID = "4e39aaf3cdef5140"


def member(name: str, kind: bytes = tarfile.REGTYPE, **changes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in changes.items():
        setattr(info, key, value)
    return info


FOLDER = member(ID, tarfile.DIRTYPE)


def archive(path: Path, *members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    with tarfile.open(path, "w:gz", format=format, compresslevel=1) as target:
        for info in members:
            target.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return path


def unpacked(tmp_path: Path, *members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    clean, folder = tmp_path / "clean.tar", tmp_path / "unpacked"
    rewrite(archive(tmp_path / "packed", *members, format=format), clean)
    with tarfile.open(clean) as source:
        source.extractall(folder, filter="tar")
    return folder


REFUSED = {
    "entry is a link": [member(ID, tarfile.SYMTYPE, linkname="/etc")],
    "entry is a relative link": [member(ID, tarfile.SYMTYPE, linkname="../../..")],
    "entry is a link and then a folder": [member(ID, tarfile.SYMTYPE, linkname="/etc"), FOLDER],
    "entry is a folder and then a link": [FOLDER, member(ID, tarfile.SYMTYPE, linkname="/etc")],
    "entry is a file": [member(ID)],
    "entry is a hard link": [member(ID, tarfile.LNKTYPE, linkname="/etc/passwd")],
    "root is a link": [member(".", tarfile.SYMTYPE, linkname="/etc")],
    "root with slashes is a link": [member(".//./", tarfile.SYMTYPE, linkname="/etc")],
    "locks are a link": [member("./buildah-cache-lockfiles", tarfile.SYMTYPE, linkname="/etc")],
    "parent is a link": [
        FOLDER,
        member(f"{ID}/a", tarfile.SYMTYPE, linkname="/tmp"),
        member(f"{ID}/a/b"),
    ],
    "parent is a file": [FOLDER, member(f"{ID}/a"), member(f"{ID}/a/b")],
    "no parent": [member(f"{ID}/a")],
    "out": [FOLDER, member(f"{ID}/../../x")],
    "out at once": [member("../x", tarfile.DIRTYPE)],
    "absolute": [FOLDER, member("/etc/x")],
    "hard link out": [FOLDER, member(f"{ID}/a", tarfile.LNKTYPE, linkname="/etc/passwd")],
    "hard link up": [FOLDER, member(f"{ID}/a", tarfile.LNKTYPE, linkname=f"{ID}/../../x")],
    "hard link to a link": [
        FOLDER,
        member(f"{ID}/a", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(f"{ID}/b", tarfile.LNKTYPE, linkname=f"{ID}/a"),
    ],
    "character device": [FOLDER, member(f"{ID}/a", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [FOLDER, member(f"{ID}/a", tarfile.BLKTYPE, devmajor=8)],
    "pipe": [FOLDER, member(f"{ID}/a", tarfile.FIFOTYPE)],
    "setuid": [FOLDER, member(f"{ID}/a", mode=0o4755)],
    "setgid": [FOLDER, member(f"{ID}/a", mode=0o2755)],
    "setuid hard link": [
        FOLDER,
        member(f"{ID}/a"),
        member(f"{ID}/b", tarfile.LNKTYPE, linkname=f"{ID}/a", mode=0o4755),
    ],
    "capability": [
        FOLDER,
        member(f"{ID}/a", pax_headers={"SCHILY.xattr.security.capability": "x"}),
    ],
    "acl": [FOLDER, member(f"{ID}/a", pax_headers={"SCHILY.acl.access": "x"})],
    "path in a pax header": [FOLDER, member("fine", pax_headers={"path": "../../x"})],
    "sparse": [FOLDER, member(f"{ID}/a", tarfile.GNUTYPE_SPARSE)],
    "sparse in pax": [FOLDER, member(f"{ID}/a", pax_headers={"GNU.sparse.major": "1"})],
    "long header": [FOLDER, member(f"{ID}/a", pax_headers={"comment": "x" * (2 << 20)})],
    "twice": [FOLDER, member(f"{ID}/a"), member(f"{ID}/a")],
    "file where a link is": [
        FOLDER,
        member(f"{ID}/a", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(f"{ID}/./a"),
    ],
    "unknown type": [FOLDER, member(f"{ID}/a", b"V")],
}


@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_reach_the_host_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    packed = archive(tmp_path / "packed", *members)
    with pytest.raises(VerificationError):
        rewrite(packed, tmp_path / "clean.tar")


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_caches_hold_is_kept(tmp_path: Path, format: int) -> None:  # noqa: A002
    long = f"./{ID}/" + "/".join(["d" * 60] * 2)
    folder = unpacked(
        tmp_path,
        member("./", tarfile.DIRTYPE),
        member(f"./{ID}", tarfile.DIRTYPE, mode=0o2755),
        member(f"./{ID}/file", size=700, mtime=1234567),
        member(f"./{ID}/same", tarfile.LNKTYPE, linkname=f"./{ID}/file", mtime=1234567),
        member(f"./{ID}/link", tarfile.SYMTYPE, linkname="/usr/bin/python3"),
        member(f"./{ID}/d{'d' * 59}", tarfile.DIRTYPE),
        member(long, mode=0o755, size=3),
        member("./buildah-cache-lockfiles", tarfile.DIRTYPE),
        member("./buildah-cache-lockfiles/x", tarfile.SYMTYPE, linkname="/etc/passwd"),
        format=format,
    )
    assert [path.name for path in folder.iterdir()] == [ID]
    file = folder / ID / "file"
    assert (file.read_bytes(), file.stat().st_mtime) == (b"x" * 700, 1234567)
    assert (folder / ID / "same").samefile(file)
    assert (folder / ID / "link").readlink() == Path("/usr/bin/python3")
    assert (folder / long).stat().st_mode & 0o777 == 0o755


def test_odd_names_and_long_links_are_kept(tmp_path: Path) -> None:
    names = ("n\nl", "ü", "\udcff", " ", "a|b", "x" * 200)
    members = [member(f"{ID}/{name}", size=1) for name in names]
    far = member(f"{ID}/far", tarfile.SYMTYPE, linkname="y" * 300)
    folder = unpacked(tmp_path, FOLDER, *members, far)
    assert {path.name for path in (folder / ID).iterdir()} == {*names, "far"}
    assert (folder / ID / "far").readlink() == Path("y" * 300)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_bytes_that_come_out_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(mount_archive, "LARGEST", 1 << 20)
    packed = archive(
        tmp_path / "packed",
        FOLDER,
        *(member(f"{ID}/{n}", size=size // 2 + n * (size % 2)) for n in range(2)),
    )
    if size == 1 << 20:
        rewrite(packed, tmp_path / "clean")
    else:
        with pytest.raises(VerificationError, match="more than"):
            rewrite(packed, tmp_path / "clean")


def test_two_megabytes_do_not_become_two_gigabytes(tmp_path: Path) -> None:
    """One member that says that it is small, zeros without end, and a header that lies."""
    header = member(f"{ID}/a", size=7 << 30).tobuf(tarfile.GNU_FORMAT)
    packed = tmp_path / "packed"
    with gzip.open(packed, "wb", compresslevel=1) as target:
        target.write(FOLDER.tobuf())
        target.write(header)
    with pytest.raises(VerificationError, match="more than 2048 MiB"):
        rewrite(packed, tmp_path / "clean")


def test_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_archive, "MOST_ENTRIES", 10)
    packed = archive(tmp_path / "packed", FOLDER, *(member(f"{ID}/{n}") for n in range(10)))
    with pytest.raises(VerificationError, match="more than 10 files"):
        rewrite(packed, tmp_path / "clean")


@settings(max_examples=150, deadline=None)
@given(where=st.integers(0, 4 * 512), byte=st.integers(0, 255), cut=st.integers(0, 6 * 512))
def test_broken_archives_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, where: int, byte: int, cut: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("broken")
    data = bytearray(
        gzip.decompress(archive(tmp_path / "good", FOLDER, member(f"{ID}/a", size=9)).read_bytes())
    )
    data[where] = byte
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(bytes(data[:-cut] if cut else data), 1))
    try:
        rewrite(packed, tmp_path / "clean")
    except VerificationError:
        pass
    finally:
        shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 60])
def test_what_is_no_gzip_is_refused(tmp_path: Path, kept: int) -> None:
    packed = archive(tmp_path / "packed", FOLDER, member(f"{ID}/a", size=100_000))
    packed.write_bytes(packed.read_bytes()[:kept] or b"no gzip")
    with pytest.raises(VerificationError):
        rewrite(packed, tmp_path / "clean")
