from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podbuild.errors import ConfigError
from podbuild.system.folders import Folders, find_folders, usable, without_closed_homes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def found(tmp_path: Path, **environment: str) -> Folders:
    return find_folders(environment, tmp_path / "dist")


def test_xdg_says_where(tmp_path: Path, home: Path) -> None:
    folders = found(
        tmp_path,
        HOME=str(home),
        XDG_CACHE_HOME=str(tmp_path / "c"),
        XDG_STATE_HOME=str(tmp_path / "s"),
        XDG_RUNTIME_DIR=str(tmp_path / "r"),
    )
    assert folders.cache == tmp_path / "c" / "podbuild"
    assert folders.state == tmp_path / "s" / "podbuild"
    assert folders.runtime == tmp_path / "r" / "podbuild"
    assert list(home.iterdir()) == []


def test_home_is_next(tmp_path: Path, home: Path) -> None:
    folders = found(tmp_path, HOME=str(home))
    assert folders.cache == home / ".cache" / "podbuild"
    assert folders.state == home / ".local" / "state" / "podbuild"


@pytest.mark.parametrize("value", ["", "relative/path", "."])
def test_empty_or_relative_folders_are_ignored(tmp_path: Path, home: Path, value: str) -> None:
    folders = found(tmp_path, HOME=str(home), XDG_CACHE_HOME=value)
    assert folders.cache == home / ".cache" / "podbuild"


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "somewhere"}])
def test_without_a_home_the_project_serves(tmp_path: Path, environment: dict[str, str]) -> None:
    folders = found(tmp_path, **environment)
    assert folders.cache == tmp_path / "dist" / ".podbuild" / "cache"
    assert folders.state == tmp_path / "dist" / ".podbuild" / "state"


def test_missing_home_is_not_made(tmp_path: Path) -> None:
    folders = found(tmp_path, HOME=str(tmp_path / "gone"))
    assert folders.cache.is_relative_to(tmp_path / "dist")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("broken", ["file", "dangling link", "link to itself"])
def test_place_that_can_not_be_a_folder_is_passed_over(
    tmp_path: Path, home: Path, broken: str
) -> None:
    if broken == "file":
        (home / ".cache").write_text("")
    elif broken == "link to itself":
        (home / ".cache").symlink_to(home / ".cache")
    else:
        (home / ".cache").symlink_to(tmp_path / "nowhere" / "at" / "all")
    assert found(tmp_path, HOME=str(home)).cache.is_relative_to(tmp_path / "dist")


def test_read_only_home_is_passed_over(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(path: Path, mode: int = 0o777, **options: bool) -> None:
        if path.is_relative_to(home):  # as for root, whom modes don't stop
            raise OSError(30, "Read-only file system", str(path))
        real(path, mode, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert found(tmp_path, HOME=str(home)).cache.is_relative_to(tmp_path / "dist")


def test_folder_of_another_user_is_not_used(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.geteuid() + 1
    (home / ".cache" / "podbuild").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(ConfigError, match="no writable folder"):
        found(tmp_path, HOME=str(home))


def test_own_link_to_another_disk_is_followed(tmp_path: Path, home: Path) -> None:
    disk = tmp_path / "big disk"
    disk.mkdir()
    (home / ".cache").mkdir()
    (home / ".cache" / "podbuild").symlink_to(disk)
    assert found(tmp_path, HOME=str(home)).cache == disk


def test_folders_are_private_whatever_the_umask(tmp_path: Path, home: Path) -> None:
    (home / ".cache" / "podbuild").mkdir(parents=True, mode=0o755)
    before = os.umask(0)
    try:
        folders = found(tmp_path, HOME=str(home), XDG_RUNTIME_DIR=str(tmp_path / "run"))
    finally:
        os.umask(before)
    for folder in (folders.cache, folders.state, folders.runtime):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []


def test_nothing_writable_at_all_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("a file")
    with pytest.raises(ConfigError, match="no writable folder") as caught:
        found(tmp_path, HOME=str(tmp_path / "dist"))
    assert caught.value.exit_code == 2
    assert "HOME" in caught.value.hint


def test_folder_that_engines_can_not_name_is_passed_over(tmp_path: Path, home: Path) -> None:
    cache = tmp_path / "10:30"
    cache.mkdir()
    assert found(tmp_path, HOME=str(home), XDG_CACHE_HOME=str(cache)).cache.is_relative_to(home)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME"])
def test_home_that_is_closed_to_this_user_is_none(tmp_path: Path, name: str) -> None:
    closed, loop = tmp_path / "closed", tmp_path / "loop"
    closed.mkdir(mode=0o000)
    loop.symlink_to(loop)  # closed to root too
    for folder in (loop, loop / "sub", *((closed,) if os.geteuid() else ())):
        assert without_closed_homes({name: str(folder), "USER": "ci"}) == {"USER": "ci"}


@pytest.mark.parametrize("folder", ["", "gone", "/proc", "/etc/passwd"])
def test_home_that_says_there_is_none_stays(folder: str) -> None:
    assert without_closed_homes({"HOME": folder}) == {"HOME": folder}


def test_threads_that_ask_at_once_all_may_use_a_folder(tmp_path: Path) -> None:
    """As two builders do that are connected to at the same time."""
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: usable(tmp_path), range(2000)))
