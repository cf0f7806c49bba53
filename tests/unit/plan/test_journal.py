from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.errors import BuildError, ConfigError
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.plan.journal import (
    Binding,
    ImageKey,
    Journal,
    Section,
    TagKey,
    open_journal,
    recorded_tags,
    restart,
)
from podbuild.system.files import write_atomically
from podbuild.system.records import JSONValue

FIRST = Binding(release="1.2.3", commit="a" * 40, configuration="c1", toolchain="buildah 1.43")
OTHER = Binding(release="1.3.0", commit="b" * 40, configuration="c1", toolchain="buildah 1.43")
DIGEST = Digest.of(b"image")
IMAGE = Manifest(MediaType.OCI_MANIFEST, b'{"schemaVersion":2}')


class Killed(BaseException):
    """What a kill -9 is to the code that it hits: nothing after it runs."""


def begun(folder: Path, binding: Binding = FIRST) -> Journal:
    journal = open_journal(folder, binding).journal
    journal.record(Section.BUILT, "web", str(DIGEST))
    return journal


def again(folder: Path, binding: Binding = FIRST) -> Journal:
    return open_journal(folder, binding).journal


def test_what_was_recorded_is_there_after_a_restart(tmp_path: Path) -> None:
    begun(tmp_path)
    found = open_journal(tmp_path, FIRST)
    assert found.started_anew == ""
    assert found.journal.digest(Section.BUILT, "web") == DIGEST
    assert found.journal.digest(Section.BUILT, "api") is None


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    begun(tmp_path / "dist" / "deep")
    assert again(tmp_path / "dist" / "deep").digest(Section.BUILT, "web") == DIGEST


def test_what_was_forgotten_stays_forgotten(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.forget(Section.BUILT, "web")
    journal.forget(Section.BUILT, "never there")
    assert again(tmp_path).is_empty


@given(st.binary(max_size=200), st.sampled_from(MediaType))
def test_manifest_comes_back_byte_by_byte(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: MediaType
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    again(folder).keep_manifest(Section.BEFORE, "tag", Manifest(kind, data))
    assert again(folder).manifest(Section.BEFORE, "tag") == Manifest(kind, data)


def test_that_nothing_was_there_is_remembered_too(tmp_path: Path) -> None:
    journal = again(tmp_path)
    assert journal.get(Section.BEFORE, "tag") is None
    journal.keep_manifest(Section.BEFORE, "tag", None)
    assert again(tmp_path).get(Section.BEFORE, "tag") is not None
    assert again(tmp_path).manifest(Section.BEFORE, "tag") is None


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_kill_in_the_middle_of_a_write_leaves_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    journal = begun(tmp_path)

    def killed(*_: object) -> None:
        raise Killed

    if call == "replace":
        monkeypatch.setattr(Path, "replace", killed)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", killed)
    else:
        monkeypatch.setattr("podbuild.system.files._write_synced", lambda path, *_: torn(path))

    def torn(path: Path) -> None:
        path.write_bytes(b'{"schema": 1, "bind')
        raise Killed

    with pytest.raises(Killed):
        journal.record(Section.BUILT, "api", str(DIGEST))
    monkeypatch.undo()
    found = again(tmp_path)
    assert found.digest(Section.BUILT, "web") == DIGEST
    assert found.digest(Section.BUILT, "api") is None
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"schema": 1}',
        b"[" * 100_000,
        b'{"schema": 99, "binding": {}, "finished": false}',
        json.dumps(
            {
                "schema": 1,
                "binding": {
                    "release": "1.2.3", "commit": "", "configuration": "", "toolchain": ""
                },
                "finished": False,
                "moved": ["a list"],
            }
        ).encode(),
    ],
)  # fmt: skip
def test_damaged_journal_is_named_and_can_be_forgotten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"state\.json: not a journal") as caught:
        open_journal(tmp_path, FIRST)
    assert "--restart" in caught.value.hint
    restart(tmp_path, FIRST).record(Section.BUILT, "web", str(DIGEST))
    assert again(tmp_path).digest(Section.BUILT, "web") == DIGEST


def test_folder_in_the_journals_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(ConfigError, match="not a journal"):
        open_journal(tmp_path, FIRST)


@pytest.mark.parametrize("value", ["sha256:short", "latest"])
def test_damaged_digest_is_a_damaged_journal(tmp_path: Path, value: str) -> None:
    journal = again(tmp_path)
    journal.record(Section.BUILT, "web", value)
    with pytest.raises(ConfigError, match="not a journal"):
        again(tmp_path).digest(Section.BUILT, "web")


def test_damaged_manifest_is_a_damaged_journal(tmp_path: Path) -> None:
    broken: JSONValue = {"mediaType": MediaType.OCI_INDEX, "data": "no base64"}
    again(tmp_path).record(Section.BEFORE, "tag", broken)
    with pytest.raises(ConfigError, match="not a journal"):
        again(tmp_path).manifest(Section.BEFORE, "tag")


def test_another_release_is_put_aside_and_taken_up_again(tmp_path: Path) -> None:
    begun(tmp_path, FIRST)
    other = begun(tmp_path, OTHER)
    other.record(Section.BUILT, "api", str(DIGEST))
    assert (tmp_path / "state-1.2.3.json").exists()
    first = open_journal(tmp_path, FIRST)
    assert first.started_anew == ""
    assert first.journal.digest(Section.BUILT, "web") == DIGEST
    assert first.journal.digest(Section.BUILT, "api") is None
    assert (tmp_path / "state-1.3.0.json").exists()
    assert not (tmp_path / "state-1.2.3.json").exists()
    assert again(tmp_path, OTHER).digest(Section.BUILT, "api") == DIGEST


def test_finished_release_is_not_put_aside(tmp_path: Path) -> None:
    begun(tmp_path, FIRST).finish()
    begun(tmp_path, OTHER)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert again(tmp_path, FIRST).is_empty


def test_branches_whose_names_look_alike_are_kept_apart(tmp_path: Path) -> None:
    slash = Binding(release="feature/x", commit="1", configuration="", toolchain="")
    dash = Binding(release="feature-x", commit="2", configuration="", toolchain="")
    begun(tmp_path, slash).record(Section.MOVED, "tag", str(DIGEST))
    begun(tmp_path, OTHER)
    assert open_journal(tmp_path, dash).journal.is_empty
    assert not again(tmp_path, slash).is_empty


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("commit", f"commit {'a' * 40} -> {'f' * 40}"),
        ("configuration", "configuration c1 -> c2"),
        ("toolchain", "toolchain buildah 1.43 -> buildah 1.44"),
    ],
)
def test_what_changed_is_explained_and_nothing_is_taken_over(
    tmp_path: Path, field: str, text: str
) -> None:
    begun(tmp_path)
    values = {"commit": "f" * 40, "configuration": "c2", "toolchain": "buildah 1.44"}
    changed = {**vars(FIRST), field: values[field]}
    found = open_journal(tmp_path, Binding(**changed))
    assert found.started_anew == text
    assert found.journal.is_empty


def test_digests_say_nothing_to_people() -> None:
    first = replace(FIRST, configuration=f"sha256:{'a' * 64}")
    other = replace(first, configuration=f"sha256:{'b' * 64}")
    assert first.differences(other) == ("another configuration",)


def test_changed_release_that_has_moved_tags_already_is_refused(tmp_path: Path) -> None:
    begun(tmp_path).record(Section.MOVED, "ghcr/web:1.2.3", str(DIGEST))
    changed = Binding(**{**vars(FIRST), "commit": "f" * 40})
    with pytest.raises(ConfigError, match="has moved tags already") as caught:
        open_journal(tmp_path, changed)
    assert "--restart" in caught.value.hint
    assert restart(tmp_path, changed).is_empty
    assert open_journal(tmp_path, changed).started_anew == ""


def test_the_pins_of_a_finished_release_bind_no_later_run(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FIRST).journal
    journal.record(Section.PINS, "debian", "debian@sha256:0")
    assert open_journal(tmp_path, FIRST).journal.get(Section.PINS, "debian")
    journal.finish()
    assert open_journal(tmp_path, FIRST).journal.get(Section.PINS, "debian") is None


def test_finished_release_can_be_made_anew_from_another_commit(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record(Section.MOVED, "ghcr/web:1.2.3", str(DIGEST))
    journal.finish()
    found = open_journal(tmp_path, Binding(**{**vars(FIRST), "commit": "f" * 40}))
    assert found.started_anew.startswith("commit")


def test_restart_forgets_this_release_alone(tmp_path: Path) -> None:
    begun(tmp_path, FIRST)
    assert restart(tmp_path, OTHER).is_empty
    assert again(tmp_path, FIRST).digest(Section.BUILT, "web") == DIGEST
    assert restart(tmp_path, FIRST).is_empty
    assert again(tmp_path, FIRST).is_empty


def test_moved_tags_of_a_release_are_found_also_when_it_is_put_aside(tmp_path: Path) -> None:
    begun(tmp_path).record(Section.MOVED, "ghcr/web:1.2.3", str(DIGEST))
    begun(tmp_path, OTHER)
    assert recorded_tags(tmp_path, "1.2.3") == {TagKey("ghcr/web", Tag("1.2.3")): DIGEST}
    assert recorded_tags(tmp_path, "9.9.9") == {}


@pytest.mark.parametrize(
    "key",
    [
        TagKey("ghcr/web", Tag("1.2.3")),
        TagKey("here/a", Tag("b")),
        ImageKey("ghcr/web", DIGEST),
        ImageKey("ghcr/web", DIGEST, signed=True),
    ],
)
def test_keys_are_values_that_read_back(key: TagKey | ImageKey) -> None:
    assert type(key).parse(str(key)) == key


@pytest.mark.parametrize("text", ["", ":", "web", "web:", ":1", "web:a b", "web@", "@" + "a" * 64])
def test_what_is_no_key_is_none(text: str) -> None:
    assert TagKey.parse(text) is None
    assert ImageKey.parse(text) is None


def test_threads_lose_nothing(tmp_path: Path) -> None:
    journal = again(tmp_path)

    def work(name: str) -> None:
        for number in range(20):
            journal.record(Section.BUILT, f"{name}{number}", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tuple(again(tmp_path).items(Section.BUILT))) == 80


def test_same_value_again_writes_nothing(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    before = (tmp_path / "state.json").stat()
    journal.record(Section.BUILT, "web", str(DIGEST))
    assert (tmp_path / "state.json").stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, BuildError, "no space left"),
        (errno.EDQUOT, BuildError, "no space left"),
        (errno.EACCES, ConfigError, "can't be written: Permission denied"),
        (errno.EIO, ConfigError, "can't be written"),
    ],
)
def test_failed_write_is_one_clear_line_and_keeps_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    text: str,
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=text):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_no_secret_place_in_the_journal_can_be_written_by_others(tmp_path: Path) -> None:
    begun(tmp_path)
    assert (tmp_path / "state.json").stat().st_mode & 0o022 == 0


def test_the_file_is_what_json_makes_of_the_journal_whatever_changed(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.record_all(Section.PINS, {"b": {"z": 1, "a": ["é", None]}, 'a"': "x"})
    journal.record(Section.PINS, "b", {"z": 2, "a": 'q"'})
    journal.forget(Section.PINS, 'a"')
    journal.record(Section.MOVED, "r/web:1", "2")
    journal.forget_all(Section.MOVED)
    journal.keep_manifest(Section.BEFORE, "r/web:1", IMAGE)
    for continued in (journal, again(tmp_path)):
        continued.record(Section.TESTED, "web", "yes")
        sections = {each: dict(continued.items(each)) for each in Section}
        text = (tmp_path / "state.json").read_text()
        assert text == json.dumps(continued.document(sections), sort_keys=True)


def test_who_waits_for_another_s_save_has_his_own_change_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, saves = begun(tmp_path), 0
    begins, go_on = threading.Event(), threading.Event()

    def slowly(path: Path, data: bytes) -> None:
        nonlocal saves
        saves += 1
        begins.set()
        go_on.wait(60)
        write_atomically(path, data)

    monkeypatch.setattr("podbuild.plan.journal.write_atomically", slowly)
    first, *others = [
        threading.Thread(target=journal.record, args=(Section.PUBLISHED, f"r/{number}", "x"))
        for number in range(9)
    ]
    first.start()
    assert begins.wait(60)
    for each in others:
        each.start()
    while len(dict(journal.items(Section.PUBLISHED))) < 9:  # all have said what they did
        threading.Event().wait(0.001)
    go_on.set()
    for each in (first, *others):
        each.join(60)
        assert not each.is_alive()
    assert saves == 2
    assert len(dict(again(tmp_path).items(Section.PUBLISHED))) == 9
