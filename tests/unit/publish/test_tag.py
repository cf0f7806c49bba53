"""Moving the tags of a release: all or nothing, one step at a time, whatever fails when."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from podbuild.config.template import Placeholders, Template
from podbuild.errors import (
    BuildError,
    CredentialError,
    DeadlineError,
    ImmutableTagError,
    InterruptedBySignal,
    PartialReleaseError,
    PodbuildError,
    PublishError,
)
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.oci.transport.problem import Problem, RegistryError
from podbuild.plan import labels
from podbuild.plan.destination import Destination
from podbuild.plan.guards import Ancestry, ReleaseIdentity
from podbuild.plan.journal import Binding, Journal, Section, open_journal
from podbuild.plan.model import Request
from podbuild.plan.tags import NamedTag, Reader, TagKind, release_tags
from podbuild.publish.move import Moved, Order, Outcome, Tagged
from podbuild.publish.tag import BranchGuard, Readers, ReleaseGuard, TagMover
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry, Transient
from tests.images import make_image, make_index
from tests.scripted import Asked, ScriptedStore, failing, once

TEMPLATES = tuple(map(Template, ("{version}", "{major}.{minor}", "{major}", "latest")))
OLD, NEW = "1.0.0", "1.1.0"
MOVING = ("1", "latest")  # the moving tags that exist before NEW; 1.1 is new


def image_of(store: ScriptedStore, version: str) -> Manifest:
    """Put a different index for each version."""
    children = {
        architecture: make_image(
            store.inner, f"{version} {architecture}".encode(), architecture=architecture
        )
        for architecture in ("amd64", "arm64")
    }
    return make_index(store.inner, **children)


@dataclass
class World:
    """Two registries (and an optional one) that hold 1.0.0 with all its tags."""

    folder: Path
    optional: bool = False
    stores: dict[str, ScriptedStore] = field(default_factory=dict)
    cancel: Cancel = field(default_factory=Cancel)
    notes: list[str] = field(default_factory=list)
    left: list[Tagged] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("a", "b", *(("optional",) if self.optional else ())):
            store = self.stores[name] = ScriptedStore(inner=MemoryStore(name=name))
            manifest = image_of(store, OLD)
            for tag in (OLD, "1.0", *MOVING):
                store.inner.put_manifest(manifest, Tag(tag))
            image_of(store, NEW)

    def destinations(self) -> tuple[Destination, ...]:
        return tuple(
            Destination(image="web", registry=name, required=name != "optional", store=store)
            for name, store in self.stores.items()
        )

    def journal(self, version: str = NEW) -> Journal:
        binding = Binding(release=version, commit="c", configuration="", toolchain="")
        return open_journal(self.folder / version, binding).journal

    def orders(self, version: str = NEW) -> tuple[Order, ...]:
        values = Placeholders(project="p", image="web", version=Version.parse(version))
        return tuple(
            Order(
                destination=each,
                named=named,
                manifest=image_of(self.stores[each.registry], version),
            )
            for each in self.destinations()
            for named in release_tags(TEMPLATES, values)
        )

    def mover(self, version: str = NEW, request: Request | None = None) -> TagMover:
        parsed = Version.parse(version)
        values = Placeholders(project="p", image="web", version=parsed)
        readers = Readers(tuple(Reader(template, values) for template in TEMPLATES))
        result = ReleaseIdentity(commit="c", fingerprint="c", platforms=frozenset(), clean=True)
        return TagMover(
            guard=ReleaseGuard(
                version=parsed,
                commit="c",
                results={"web": result},
                destinations=self.destinations(),
                readers={"web": readers},
                request=request or Request(),
                cancel=self.cancel,
            ),
            journal=self.journal(version),
            retry=Retry(attempts=2, sleep=lambda _seconds: self.cancel.check()),
            cancel=self.cancel,
            command=f"podbuild release v{version}",
            note=self.notes.append,
            left=self.left.extend,
        )

    def release(self, version: str = NEW) -> Moved:
        return self.mover(version).move(self.orders(version))

    def named(self, registry: str = "a") -> dict[str, str]:
        """Give the version that each tag names."""
        store = self.stores[registry].inner
        versions = {image_of(self.stores[registry], v).digest: v for v in (OLD, NEW, "2.0.0")}
        return {str(tag): versions[digest] for tag, digest in store.named.items()}

    def puts(self, registry: str = "a") -> list[str]:
        log = self.stores[registry].log
        return [each.removeprefix("put ") for each in log if each.startswith("put ")]


BEFORE_ALL = {"1.0.0": OLD, "1.0": OLD, "1": OLD, "latest": OLD}
AFTER_ALL = {**BEFORE_ALL, "1.1.0": NEW, "1.1": NEW, "1": NEW, "latest": NEW}
DOWN = PublishError("the registry is down")


class Killed(BaseException):
    """What a kill -9 is to the code that it hits: nothing after it runs."""


def killed() -> None:
    raise Killed


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def with_optional(tmp_path: Path) -> World:
    return World(tmp_path, optional=True)


def fails(world: World, kind: type[PodbuildError] = PodbuildError) -> PodbuildError:
    with pytest.raises(kind) as caught:
        world.release()
    assert type(caught.value) is kind
    return caught.value


def live(error: PodbuildError) -> set[str]:
    """Give the tags that an error says are live, and where."""
    return {line.split(" ->")[0].strip() for line in error.details if "->" in line}


def heal(world: World) -> None:
    for store in world.stores.values():
        store.before = store.after = lambda _asked: None


# A registry with immutable tags


def refusal(said: str) -> RegistryError:
    return RegistryError(said, Problem(status=int(said[:3]), message=said[4:]))


@pytest.mark.parametrize(
    "said",
    [
        refusal("400 TAG_INVALID: The image tag 'latest' already exists in the 'acme/web' "
                "repository and cannot be overwritten because the repository is immutable."),
        refusal("400 TAG_INVALID"),
        refusal("412 PRECONDITION: Failed to process request due to 'web:latest' configured "
                "as immutable."),
        refusal("409: Tag latest is immutable"),
        CredentialError("403 DENIED: tag is immutable and can't be pushed"),
        CredentialError("403 DENIED: cannot update tag latest. The repository has enabled tag "
                        "immutability"),
    ],
)  # fmt: skip
def test_a_registry_that_moves_no_tag_names_the_way_out(world: World, said: PodbuildError) -> None:
    def refuse(asked: Asked) -> None:
        if asked.verb == "put" and asked.target == "latest":
            raise said

    world.stores["b"].before = refuse
    error = fails(world, PartialReleaseError)
    assert "immutable at the registry" in error.message
    assert '[tags] release = ["{version}"]' in error.hint
    assert "finishes it" not in error.hint
    assert {"a:1.1.0", "b:1.1.0"} <= live(error)


def test_a_full_registry_is_no_immutable_tag(world: World) -> None:
    said = "412 DENIED: adding 10 MiB of storage resource will exceed the configured upper limit"

    def refuse(asked: Asked) -> None:
        if asked.verb == "put" and asked.target == "latest":
            raise refusal(said)

    world.stores["b"].before = refuse
    assert fails(world, PartialReleaseError).message == f"partly published: {said}"


def test_a_fixed_tag_that_a_try_with_a_lost_answer_has_written_is_no_failure(
    world: World,
) -> None:
    written: list[str] = []

    def refuse(asked: Asked) -> None:
        if asked.verb == "put" and asked.target in written:
            raise refusal("400 TAG_INVALID: The image tag already exists")

    def lose(asked: Asked) -> None:
        if asked.verb == "put" and asked.target == "1.1.0":
            written.append(asked.target)
            raise Transient(PublishError("connection reset by peer"))

    world.stores["b"].before, world.stores["b"].after = refuse, lose
    world.release()
    assert world.named("b") == AFTER_ALL


def test_a_refusal_of_a_tag_that_does_not_exist_is_another_one(world: World) -> None:
    def refuse(asked: Asked) -> None:
        if asked.verb == "put" and asked.target == "1.1":
            raise PublishError("400 TAG_INVALID")

    world.stores["b"].before = refuse
    assert "finishes it" in fails(world, PartialReleaseError).hint


# All goes well


def test_every_tag_moves_on_every_registry(world: World) -> None:
    moved = world.release()
    assert world.named("a") == world.named("b") == AFTER_ALL
    assert {tagged.outcome for tagged in moved.tags} == {Outcome.MOVED}
    assert moved.failed == {}


def test_version_tags_are_everywhere_before_the_first_moving_tag(world: World) -> None:
    puts: list[str] = []

    def note(asked: Asked) -> None:
        if asked.verb == "put":
            puts.append(asked.target)

    for store in world.stores.values():
        store.after = note
    world.release()
    assert puts[:2] == [NEW, NEW]
    assert NEW not in puts[2:]


def test_digests_that_moving_tags_left_are_remembered(world: World) -> None:
    moved = world.release()
    old = image_of(world.stores["a"], OLD).digest
    assert {str(t.order.tag): t.before for t in moved.tags} == {
        NEW: None, "1.1": None, "1": old, "latest": old
    }  # fmt: skip
    assert {key for key, _ in world.journal().items(Section.SUPERSEDED)} == {
        f"a/web@{old}",
        f"b/web@{old}",
    }


def test_finished_release_again_asks_but_moves_nothing(world: World) -> None:
    world.release()
    before = world.puts("a")
    moved = world.release()
    assert world.puts("a") == before
    assert world.named() == AFTER_ALL
    assert {tagged.outcome for tagged in moved.tags} == {Outcome.MOVED}


def test_tags_that_are_there_without_us_are_already_there(world: World) -> None:
    world.release()
    elsewhere = World(world.folder / "other machine")
    elsewhere.stores = world.stores
    moved = elsewhere.release()
    assert {tagged.outcome for tagged in moved.tags} == {Outcome.ALREADY}


# Before the first tag


@pytest.mark.parametrize(
    ("error", "code"),
    [(DOWN, 7), (CredentialError("denied"), 4), (DeadlineError("time is over"), 124)],
)
def test_failure_before_the_first_tag_keeps_its_code_and_changes_nothing(
    world: World, error: PodbuildError, code: int
) -> None:
    for store in world.stores.values():
        store.before = failing(error, "put 1.1.0")
    assert fails(world, type(error)).exit_code == code
    assert world.named("a") == world.named("b") == BEFORE_ALL


def test_tag_that_can_not_be_read_is_not_moved(world: World) -> None:
    for store in world.stores.values():
        store.before = failing(DOWN, "head 1.1.0")
    assert fails(world, PublishError).exit_code == 7
    assert world.puts("a") == world.puts("b") == []


@dataclass(kw_only=True)
class Behind(ScriptedStore):
    """A store that shows a tag before its image: this digest can't be read so many times."""

    digest: Digest | None = None
    unread: int = 0

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        found = super().manifest(target)
        if found is None or found.digest != self.digest or not self.unread:
            return found
        self.unread -= 1
        return None


@pytest.mark.parametrize(
    ("unread", "kind"), [(1, ImmutableTagError), (2, ImmutableTagError), (99, PublishError)]
)
def test_a_tag_whose_image_can_not_be_read_yet_does_not_count_as_new(
    world: World, unread: int, kind: type[PodbuildError]
) -> None:
    """A competing release has just made the version tag; its image shows a moment later."""
    for name, store in world.stores.items():
        other = make_index(store.inner, amd64=make_image(store.inner, b"x"))
        store.inner.put_manifest(other, Tag(NEW))
        world.stores[name] = Behind(inner=store.inner, digest=other.digest, unread=unread)
    fails(world, kind)
    assert world.puts("a") == world.puts("b") == []


def test_version_tag_of_another_build_is_refused(world: World) -> None:
    other = make_index(world.stores["a"].inner, amd64=make_image(world.stores["a"].inner, b"x"))
    for store in world.stores.values():
        make_index(store.inner, amd64=make_image(store.inner, b"x"))
        store.inner.put_manifest(other, Tag(NEW))
    error = fails(world, ImmutableTagError)
    assert error.exit_code == 6
    assert "--allow-overwrite" in error.hint
    assert world.puts("a") == world.puts("b") == []


def test_overwriting_must_be_allowed(world: World) -> None:
    store = world.stores["a"].inner
    store.put_manifest(make_index(store, amd64=make_image(store, b"x")), Tag(NEW))
    world.mover(request=Request(overwrite=True)).move(world.orders())
    assert world.named("a") == AFTER_ALL


def test_a_commit_s_tag_is_not_taken_by_another_commit_even_backwards(world: World) -> None:
    store = world.stores["a"]
    content = json.loads(make_index(store.inner, amd64=make_image(store.inner, b"x")).data)
    content["annotations"] = {labels.REVISION: "d" * 40}
    other = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    store.inner.put_manifest(other, Tag("sha-ccccccc"))
    order = Order(
        destination=world.destinations()[0],
        named=NamedTag(tag=Tag("sha-ccccccc"), kind=TagKind.SHA, template=Template("sha-{sha}")),
        manifest=image_of(store, NEW),
    )
    guard = BranchGuard(
        commit="c" * 40,
        ancestry=lambda _revision: Ancestry.ANCESTOR,
        request=Request(backwards=True),
    )
    moved = replace(world.mover(), guard=guard).move([order])
    assert {tagged.outcome for tagged in moved.tags} == {Outcome.SKIPPED}
    assert store.inner.named[Tag("sha-ccccccc")] == other.digest


# Between two tags


def fail_when_a_is_done(world: World, request: str, *, lost: bool = False) -> None:
    """Let b fail at a request after a has moved its last tag."""
    done = threading.Event()

    def last(asked: Asked) -> None:
        if str(asked) == "put latest":
            done.set()

    def refuse(asked: Asked) -> None:
        if str(asked) == request:
            assert done.wait(60)
            raise DOWN

    world.stores["a"].after = last
    if lost:
        world.stores["b"].after = refuse
    else:
        world.stores["b"].before = refuse


def test_failure_between_version_tags_says_what_is_live(world: World) -> None:
    done = threading.Event()
    world.stores["a"].after = once("put 1.1.0", done.set)

    def refuse(asked: Asked) -> None:
        if str(asked) == "put 1.1.0":
            assert done.wait(60)
            raise DOWN

    world.stores["b"].before = refuse
    error = fails(world, PartialReleaseError)
    assert error.exit_code == 8
    assert error.hint == "`podbuild release v1.1.0` finishes it"
    assert live(error) == {"a:1.1.0"}
    assert world.named("a") == {**BEFORE_ALL, NEW: NEW}
    assert world.named("b") == BEFORE_ALL


@pytest.mark.parametrize("request_", ["put latest", "head latest", "put 1.1", "put 1"])
def test_failure_between_moving_tags_puts_them_back(world: World, request_: str) -> None:
    fail_when_a_is_done(world, request_)
    error = fails(world, PartialReleaseError)
    for name in ("a", "b"):
        named = world.named(name)
        assert {tag: named[tag] for tag in MOVING} == dict.fromkeys(MOVING, OLD)
        assert named[NEW] == NEW
    assert {"a:1.1.0", "b:1.1.0"} <= live(error)
    assert not {"a:latest", "b:latest", "a:1", "b:1"} & live(error)
    assert not [*world.journal().items(Section.SUPERSEDED)]  # or its grace would begin too early
    said = {str(tagged.order): tagged.outcome for tagged in world.left}
    assert {said[f"{name}:{NEW}"] for name in ("a", "b")} == {Outcome.MOVED}
    assert {said[f"a:{tag}"] for tag in MOVING} == {Outcome.UNDONE}


def test_failure_to_ask_again_between_the_two_kinds_is_partial_too(world: World) -> None:
    world.stores["b"].before = failing(DOWN, "tags")
    error = fails(world, PartialReleaseError)
    assert live(error) == {"a:1.1.0", "b:1.1.0"}
    assert world.named("a") == {**BEFORE_ALL, NEW: NEW}


def test_moving_tag_that_was_new_stays_and_is_named(world: World) -> None:
    fail_when_a_is_done(world, "put latest")
    error = fails(world, PartialReleaseError)
    assert world.named("a")["1.1"] == world.named("b")["1.1"] == NEW
    assert {"a:1.1", "b:1.1"} <= live(error)


def test_tag_that_moved_though_the_reply_was_lost_goes_back_too(world: World) -> None:
    gate = failing(DOWN, "put latest")
    broken = [True]

    def lose(asked: Asked) -> None:
        if broken and str(asked) == "put latest":
            broken.clear()
            gate(asked)

    world.stores["b"].after = lose
    error = fails(world, PartialReleaseError)
    assert world.named("b")["latest"] == OLD
    assert "b:latest" not in live(error)


def test_version_tag_that_moved_though_the_reply_was_lost_counts_as_live(world: World) -> None:
    for store in world.stores.values():
        store.after = failing(DOWN, "put 1.1.0")
    error = fails(world, PartialReleaseError)
    assert "a:1.1.0" in live(error) or "b:1.1.0" in live(error)


def test_tag_that_still_shows_what_it_named_goes_back_too(world: World) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Lagging(MemoryStore):
        shown: dict[Tag | Digest, Descriptor | None] = field(default_factory=dict)

        def head(self, target: Tag | Digest) -> Descriptor | None:
            return self.shown.get(target) or super().head(target)

    a = world.stores["a"]
    lagging = Lagging(manifests=a.inner.manifests, blobs=a.inner.blobs, named=a.inner.named)
    lagging.shown.update((Tag(name), lagging.head(Tag(name))) for name in MOVING)
    a.inner = lagging
    world.stores["b"].before = failing(DOWN, "put latest")
    fails(world, PartialReleaseError)
    assert {name: world.named()[name] for name in MOVING} == dict.fromkeys(MOVING, OLD)
    first, last = (len(a.log) - 1 - a.log[::-1].index(f"put {name}") for name in MOVING)
    assert a.log[first + 1 : last] == ["head latest"]  # nothing is waited for in between


def test_tag_that_can_not_go_back_is_named_as_live(world: World) -> None:
    fail_when_a_is_done(world, "put latest")
    a = world.stores["a"]

    def only_once(asked: Asked) -> None:
        if str(asked) == "put latest" and a.log.count("put latest") > 1:
            raise DOWN

    a.before = only_once
    error = fails(world, PartialReleaseError)
    assert world.named("a")["latest"] == NEW
    assert "a:latest" in live(error)
    assert any(note.startswith("a:latest could not be put back") for note in world.notes)


def test_what_can_not_be_asked_is_told_as_possible(world: World) -> None:
    fail_when_a_is_done(world, "put latest")
    b = world.stores["b"]
    refuse = b.before

    def dying(asked: Asked) -> None:
        refuse(asked)
        if "put latest" in b.log:
            raise DOWN

    b.before = dying
    error = fails(world, PartialReleaseError)
    assert any(line.startswith("  b:latest (may be, can't be asked") for line in error.details)


def test_same_command_finishes_a_partial_release(world: World) -> None:
    fail_when_a_is_done(world, "put latest")
    fails(world, PartialReleaseError)
    heal(world)
    world.release()
    assert world.named("a") == world.named("b") == AFTER_ALL


def test_undo_goes_back_to_what_stood_there_right_before(world: World) -> None:
    """Between two attempts someone points latest elsewhere; undoing the second respects it."""
    fail_when_a_is_done(world, "put latest")
    fails(world, PartialReleaseError)
    a = world.stores["a"].inner
    other = make_index(a, amd64=make_image(a, b"x"))
    a.named[Tag("latest")] = other.digest
    fail_when_a_is_done(world, "put latest")
    fails(world, PartialReleaseError)
    assert a.named[Tag("latest")] == other.digest


def test_moving_tags_of_a_killed_run_go_back_when_the_next_one_fails(world: World) -> None:
    world.stores["a"].after = once("put latest", killed)
    with pytest.raises(Killed):
        world.release()
    assert world.named("a")["latest"] == NEW
    heal(world)
    for store in world.stores.values():
        store.before = failing(DOWN, "head 1.1.0")
    error = fails(world, PartialReleaseError)
    assert world.named("a")["latest"] == OLD
    assert any("a:1.1.0 (may be, can't be asked" in line for line in error.details)


def test_a_finished_release_that_fails_when_run_again_takes_nothing_back(world: World) -> None:
    mover = world.mover()
    mover.move(world.orders())
    mover.journal.finish()
    world.stores["b"].before = failing(DOWN, "head latest")
    error = fails(world, PartialReleaseError)
    assert world.named("a") == world.named("b") == AFTER_ALL
    assert {"a:latest", "a:1", "b:1.1.0"} <= live(error)


def test_refusal_after_another_registry_moved_keeps_its_own_hint(world: World) -> None:
    done = threading.Event()
    world.stores["a"].after = once("put 1.1.0", done.set)
    b = world.stores["b"]
    other = make_index(b.inner, amd64=make_image(b.inner, b"x"))
    b.inner.put_manifest(other, Tag(NEW))

    def wait(asked: Asked) -> None:
        if str(asked) == "head 1.1.0":
            assert done.wait(60)

    b.before = wait
    error = fails(world, PartialReleaseError)
    assert "--allow-overwrite" in error.hint
    assert live(error) == {"a:1.1.0"}


# Optional registries


@pytest.mark.parametrize(
    "request_", ["head 1.1.0", "put 1.1.0", "head latest", "put latest", "put 1.1"]
)
def test_failure_of_an_optional_registry_is_reported_and_not_fatal(
    with_optional: World, request_: str
) -> None:
    with_optional.stores["optional"].before = failing(DOWN, request_)
    moved = with_optional.release()
    assert with_optional.named("a") == with_optional.named("b") == AFTER_ALL
    assert {each.registry: str(error) for each, error in moved.failed.items()} == {
        "optional": str(DOWN)
    }


def test_optional_registry_that_dies_late_is_not_fatal(with_optional: World) -> None:
    optional = with_optional.stores["optional"]

    def dying(_asked: Asked) -> None:
        if "put latest" in optional.log[:-1]:
            raise DOWN

    optional.before = dying
    with_optional.release()
    assert with_optional.named("a") == with_optional.named("b") == AFTER_ALL


def test_optional_registry_without_its_version_tag_gets_no_moving_ones(
    with_optional: World,
) -> None:
    with_optional.stores["optional"].before = failing(DOWN, "put 1.1.0")
    with_optional.release()
    assert with_optional.named("optional") == BEFORE_ALL


def test_optional_registry_goes_back_with_the_others(with_optional: World) -> None:
    done = threading.Barrier(3)
    for name in ("a", "optional"):
        with_optional.stores[name].after = once("put latest", partial(done.wait, 60))

    def refuse(asked: Asked) -> None:
        if str(asked) == "put latest":
            done.wait(60)
            raise DOWN

    with_optional.stores["b"].before = refuse
    fails(with_optional, PartialReleaseError)
    assert with_optional.named("optional")["latest"] == OLD


# Kills and stops


@pytest.mark.parametrize("request_", ["put 1.1.0", "put 1.1", "put 1", "put latest"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_release_continues_and_moves_nothing_twice(
    world: World, request_: str, moment: str
) -> None:
    setattr(world.stores["a"], moment, once(request_, killed))
    with pytest.raises(Killed):
        world.release()
    heal(world)
    moved = world.release()
    assert world.named("a") == world.named("b") == AFTER_ALL
    again = 2 if moment == "before" else 1  # the first one never arrived
    assert world.puts("a").count(request_.removeprefix("put ")) == again
    assert {tagged.outcome for tagged in moved.tags} == {Outcome.MOVED}
    old = image_of(world.stores["a"], OLD).digest
    assert {tagged.before for tagged in moved.tags if tagged.order.kind == "moving"} == {old, None}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stop_finishes_the_present_move_and_puts_moving_tags_back(
    world: World, number: int, code: int
) -> None:
    stopped = threading.Event()

    def stop() -> None:
        world.cancel.request(number)
        stopped.set()

    world.stores["a"].before = once("put latest", stop)
    world.stores["b"].before = once("put 1", partial(stopped.wait, 60))
    error = fails(world, InterruptedBySignal)
    assert error.exit_code == code
    for name in ("a", "b"):
        named = world.named(name)
        assert {tag: named[tag] for tag in MOVING} == dict.fromkeys(MOVING, OLD)
    assert {"a:1.1.0", "b:1.1.0"} <= live(error)
    assert world.journal().get(Section.BEFORE, "a/web:latest") is None
    world.cancel = Cancel()
    heal(world)
    world.release()
    assert world.named("a") == world.named("b") == AFTER_ALL


def test_stop_before_the_first_tag_changes_nothing(world: World) -> None:
    world.cancel.request(signal.SIGTERM)
    assert fails(world, InterruptedBySignal).details == ()
    assert world.named("a") == world.named("b") == BEFORE_ALL


def test_time_that_is_over_between_tags_says_what_is_live(world: World) -> None:
    world.stores["a"].before = failing(DeadlineError("time is over"), "put latest")
    assert fails(world, PartialReleaseError).exit_code == 8
    assert world.named("a")["1"] == OLD


# Guards and races


def test_old_release_again_after_a_newer_one_leaves_latest(world: World) -> None:
    world.release(NEW)
    moved = world.release(OLD)
    assert world.named() == AFTER_ALL
    assert {str(t.order.tag): t.outcome for t in moved.tags} == {
        "1.0.0": Outcome.ALREADY,
        "1.0": Outcome.ALREADY,
        "1": Outcome.SKIPPED,
        "latest": Outcome.SKIPPED,
    }


def publish_newer(world: World, version: str = "2.0.0") -> None:
    """Let another machine release a version in one go."""
    for store in world.stores.values():
        manifest = image_of(store, version)
        for tag in (version, version[:3], version[:1], "latest"):
            store.inner.put_manifest(manifest, Tag(tag))


RACES = ["head latest", "put latest", "put 1.1", "put 1.1.0", "head 1.1.0"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("request_", RACES)
def test_newer_release_in_between_keeps_latest(world: World, request_: str, moment: str) -> None:
    setattr(world.stores["a"], moment, once(request_, lambda: publish_newer(world)))
    world.release()
    for name in ("a", "b"):
        named = world.named(name)
        assert (named["latest"], named["1"], named["1.1.0"]) == ("2.0.0", NEW, NEW)


@pytest.mark.parametrize("request_", ["head latest", "put latest", "put 1.1.0"])
def test_newer_release_that_writes_no_version_tag_keeps_latest_too(
    world: World, request_: str
) -> None:
    """With `release = ["{major}.{minor}", "latest"]` only the images tell their versions."""
    store = world.stores["a"].inner
    content = json.loads(make_index(store, amd64=make_image(store, b"newer")).data)
    content["annotations"] = {labels.REVISION: "d" * 40, labels.VERSION: "2.0.0"}
    newer = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    move = partial(store.put_manifest, newer, Tag("latest"))
    if request_ == "put latest":
        world.stores["a"].after = once(request_, move)
    else:
        world.stores["a"].before = once(request_, move)
    world.release()
    assert store.named[Tag("latest")] == newer.digest
    assert world.named("b")["latest"] == NEW


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("request_", RACES)
def test_older_release_in_between_does_not_keep_latest(
    world: World, request_: str, moment: str
) -> None:
    setattr(world.stores["a"], moment, once(request_, lambda: publish_newer(world)))
    third = "2.1.0"
    for store in world.stores.values():
        image_of(store, third)
    world.release(third)
    digests = {store.inner.named[Tag("latest")] for store in world.stores.values()}
    assert digests == {image_of(world.stores["a"], third).digest}


def test_third_release_that_comes_while_two_are_put_in_order_stays(world: World) -> None:
    """Our late move covers 2.0.0; when that is put right, the correction covers 3.0.0."""
    a = world.stores["a"]
    coming = ["3.0.0", "2.0.0"]

    def next_one(asked: Asked) -> None:
        if str(asked) == "put latest" and coming:
            publish_newer(world, coming.pop())

    a.before = next_one
    world.release()
    assert coming == []
    assert a.inner.named[Tag("latest")] == image_of(a, "3.0.0").digest


def test_release_that_went_back_gives_way_to_a_newer_one(world: World) -> None:
    """2.0.0 comes between the look at our tag and its way back."""
    fail_when_a_is_done(world, "put latest")
    a = world.stores["a"]
    puts: list[str] = []

    def newer(asked: Asked) -> None:
        if str(asked) == "put latest":
            puts.append("put")
            if len(puts) == 2:  # the way back
                publish_newer(world)

    a.before = newer
    fails(world, PartialReleaseError)
    assert world.named("a")["latest"] == "2.0.0"


def test_release_that_went_back_after_a_stop_gives_way_to_a_newer_one(world: World) -> None:
    """As above, but what failed is a signal; like real clients, stores ask whether to stop."""
    stopped = threading.Event()
    puts: list[str] = []

    def newer(asked: Asked) -> None:
        world.cancel.check()
        if str(asked) != "put latest":
            return
        puts.append("put")
        if len(puts) == 1:
            world.cancel.request(signal.SIGTERM)
            stopped.set()
        if len(puts) == 2:  # the way back
            publish_newer(world)

    def wait(asked: Asked) -> None:
        if str(asked) == "put 1":
            assert stopped.wait(60)
        world.cancel.check()

    world.stores["a"].before = newer
    world.stores["b"].before = wait
    fails(world, InterruptedBySignal)
    assert world.named("a")["latest"] == "2.0.0"


def test_tag_that_two_releases_move_again_and_again_is_left_with_a_note(world: World) -> None:
    a = world.stores["a"]
    old = image_of(a, OLD)

    def meddle(asked: Asked) -> None:
        if str(asked) == "put latest":
            a.inner.put_manifest(old, Tag("latest"))

    a.after = meddle
    world.release()
    assert any("again and again" in note for note in world.notes)


def test_stale_reads_after_a_move_are_looked_at_again(world: World) -> None:
    a = world.stores["a"]
    shown: list[str] = []
    real = a.head

    def head(target: Tag | Digest) -> Descriptor | None:
        if str(target) == NEW and "put 1.1.0" in a.log and not shown:
            shown.append("stale")
            return None
        return real(target)

    a.head = head  # type: ignore[method-assign]
    world.release()
    assert shown == ["stale"]
    assert world.named("a") == AFTER_ALL
    assert world.puts("a").count(NEW) == 1


def test_full_disk_before_a_move_leaves_the_tag(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *_: object) -> None:
        raise BuildError(f"{self.path}: no space left")

    monkeypatch.setattr(Journal, "record", full)
    assert fails(world, BuildError).exit_code == 5
    assert world.named("a") == world.named("b") == BEFORE_ALL


def test_what_is_live_stands_in_the_journal(world: World) -> None:
    world.release()
    new = str(image_of(world.stores["a"], NEW).digest)
    assert dict(world.journal().items(Section.MOVED)) == {
        f"{name}/web:{tag}": new for name in "ab" for tag in (NEW, "1.1", "1", "latest")
    }
