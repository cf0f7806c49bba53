from __future__ import annotations

import os
from pathlib import Path

import pytest

from podbuild.system.files import open_in_place, write_atomically, write_whole


def test_nobody_can_guess_the_name_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    """The old name, made of the process id, is a link of somebody else's."""
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    place = tmp_path / "dist"
    place.mkdir()
    (place / f".plan.json.{os.getpid()}.part").symlink_to(theirs)
    write_atomically(place / "plan.json", b"mine")
    write_whole(place / "other", [b"mine"])
    assert (place / "plan.json").read_bytes() == b"mine"
    assert theirs.read_text() == "theirs"


def test_file_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.write_text("theirs")
    mine.symlink_to(theirs)
    with pytest.raises(OSError, match="symbolic links"):
        open_in_place(mine)
    write_atomically(mine, b"mine")
    assert (theirs.read_text(), mine.read_bytes()) == ("theirs", b"mine")
    assert not mine.is_symlink()
