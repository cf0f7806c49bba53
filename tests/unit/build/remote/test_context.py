"""What is sent to a builder: the hashed files, as a build on this machine sees them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.reach import EVERYTHING
from podbuild.build.remote.context import ROOT, Packed, SentFile, multipart
from podbuild.errors import ConfigError


def unpacked(packed: Packed) -> dict[str, tarfile.TarInfo]:
    data = io.BytesIO(b"".join(packed.chunks()))
    with tarfile.open(fileobj=data) as archive:
        return {entry.name: entry for entry in archive}


def packed(folder: Path, *left_out: str) -> Packed:
    reach = Contents().sent(folder, Matcher(left_out), EVERYTHING).reach
    return Packed(folder=folder, reach=reach)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dir/empty").mkdir(parents=True)
    (tmp_path / "dir").chmod(0o1750)
    (tmp_path / "dir/program").write_text("#!")
    (tmp_path / "dir/program").chmod(0o4755)
    os.link(tmp_path / "dir/program", tmp_path / "again")
    (tmp_path / "link").symlink_to("no/where")
    (tmp_path / "left").write_text("out")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / ("n" * 120)).write_text("long")
    (tmp_path / os.fsdecode(b"b\xffd")).write_text("bytes")
    return tmp_path


def test_exactly_what_is_reached_is_sent(folder: Path) -> None:
    found = unpacked(packed(folder, "left"))
    names = {"again", "dir", "dir/empty", "dir/program", "fifo", "link", "n" * 120, "b\udcffd"}
    assert found.keys() == names
    modes = {name: oct(found[name].mode) for name in ("dir", "again")}
    assert modes == {"dir": "0o1750", "again": "0o4755"}
    assert {(entry.uid, entry.gid, entry.uname) for entry in found.values()} == {(0, 0, "")}
    assert found["dir/program"].islnk()
    assert (found["dir/program"].linkname, found["link"].linkname) == ("again", "no/where")
    assert (found["fifo"].isfifo(), found["dir/empty"].isdir()) == (True, True)


def test_the_folder_itself_is_sent_where_it_is_seen(folder: Path) -> None:
    folder.chmod(0o751)
    shown = Packed(folder=folder, reach=packed(folder).reach, root=ROOT)
    assert oct(unpacked(shown)[ROOT].mode) == "0o751"


def test_files_of_no_folder_have_the_mode_and_owner_that_they_are_given() -> None:
    secret = SentFile(name="value", data=b"x" * 513, mode=0o400, uid=7, gid=8)
    (entry,) = unpacked(Packed(extras=(secret,))).values()
    assert (entry.mode, entry.uid, entry.gid, entry.size) == (0o400, 7, 8, 513)


def test_a_file_that_becomes_shorter_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = os.lstat

    def longer(path: str) -> os.stat_result:
        facts = list(seen(path))
        facts[6] += 1
        return os.stat_result(facts)

    sent = packed(folder, "again", "dir")
    monkeypatch.setattr(os, "lstat", longer)
    with pytest.raises(ConfigError, match="became shorter"):
        b"".join(sent.chunks())


def test_several_contexts_are_parts_of_a_form(folder: Path) -> None:
    body = b"".join(multipart([("MainContext", packed(folder)), ("x", Packed())], "mark"))
    assert body.count(b"--mark\r\n") == 2
    assert b'name="MainContext"' in body
    assert body.endswith(b"--mark--\r\n")
