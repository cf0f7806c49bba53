"""The record of what moving tags left: one reading and one writing a release, whatever it moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from podbuild.config.template import Template
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.plan.destination import Destination
from podbuild.plan.journal import Binding, Section, open_journal
from podbuild.plan.tags import NamedTag, TagKind
from podbuild.publish.ledger import Ledger, record_superseded
from podbuild.publish.move import Moved, Order, Outcome, Tagged
from podbuild.system.folders import Folders
from tests.counting import calls
from tests.images import make_image

LATEST = NamedTag(tag=Tag("latest"), kind=TagKind.MOVING, template=Template("latest"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def folders(folder: Path) -> Folders:
    return Folders(cache=folder, state=folder, runtime=folder)


def moves(folder: Path) -> Callable[[int], None]:
    """Give what records a release that moved a tag of so many images, each from another image."""
    store = MemoryStore()
    new = make_image(store, b"new")

    def work(count: int) -> None:
        root = folder / str(count)
        binding = Binding(release="1.0.1", commit="0" * 40, configuration="", toolchain="")
        journal = open_journal(root, binding).journal
        images = [f"image{number}" for number in range(count)]
        left = {f"r/{image}@{Digest.of(image.encode())}": "latest" for image in images}
        journal.record_all(Section.SUPERSEDED, left)
        places = [
            Destination(image=image, registry="r", required=True, store=store) for image in images
        ]
        orders = [Order(destination=each, named=LATEST, manifest=new) for each in places]
        moved = Moved(tags=tuple(Tagged(order=each, outcome=Outcome.MOVED) for each in orders),
                      failed={})  # fmt: skip
        for _ in range(2):
            record_superseded(folders(folder), root, journal, moved)

    return work


def test_four_times_the_tags_are_four_times_the_work(tmp_path: Path) -> None:
    work = moves(tmp_path)
    work(5)  # what is compiled and kept at the first use
    few, many = calls(work, 25), calls(work, 100)
    assert many < 4.6 * few


def test_all_that_is_gone_is_struck_out_at_once_and_the_rest_stays(tmp_path: Path) -> None:
    ledger = Ledger.of(folders(tmp_path), tmp_path)
    binding = Binding(release="1", commit="0" * 40, configuration="", toolchain="")
    journal = open_journal(tmp_path / "dist", binding).journal
    one, two = Digest.of(b"1"), Digest.of(b"2")
    places = ("r/a", "r/b", "r/c")
    left = {f"{place}@{digest}": "latest" for place in places for digest in (one, two)}
    journal.record_all(Section.SUPERSEDED, left)
    ledger.add(journal, NOW)
    ledger.forget({"r/a": {one}, "r/b": {one, two}, "elsewhere": {two}})
    found = {key: set(digests) for key, digests in ledger.read().items()}
    assert found == {"r/a": {two}, "r/c": {one, two}}
