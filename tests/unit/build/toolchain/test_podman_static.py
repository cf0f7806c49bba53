"""Archives that try to leave their folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from podbuild.build.toolchain.podman_static import unpack_tar
from podbuild.errors import ToolError


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o755
) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    found.uid = found.gid = 1001
    return found


def packed(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for found in entries:
            found.size = 4 if found.isfile() else 0
            tar.addfile(found, io.BytesIO(b"data"))
    return path


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_folders_and_links_that_stay_inside_are_unpacked(
    tmp_path: Path, inside: Path
) -> None:
    archive = packed(
        tmp_path / "a.tar.gz",
        entry("top", tarfile.DIRTYPE),
        entry("top/bin/tool", mode=0o4755),
        entry("top/share/text", mode=0o666),
        entry("top/lib", tarfile.SYMTYPE, "./bin"),
        entry("top/hard", tarfile.LNKTYPE, "top/bin/tool"),
        entry("./top/lib/more"),
    )
    unpack_tar(archive, inside)
    assert (inside / "top/bin/more").read_text() == "data"
    assert (inside / "top/hard").samefile(inside / "top/bin/tool")
    assert (inside / "top/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (inside / "top/share/text").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize(
    "bad",
    [
        entry("../outside"),
        entry("top/../../outside"),
        entry("/outside"),
        entry("link", tarfile.SYMTYPE, ".."),
        entry("link", tarfile.SYMTYPE, "../outside"),
        entry("link", tarfile.SYMTYPE, "/etc"),
        entry("hard", tarfile.LNKTYPE, "../outside"),
        entry("hard", tarfile.LNKTYPE, "/etc/passwd"),
        entry("device", tarfile.CHRTYPE),
        entry("block", tarfile.BLKTYPE),
        entry("pipe", tarfile.FIFOTYPE),
        entry(".."),
    ],
    ids=lambda bad: f"{bad.name} {bad.linkname}".strip(),
)
def test_what_would_leave_the_folder_is_refused(
    tmp_path: Path, inside: Path, bad: tarfile.TarInfo
) -> None:
    (tmp_path / "outside").write_text("mine")
    with pytest.raises(ToolError, match="refused") as caught:
        unpack_tar(packed(tmp_path / "a.tar.gz", bad), inside)
    assert "nothing was installed" in caught.value.hint
    assert names(inside) == []
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_link_to_outside_can_not_be_written_through_in_two_steps(
    tmp_path: Path, inside: Path
) -> None:
    (inside / "way").symlink_to("..")  # as if it had come by other means
    with pytest.raises(ToolError, match="leaves the folder"):
        unpack_tar(packed(tmp_path / "a.tar.gz", entry("way/outside")), inside)
    assert not (tmp_path / "outside").exists()


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, inside: Path) -> None:
    with pytest.raises(ToolError, match="is there twice"):
        unpack_tar(packed(tmp_path / "a.tar.gz", entry("tool"), entry("tool")), inside)


def test_a_damaged_archive_is_an_error_of_one_line(tmp_path: Path, inside: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", entry("tool"))
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(ToolError, match=r"a\.tar\.gz: can't be unpacked") as caught:
        unpack_tar(archive, inside)
    assert "\n" not in caught.value.message
