from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from podbuild.errors import DeadlineError
from podbuild.system.cancel import Cancel
from podbuild.system.folders import Folders
from podbuild.system.locks import Holder, Purpose, project_lock, supersede


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(cache=tmp_path / "cache", state=tmp_path / "state", runtime=tmp_path / "run")
    for folder in (made.cache, made.state, made.runtime):
        folder.mkdir(mode=0o700)
    return made


def release(name: str) -> Holder:
    return Holder(work=Purpose.RELEASE, name=name, pid=os.getpid())


def snapshot(branch: str, pid: int) -> Holder:
    return Holder(work=Purpose.SNAPSHOT, name=branch, pid=pid)


def test_a_second_release_hears_who_holds_the_lock_and_goes_on_when_it_is_free(
    folders: Folders, tmp_path: Path
) -> None:
    order: list[str] = []
    heard: list[Holder | None] = []
    waiting = threading.Event()

    def on_wait(holder: Holder | None) -> None:
        heard.append(holder)
        waiting.set()

    def second() -> None:
        with project_lock(folders, tmp_path, release("2.0.0"), cancel=Cancel(), on_wait=on_wait):
            order.append("second")

    thread = threading.Thread(target=second)
    with project_lock(folders, tmp_path, release("1.0.0"), cancel=Cancel(), on_wait=heard.append):
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert heard == [release("1.0.0")]


def test_two_projects_do_not_wait_for_each_other(folders: Folders, tmp_path: Path) -> None:
    entered: list[Holder | None] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        project_lock(
            folders, tmp_path / "one", release("1.0.0"), cancel=Cancel(), on_wait=entered.append
        ),
        project_lock(
            folders, tmp_path / "two", release("1.0.0"), cancel=Cancel(), on_wait=entered.append
        ),
    ):
        pass
    assert entered == []


def test_waiting_ends_with_the_time_given(folders: Folders, tmp_path: Path) -> None:
    with (
        project_lock(folders, tmp_path, release("1.0.0"), cancel=Cancel(), on_wait=lambda _: None),
        pytest.raises(DeadlineError),
        project_lock(
            folders, tmp_path, release("2.0.0"), cancel=Cancel(0.3), on_wait=lambda _: None
        ),
    ):
        pass


def test_a_lock_file_full_of_junk_is_no_holder(folders: Folders, tmp_path: Path) -> None:
    with project_lock(folders, tmp_path, release("1.0.0"), cancel=Cancel(), on_wait=lambda _: None):
        (lock,) = (folders.state / "locks").iterdir()
        lock.write_bytes(b"\xff junk")
        heard: list[Holder | None] = []
        with (
            pytest.raises(DeadlineError),
            project_lock(
                folders, tmp_path, release("2.0.0"), cancel=Cancel(0.1), on_wait=heard.append
            ),
        ):
            pass
        assert heard == [None]


@pytest.mark.parametrize(
    ("holder", "newcomer"),
    [
        (release("1.0.0"), snapshot("main", 1)),
        (snapshot("main", 1), release("1.0.0")),
        (snapshot("main", 1), snapshot("other", 2)),
        (None, snapshot("main", 2)),
    ],
)
def test_only_an_older_snapshot_of_the_same_branch_is_superseded(
    holder: Holder | None, newcomer: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: killed.append(pid))
    assert not supersede(holder, newcomer)
    assert killed == []


def test_an_older_snapshot_of_the_same_branch_is_asked_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    assert supersede(snapshot("main", 41), snapshot("main", 42))
    assert killed == [(41, signal.SIGTERM)]
