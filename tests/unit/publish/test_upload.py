"""Publishing by digest: the same bytes everywhere, read back, and never a tag."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.errors import (
    CredentialError,
    InterruptedBySignal,
    PodbuildError,
    PublishError,
    VerificationError,
)
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.transport.problem import BlobsMissingError, Problem
from podbuild.plan.destination import Destination
from podbuild.plan.journal import Binding, Journal, Section, open_journal
from podbuild.publish.upload import Published, Publisher, UploadProgress
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry, Transient
from tests.images import make_image, make_index
from tests.scripted import Asked, Hook, ScriptedStore, failing, nothing

DOWN = PublishError("the registry is down")


class Hurried(Cancel):
    """Waits for nothing."""

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.check()


@dataclass
class World:
    """Two staged images that share a layer, and two registries (and an optional one)."""

    folder: Path
    names: tuple[str, ...] = ("a", "b")
    stores: dict[str, ScriptedStore] = field(default_factory=dict)
    staged: dict[str, MemoryStore] = field(default_factory=dict)
    images: dict[str, Manifest] = field(default_factory=dict)
    cancel: Cancel = field(default_factory=Cancel)

    def __post_init__(self) -> None:
        for image in ("web", "api"):
            source = self.staged[image] = MemoryStore(name=f"staging/{image}")
            children = {
                architecture: make_image(
                    source, b"shared", image.encode(), architecture=architecture
                )
                for architecture in ("amd64", "arm64")
            }
            self.images[image] = make_index(source, **children)
            for name in self.names:
                store = ScriptedStore(inner=MemoryStore(name=f"{name}/{image}"))
                self.stores[f"{name}/{image}"] = store

    def destinations(self) -> tuple[Destination, ...]:
        return tuple(
            Destination(
                image=key.partition("/")[2],
                registry=key.partition("/")[0],
                required=not key.startswith("optional"),
                store=store,
            )
            for key, store in self.stores.items()
        )

    def journal(self) -> Journal:
        binding = Binding(release="1", commit="c", configuration="", toolchain="")
        return open_journal(self.folder, binding).journal

    def publisher(
        self,
        progress: UploadProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Publisher:
        return Publisher(
            destinations=self.destinations(),
            source=self.staged.__getitem__,
            journal=self.journal(),
            retry=Retry(attempts=3, sleep=lambda _seconds: self.cancel.check()),
            cancel=self.cancel,
            progress=progress or UploadProgress(),
            clock=clock,
        )

    def publish(self, progress: UploadProgress | None = None) -> Published:
        with self.publisher(progress) as publisher:
            return publisher.finish(self.images.items())

    def log(self, verb: str) -> list[str]:
        return [
            f"{key} {each}"
            for key, store in self.stores.items()
            for each in store.log
            if each.startswith(f"{verb} ")
        ]

    def tags(self) -> int:
        return sum(len(store.inner.named) for store in self.stores.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def with_optional(tmp_path: Path) -> World:
    return World(tmp_path, names=("a", "b", "optional"))


def fails(world: World, kind: type[PodbuildError]) -> PodbuildError:
    with pytest.raises(kind) as caught:
        world.publish()
    assert world.tags() == 0
    return caught.value


def complete(world: World, key: str) -> bool:
    source = world.staged[key.partition("/")[2]]
    inner = world.stores[key].inner
    return inner.manifests == source.manifests and inner.blobs == source.blobs


def test_every_destination_holds_the_same_bytes_and_no_tag(world: World) -> None:
    found = world.publish()
    assert all(complete(world, key) for key in world.stores)
    assert {each.key for each in found.at} == set(world.stores)
    assert world.tags() == 0


def test_children_are_there_before_their_index(world: World) -> None:
    world.publish()
    puts = [each.split()[-1] for each in world.stores["a/web"].log if each.startswith("put")]
    assert puts[-1] == str(world.images["web"].digest)
    assert len(puts) == 3


def test_every_manifest_is_read_back(world: World) -> None:
    world.publish()
    for key, store in world.stores.items():
        for manifest in world.staged[key.partition("/")[2]].manifests.values():
            after = store.log[store.log.index(f"put {manifest.digest}") :]
            assert f"head {manifest.digest}" in after


def test_registry_that_loses_what_it_took_is_found_out(world: World) -> None:
    index = world.images["web"]
    inner = world.stores["b/web"].inner

    def lose(asked: Asked) -> None:
        if str(asked) == f"put {index.digest}":
            del inner.manifests[index.digest]

    world.stores["b/web"].after = lose
    world.cancel = Hurried()
    error = fails(world, VerificationError)
    assert "can't be read back" in error.message
    assert "no tag has moved" in error.hint


def test_blob_of_several_images_goes_out_once(world: World) -> None:
    world.publish()
    uploads = world.log("upload")
    assert len(uploads) == len(set(uploads))


def test_blob_that_is_there_does_not_go_out(world: World) -> None:
    world.stores["a/web"].inner.blobs.update(world.staged["web"].blobs)
    present: list[str] = []
    moved: list[int] = []
    world.publish(
        UploadProgress(
            present=lambda each, _blob: present.append(each.key),
            moved=lambda each, _blob, count: moved.append(count) if each.key == "a/web" else None,
        )
    )
    assert present.count("a/web") == len(world.staged["web"].blobs)
    assert moved == []


def test_bytes_are_counted(world: World) -> None:
    counts: list[int] = []
    world.publish(UploadProgress(moved=lambda _each, _blob, count: counts.append(count)))
    every = sum(len(data) for source in world.staged.values() for data in source.blobs.values())
    assert sum(counts) == 2 * every


def test_offered_early_goes_out_once(world: World) -> None:
    child = world.staged["web"].manifest(world.images["web"].children[0].digest)
    assert child is not None
    with world.publisher() as publisher:
        publisher.offer("web", child)
        publisher.offer("web", child)
        publisher.finish(world.images.items())
    assert world.stores["a/web"].log.count(f"put {child.digest}") == 1


def test_failed_request_is_tried_again(world: World) -> None:
    left = [Transient(DOWN), Transient(DOWN)]

    def flaky(asked: Asked) -> None:
        if asked.verb == "put" and left:
            raise left.pop()

    world.stores["a/web"].before = flaky
    world.publish()
    assert complete(world, "a/web")


@pytest.mark.parametrize("verb", ["has", "upload", "put", "head"])
@pytest.mark.parametrize(("error", "code"), [(DOWN, 7), (CredentialError("denied"), 4)])
def test_failure_of_a_required_registry_lets_the_others_go_on(
    world: World, verb: str, error: PodbuildError, code: int
) -> None:
    world.stores["b/web"].before = failing(error, verb)
    assert fails(world, type(error)).exit_code == code
    assert all(complete(world, key) for key in world.stores if key != "b/web")


def test_registry_that_hangs_keeps_no_other_waiting(world: World) -> None:
    left = {str(image.digest) for image in world.images.values()}
    all_on_b = threading.Event()

    def hang(asked: Asked) -> None:
        assert asked.verb != "upload" or all_on_b.wait(60)

    def note(asked: Asked) -> None:
        if asked.verb == "put":
            left.discard(asked.target)
            if not left:
                all_on_b.set()

    for key, store in world.stores.items():
        if key.startswith("a/"):
            store.before = hang
        else:
            store.after = note
    world.publish()
    assert all(complete(world, key) for key in world.stores)


def test_failures_of_several_registries_are_all_told(world: World) -> None:
    world.stores["a/web"].before = failing(PublishError("a is down"), "put")
    world.stores["b/web"].before = failing(PublishError("b is down"), "put")
    error = fails(world, PublishError)
    assert {error.message, *error.details} == {"a is down", "b is down", "also:"}


def test_failure_of_an_optional_registry_is_reported_and_not_fatal(with_optional: World) -> None:
    with_optional.stores["optional/web"].before = failing(DOWN, "upload")
    found = with_optional.publish()
    assert {each.key: str(error) for each, error in found.failed.items()} == {
        "optional/web": str(DOWN)
    }
    assert "optional/web" not in {each.key for each in found.at}
    assert "optional/api" in {each.key for each in found.at}


def test_second_run_sends_nothing(world: World) -> None:
    world.publish()
    for store in world.stores.values():
        store.log.clear()
    world.publish()
    assert world.log("upload") == world.log("put") == world.log("has") == []


def test_journal_does_not_outweigh_what_the_registry_says(world: World) -> None:
    world.publish()
    inner = world.stores["a/web"].inner
    inner.manifests.clear()
    inner.blobs.clear()
    world.publish()
    assert complete(world, "a/web")


def test_second_run_sends_only_what_failed(world: World) -> None:
    world.stores["b/web"].before = failing(DOWN, "put")
    fails(world, PublishError)
    for store in world.stores.values():
        store.before = nothing
        store.log.clear()
    world.publish()
    assert world.log("upload") == []
    assert {each.split()[0] for each in world.log("put")} == {"b/web"}


def losing(store: ScriptedStore, digest: str, forget: Callable[[], object]) -> Hook:
    """Give a hook that loses parts and refuses the manifest, once, as registries do."""
    left = [True]

    def hook(asked: Asked) -> None:
        if str(asked) == f"put {digest}" and left:
            left.clear()
            forget()
            raise BlobsMissingError(f"{store.name}: blob unknown", Problem(status=404))

    return hook


def test_blobs_that_a_registry_lost_go_out_again(world: World) -> None:
    store = world.stores["a/web"]
    child = world.staged["web"].manifest(world.images["web"].children[0].digest)
    assert child is not None
    assert child.config is not None
    config = child.config.digest  # no other image has it
    store.before = losing(store, str(child.digest), lambda: store.inner.blobs.pop(config))
    world.publish()
    assert complete(world, "a/web")


def test_children_that_a_registry_lost_go_out_again(world: World) -> None:
    store = world.stores["a/web"]

    def forget() -> None:
        store.inner.manifests.clear()
        store.inner.blobs.clear()

    store.before = losing(store, str(world.images["web"].digest), forget)
    world.publish()
    assert complete(world, "a/web")


def test_child_that_was_taken_away_since_it_was_put_goes_out_again(world: World) -> None:
    """Somebody's cleanup takes an untagged child while other images still build."""
    child = world.staged["web"].manifest(world.images["web"].children[0].digest)
    assert child is not None
    store = world.stores["a/web"]
    with world.publisher() as publisher:
        publisher._offer(world.destinations()[0], child, earlier=False).result()
        del store.inner.manifests[child.digest]
        publisher.finish(world.images.items())
    assert complete(world, "a/web")


def test_child_that_stands_there_with_all_its_blobs_is_not_put_again(world: World) -> None:
    """A new version has a new index, and children that older releases have put."""
    for key, store in world.stores.items():
        source = world.staged[key.partition("/")[2]]
        for digest, manifest in source.manifests.items():
            if not manifest.is_index:
                store.inner.manifests[digest] = manifest
        store.inner.blobs.update(source.blobs)
    found = world.publish()
    assert {each.split()[2] for each in world.log("put")} == {
        str(index.digest) for index in world.images.values()
    }
    asked = {(each.split()[0], each.split()[2]) for each in world.log("has")}
    assert {(at.key, str(digest)) for at, digest in found.present} == asked


def test_what_was_sent_does_not_count_as_found(world: World) -> None:
    assert world.publish().present == frozenset()


def test_image_that_was_taken_away_while_another_registry_was_slow_goes_out_again(
    world: World,
) -> None:
    hours = iter(range(0, 1000, 2))
    with world.publisher(clock=lambda: next(hours) * 3600.0) as publisher:
        for image, index in world.images.items():
            publisher.offer(image, index)
        for waiting in publisher._offered.values():
            waiting.result()
        world.stores["a/web"].inner.manifests.clear()
        publisher.finish(world.images.items())
    assert complete(world, "a/web")


def test_index_whose_child_is_not_staged_is_refused(world: World) -> None:
    del world.staged["web"].manifests[world.images["web"].children[0].digest]
    assert "is not staged" in fails(world, PublishError).message


def test_stop_ends_the_copies(world: World) -> None:
    def stop(asked: Asked) -> None:
        if asked.verb == "upload":
            world.cancel.request(15)

    world.stores["a/web"].before = stop
    fails(world, InterruptedBySignal)


def test_what_is_published_stands_in_the_journal_after_it_was_read_back(world: World) -> None:
    world.stores["a/web"].before = failing(DOWN, "head")
    fails(world, PublishError)
    assert not [
        key for key, _ in world.journal().items(Section.PUBLISHED) if key.startswith("a/web")
    ]
    assert [key for key, _ in world.journal().items(Section.PUBLISHED) if key.startswith("b/web")]
