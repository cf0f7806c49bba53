from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.errors import PodbuildError, PublishError, VerificationError
from podbuild.oci.layout import (
    PUSHED,
    REF_NAME,
    LayoutStore,
    placed,
    pushed_at,
    released,
    tag_of,
    touched_at,
)
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BytesBlob, FileBlob, PushRight
from tests.images import blob_of, make_image, make_index

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
V1, V2, LATEST = Tag("1"), Tag("2"), Tag("latest")


def image(number: int) -> Descriptor:
    return blob_of(f"image {number}".encode(), "application/vnd.oci.image.manifest.v1+json")


def shape(entries: list[Descriptor]) -> list[tuple[str, str, str]]:
    """Give digest, tag and hour of each entry."""
    return [
        (entry.digest.short, str(tag_of(entry) or ""), entry.annotations[PUSHED][11:13])
        for entry in entries
    ]


def test_a_tagged_manifest_has_one_entry_for_each_tag() -> None:
    entries = placed([], image(1), V1, NOON)
    entries = placed(entries, image(1), LATEST, LATER)
    one = image(1).digest.short
    assert shape(entries) == [(one, "1", "12"), (one, "latest", "12")]
    assert [touched_at(entry) for entry in entries] == [NOON, LATER]


def test_a_manifest_that_gets_its_first_tag_has_no_other_entry() -> None:
    entries = placed(placed([], image(1), None, NOON), image(1), V1, LATER)
    assert shape(entries) == [(image(1).digest.short, "1", "12")]
    assert touched_at(entries[0]) == LATER


def test_a_manifest_that_loses_its_last_tag_stays_with_its_own_time() -> None:
    entries = placed(placed([], image(1), LATEST, NOON), image(2), LATEST, LATER)
    assert shape(entries) == [
        (image(1).digest.short, "", "12"),
        (image(2).digest.short, "latest", "13"),
    ]


def test_a_manifest_that_keeps_another_tag_gets_no_further_entry() -> None:
    entries = placed(placed([], image(1), V1, NOON), image(1), LATEST, NOON)
    entries = placed(entries, image(2), LATEST, LATER)
    assert shape(entries) == [
        (image(1).digest.short, "1", "12"),
        (image(2).digest.short, "latest", "13"),
    ]


def test_pushing_a_tag_again_is_no_change() -> None:
    entries = placed([], image(1), V1, NOON)
    assert placed(entries, image(1), V1, LATER) == entries
    assert placed(entries, image(1), None, LATER) == entries


def test_an_untagged_manifest_that_is_pushed_again_is_touched_and_no_newer() -> None:
    entries = placed(placed([], image(1), None, NOON), image(1), None, LATER)
    assert shape(entries) == [(image(1).digest.short, "", "12")]
    assert touched_at(entries[0]) == LATER


def test_a_released_tag_leaves_the_others() -> None:
    entries = placed(placed([], image(1), V1, NOON), image(2), V2, NOON)
    assert shape(released(entries, V1)) == [
        (image(2).digest.short, "2", "12"),
        (image(1).digest.short, "", "12"),
    ]
    assert released(entries, LATEST) == entries


@pytest.mark.parametrize("text", ["", "yesterday", "2026-05-01T12:00:00"])
def test_a_time_that_is_none_is_unknown(text: str) -> None:
    entry = Descriptor(media_type="x", digest=Digest.of(b""), size=0, annotations={PUSHED: text})
    assert pushed_at(entry) is None


def test_the_folder_is_an_oci_layout(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l", clock=lambda: NOON)
    index = make_index(store, amd64=make_image(store, b"layer"))
    store.put_manifest(index, V1)
    assert json.loads((store.path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    content = json.loads((store.path / "index.json").read_text())
    assert content["schemaVersion"] == 2
    tagged = [entry for entry in content["manifests"] if REF_NAME in entry["annotations"]]
    assert tagged == [
        {
            **index.descriptor.to_json(),
            "annotations": {REF_NAME: "1", PUSHED: "2026-05-01T12:00:00+00:00"},
        }
    ]
    assert pushed_at(store.entries()[0]) == NOON
    for file in (store.path / "blobs/sha256").iterdir():
        assert Digest.of(file.read_bytes()).hex == file.name


def test_a_file_is_linked_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"layer")
    store = LayoutStore(tmp_path / "l")
    store.put_blob(blob_of(b"layer"), FileBlob(source))
    assert store.blob_file(Digest.of(b"layer")).stat().st_ino == source.stat().st_ino
    store.put_blob(blob_of(b"layer"), FileBlob(source))
    assert [file.name for file in (store.path / "blobs/sha256").iterdir()] == [
        Digest.of(b"layer").hex
    ]


def test_a_symbolic_link_is_copied(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"layer")
    (tmp_path / "link").symlink_to("source")
    store = LayoutStore(tmp_path / "l")
    store.put_blob(blob_of(b"layer"), FileBlob(tmp_path / "link"))
    file = store.blob_file(Digest.of(b"layer"))
    assert file.read_bytes() == b"layer"
    assert not file.is_symlink()


def test_a_file_with_wrong_bytes_is_not_linked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"wrong")
    store = LayoutStore(tmp_path / "l")
    with pytest.raises(VerificationError, match="digest"):
        store.put_blob(blob_of(b"right"), FileBlob(source))
    assert list((store.path / "blobs/sha256").iterdir()) == []


def test_damage_on_disk_is_found_when_read(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l")
    manifest = make_image(store, b"layer")
    file = store.blob_file(manifest.digest)
    file.write_bytes(manifest.data.replace(b"config", b"confog"))
    with pytest.raises(VerificationError, match=manifest.digest.hex):
        store.manifest(manifest.digest)
    blob = manifest.layers[0]
    store.blob_file(blob.digest).write_bytes(b"LAYER")
    with pytest.raises(VerificationError), store.blob(blob) as content:
        tuple(content.chunks())
    store.blob_file(blob.digest).write_bytes(b"")
    assert not store.has_blob(blob)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"manifests":{}}', '{"manifests":[{}]}'])
def test_an_index_that_is_none_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    store = LayoutStore(tmp_path)
    make_image(store, b"layer")
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(PodbuildError):
        store.tags()
    with pytest.raises(PodbuildError):
        make_image(store, b"other")
    assert (tmp_path / "index.json").read_text() == text


def test_entries_of_other_tools_are_kept(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    make_image(store, b"layer")
    content = json.loads((tmp_path / "index.json").read_text())
    foreign = {**image(9).to_json(), "annotations": {REF_NAME: "theirs", "a": "b"}}
    content["manifests"].append(foreign)
    (tmp_path / "index.json").write_text(json.dumps(content))
    make_image(store, b"more")
    assert foreign in json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert store.tags() == (Tag("theirs"),)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    seen: list[Digest] = []

    def write(number: int) -> None:
        store = LayoutStore(tmp_path / "l")
        manifest = make_image(store, f"layer {number}".encode())
        store.put_manifest(manifest, Tag(f"v{number}"))
        seen.append(manifest.digest)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = LayoutStore(tmp_path / "l")
    assert {entry.digest for entry in store.entries()} == set(seen)
    assert len(store.tags()) == 12


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "l")
    store.put_blob(blob_of(b"first"), BytesBlob(b"first"))

    class Breaking:
        path = None

        def chunks(self, start: int = 0) -> Iterator[bytes]:
            del start
            yield b"ri"
            raise PublishError("the source broke")

    with pytest.raises(PublishError, match="the source broke"):
        store.put_blob(blob_of(b"right"), Breaking())
    names = [file.name for file in (store.path / "blobs/sha256").iterdir()]
    assert names == [Digest.of(b"first").hex]


def test_asking_makes_no_folder(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "a/b")
    assert store.check_push() is PushRight.ALLOWED
    assert store.tags() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("a file")
    store = LayoutStore(tmp_path / "l" / "web", shown="l/web")
    with pytest.raises(PublishError, match="not a folder"):
        store.check_push()
    with pytest.raises(PublishError, match=str(store.path)) as caught:
        store.put_blob(blob_of(b"x"), BytesBlob(b"x"))
    assert caught.value.hint


def test_people_see_the_short_name(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "dist/registry/web", shown="dist/registry/web")
    assert store.reference(V1) == "oci:dist/registry/web:1"
    assert LayoutStore(tmp_path).name == f"oci:{tmp_path}"
