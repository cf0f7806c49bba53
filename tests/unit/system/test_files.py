from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.system.files import link_whole, open_in_place, write_atomically, write_whole


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


def test_a_link_takes_the_place_of_what_is_there_or_fails_and_leaves_it(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("mine")
    for _ in range(2):  # the second time it is the same file
        link_whole(source, target)
        assert target.samefile(source)
    target.unlink()
    target.write_text("theirs")
    link_whole(source, target)
    assert target.read_text() == "mine"
    with pytest.raises(OSError, match="No such file"):
        link_whole(tmp_path / "missing", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


@pytest.mark.parametrize("lasting", [True, False])
def test_what_breaks_off_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path, *, lasting: bool
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    target = tmp_path / "target"
    write_whole(target, [b"o", b"ld"], lasting=lasting)
    with pytest.raises(KeyboardInterrupt):
        write_whole(target, pieces(), lasting=lasting)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("target", "old")]
    assert target.stat().st_mode & 0o777 == 0o644
