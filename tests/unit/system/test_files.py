from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podbuild.config.toml import parse_toml, read_config, read_source, shown
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.transport.http import read_authorities
from podbuild.plan.journal import read_journal
from podbuild.report.json import read_lock
from podbuild.system.files import (
    link_whole,
    open_in_place,
    read_plain,
    write_atomically,
    write_whole,
)


def test_a_file_in_the_place_of_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("mine")
    path = tmp_path / "dist" / "logs" / "state.json"
    assert read_journal(path) is None
    with pytest.raises(ConfigError, match="/dist: is a file, no folder"):
        write_atomically(path, b"{}")
    assert (tmp_path / "dist").read_text() == "mine"


def test_a_path_is_shown_also_where_the_present_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shown(tmp_path / "podbuild.toml") == f"{tmp_path}/podbuild.toml"


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


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def huge(path: Path) -> Path:
    path.touch()
    os.truncate(path, 1 << 40)
    return path


def layout_with(path: Path) -> None:
    layout = LayoutStore(path.parent)
    (path.parent / "index.json").unlink(missing_ok=True)
    path.rename(path.parent / "index.json")
    layout.entries()


READERS: dict[str, Callable[[Path], object]] = {
    "containerfile": read_source,
    "configuration": read_config,
    "journal": read_journal,
    "lock": read_lock,
    "authority": lambda path: read_authorities((path,)),
    "layout": layout_with,
}


@pytest.mark.parametrize("make", [pipe, device, folder, huge])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_plain_file_is_refused_and_not_waited_for(
    reader: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(PodbuildError) as caught:
        READERS[reader](make(tmp_path / "file"))
    assert caught.value.exit_code in (2, 7)
    assert "\n" not in caught.value.message
    with pytest.raises(OSError, match=r"plain file|directory|KiB"):
        read_plain(make(tmp_path / "other"))


def test_a_file_as_long_as_it_may_be_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_plain(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="KiB"):
        read_plain(tmp_path / "file", 4)


@pytest.mark.parametrize(
    "key",
    [".".join("a" * 20_000), '"a".' * 20_000 + '"a"', "a . " * 20_000 + "a", "a." * 101 + "a"],
)
@pytest.mark.parametrize("form", ["{} = 1\n", "[{}]\n", "x = {{ {} = 1 }}\n"])
def test_a_key_of_a_thousand_parts_is_no_key(key: str, form: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than 100 parts"):
        parse_toml(form.format(key), tmp_path / "podbuild.toml")
