from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Content, Contents
from podbuild.build.inputs.ignore import Matcher, own_patterns
from podbuild.build.inputs.reach import Wanted
from podbuild.errors import ConfigError

EVERYTHING = Matcher((".git",))


def read(folder: Path, *patterns: str) -> Content:
    return Contents().of(folder, Matcher(patterns or EVERYTHING.patterns))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "context"
    (found / "src").mkdir(parents=True)
    (found / "src" / "main.py").write_text("print()")
    (found / "src" / "run").write_text("run")
    (found / "src" / "link").symlink_to("main.py")
    return found


def append(path: Path) -> None:
    path.write_text(path.read_text() + "x")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: append(folder / "src" / "main.py"),
    "mode of a file": lambda folder: (folder / "src" / "run").chmod(0o755),
    "mode of a folder": lambda folder: (folder / "src").chmod(0o700),
    "a new file": lambda folder: (folder / "new").touch(),
    "a new folder": lambda folder: (folder / "new").mkdir(),
    "a name": lambda folder: (folder / "src" / "run").rename(folder / "src" / "walk"),
    "a file less": lambda folder: (folder / "src" / "run").unlink(),
    "where a link goes": lambda folder: relink(folder / "src" / "link"),
    "a link becomes a file": lambda folder: unlinked(folder / "src" / "link"),
}


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("run")


def unlinked(path: Path) -> None:
    path.unlink()
    path.write_text("main.py")


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_layer_could_show_is_in_the_digest(folder: Path, change: str) -> None:
    before = read(folder)
    CHANGES[change](folder)
    assert read(folder).digest != before.digest


def test_times_places_and_ignored_files_are_not_in_the_digest(folder: Path) -> None:
    before = read(folder, "ignored", ".git")
    os.utime(folder / "src" / "main.py", (1, 1))
    (folder / "ignored").mkdir()
    (folder / "ignored" / "file").touch()
    (folder / ".git").mkdir()
    moved = folder.rename(folder.with_name("elsewhere"))
    assert read(moved, "ignored", ".git") == before


def test_a_server_that_runs_in_the_context_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(folder)
    monkeypatch.chdir(folder)  # the name of a socket has about a hundred characters at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("server.sock")
        assert read(folder) == before


def test_large_files_are_in_the_digest_by_their_names_and_bytes(folder: Path) -> None:
    """They are read by several threads at a time."""
    bodies = [bytes([number]) * 300_000 for number in range(5)]
    for number, body in enumerate(bodies):
        (folder / f"large-{number}").write_bytes(body)
    before = read(folder)
    assert read(folder).digest == before.digest
    (folder / "large-3").write_bytes(bodies[4])
    (folder / "large-4").write_bytes(bodies[3])
    assert read(folder).digest != before.digest
    (folder / "large-3").write_bytes(bodies[3])
    (folder / "large-4").write_bytes(bodies[4])
    assert read(folder).digest == before.digest


def test_size_and_number_of_files_are_told(folder: Path) -> None:
    found = read(folder)
    assert (found.files, found.size) == (2, len("print()") + len("run"))


def test_git_is_told_and_not_walked(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("one")
    before = read(folder, "nothing")
    (folder / ".git" / "HEAD").write_text("two")
    assert before.has_git
    assert read(folder, "nothing") == before


def test_links_that_lead_nowhere_are_told_as_they_are(folder: Path) -> None:
    for name, target in (("loop", "loop"), ("there", "back"), ("back", "there"), ("out", "../..")):
        (folder / name).symlink_to(target)
    before = read(folder)
    (folder / "loop").unlink()
    (folder / "loop").symlink_to("there")
    assert read(folder).digest != before.digest


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "gone").symlink_to("nowhere")
    assert read(folder).files == 2  # a link to nothing can be sent
    with pytest.raises(ConfigError, match="no such folder"):
        read(folder / "missing")


def test_what_was_read_before_is_trusted_while_nothing_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = folder.parent / "kept"
    everything = Matcher(())
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    secret = folder / "src" / "main.py"
    os.utime(secret, (1, 1))  # or the change below may fall in the same tick of the clock
    contents = Contents(kept)
    before = contents.of(folder, everything)
    contents.save()
    damaged = kept.read_text().replace(hashlib.sha256(b"print()").hexdigest(), "trusted")
    kept.write_text(damaged)
    assert Contents(kept).of(folder, everything) != before  # it was not read again
    secret.write_text("PRINT()")
    assert Contents(kept).of(folder, everything) == read(folder, "nothing")  # now it was


def test_a_file_that_has_just_changed_is_not_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = folder.parent / "kept"
    just_now = (folder / "src" / "main.py").stat().st_ctime_ns + 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: just_now)
    contents = Contents(kept)
    contents.of(folder, Matcher(()))
    contents.save()
    assert not kept.exists() or "main.py" not in kept.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2, "files": {}}', '{"schema": 1}'])
def test_a_record_that_is_broken_is_no_record(folder: Path, text: str) -> None:
    kept = folder.parent / "kept"
    kept.write_text(text)
    assert Contents(kept).of(folder, Matcher(())) == read(folder, "nothing")


def test_the_output_folder_is_sent_for_the_files_of_others_alone(folder: Path) -> None:
    """A fresh clone has none, and the same image; what a run writes meanwhile reaches no engine."""
    output = folder / "out" / "[x]"
    (folder / "out").mkdir()
    matcher = Matcher(own_patterns(folder, output))
    fresh = read(folder, *matcher.patterns)
    assert sent_names(folder, matcher) == ("out/[x]",)
    (output / "logs").mkdir(parents=True)
    (output / "plan.json").write_text('{"schema": 1}')
    assert read(folder, *matcher.patterns) == fresh
    assert sent_names(folder, matcher) == ("out/[x]",)
    (output / "app.js").touch()
    assert read(folder, *matcher.patterns).files == fresh.files + 1
    left_out = set(sent_names(folder, matcher))
    assert {f"out/[x]/{name}" for name in ("logs", "plan.json", "state.json")} <= left_out
    assert not {"out/[x]", "out/[x]/app.js"} & left_out
    here = Matcher(own_patterns(output, output))
    assert {"logs", "plan.json", "state.json"} <= set(sent_names(output, here))
    assert sent_names(folder, matcher, "src") == ()


def sent_names(folder: Path, matcher: Matcher, source: str = "/") -> tuple[str, ...]:
    names = Contents().sent(folder, matcher, (Wanted(sources=(source,)),)).names
    assert names is not None
    return names
