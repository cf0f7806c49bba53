"""Releases, kills and a prune at the same time on two registries, in an order that a seed decides.

The real steps run: publish by digest, tags with their guards, verify, cleanup. Only the threads
and the registries are ours.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from unittest import mock

from podbuild.config.model import Retention
from podbuild.config.template import Placeholders, Template
from podbuild.errors import CleanupError, PodbuildError, PublishError
from podbuild.oci.delete import Abilities, Inventory, Removal
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.plan.destination import Destination
from podbuild.plan.guards import ReleaseIdentity
from podbuild.plan.journal import Binding, Journal
from podbuild.plan.tags import Reader, TagKind, release_tags
from podbuild.publish.move import Order
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import prune_repository
from podbuild.publish.retention.policy import prune_policy
from podbuild.publish.tag import Readers, ReleaseGuard, TagMover
from podbuild.publish.upload import Publisher
from podbuild.publish.verify import Expectation, check, verify_or_raise
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry
from tests.graphs import NOW
from tests.images import make_image, make_index
from tests.memory_remover import MemoryRemover
from tests.scripted import Asked, ScriptedStore
from tests.turns import TurnPool, Turns

REGISTRIES = ("a", "b")
TEMPLATES = tuple(map(Template, ("{version}", "{major}.{minor}", "{major}", "latest")))
SHARED = b"what did not change since the image that is due to go"


class Killed(BaseException):
    """What a kill -9 is to the code that it hits: nothing after it runs."""


class Notebook(Journal):
    """A journal that outlives a kill in memory."""

    def __init__(self, version: str) -> None:
        binding = Binding(release=version, commit=version, configuration="", toolchain="")
        super().__init__(Path("nowhere"), binding, {})

    def _save(self) -> None:
        return


@dataclass
class Patient(Cancel):
    """Waits by letting the others go on."""

    wait: Callable[[], None]

    def __post_init__(self) -> None:
        Cancel.__init__(self)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.check()
        self.wait()


@dataclass
class TurnRemover(MemoryRemover):
    """Deletes one request at a time."""

    turn: Callable[[], None] = lambda: None

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        self.turn()
        return super().inventory(on_page)

    def listed(self) -> frozenset[Tag | Digest]:
        self.turn()
        return super().listed()

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        self.turn()
        return super().remove_manifest(digest, tags)


@dataclass
class Trouble:
    """Happens once, at a certain request of one release: a failure, a lost reply or a kill."""

    at: int
    error: BaseException
    lost: bool  # the request is carried out, its reply is not heard
    asked: int = 0

    def before(self, _asked: Asked) -> None:
        self.asked += 1
        if self.asked == self.at and not self.lost:
            raise self.error

    def after(self, _asked: Asked) -> None:
        if self.asked == self.at and self.lost:
            self.asked += 1  # only once
            raise self.error


@dataclass
class Race:
    """One world with its seed. It holds 1.0.0, and an untagged image that is due to go."""

    seed: int
    staged: MemoryStore = field(default_factory=MemoryStore)
    registries: dict[str, MemoryStore] = field(default_factory=dict)
    images: dict[str, Manifest] = field(default_factory=dict)
    seen: dict[tuple[str, Tag], Digest] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    cleaned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.turns = Turns(self.seed, self.watch)
        self.random = random.Random(self.seed)
        for version in ("1.0.0", "1.1.0", "1.2.0", "2.0.0"):
            self.images[version] = self._image(self.staged, version)
        for name in REGISTRIES:
            store = self.registries[name] = MemoryStore(name=name)
            old = self._image(store, "1.0.0")
            for tag in ("1.0.0", "1.0", "1", "latest"):
                store.put_manifest(old, Tag(tag))
            self.superseded = self._image(store, "gone")
        self.finished.add("1.0.0")

    def _image(self, store: MemoryStore, version: str) -> Manifest:
        """Make an index; all but the first release share a child with what prune deletes."""
        return make_index(
            store,
            amd64=make_image(store, b"first" if version == "1.0.0" else SHARED),
            arm64=make_image(store, version.encode(), architecture="arm64"),
        )

    # Actors

    def release(
        self, version: str, journal: Notebook | None = None, trouble: Trouble | None = None
    ) -> None:
        """Carry out a release, again and again until it is through, as a user would."""
        journal = journal or Notebook(version)
        for _ in range(20):
            try:
                self._attempt(version, journal, trouble)
            except (PodbuildError, Killed):
                trouble = None
                continue
            self.finished.add(version)
            return
        raise AssertionError(f"{version} does not get through")

    def prune(self) -> None:
        """Clean both registries of what is due."""
        for store in self.registries.values():
            policy = prune_policy(
                Retention(superseded=True, grace=0),
                NOW,
                superseded={self.superseded.digest: NOW - timedelta(days=2)},
            )
            pushed = dict.fromkeys(store.manifests, NOW - timedelta(days=30))
            remover = TurnRemover(
                store,
                Abilities(tags=True, manifests=True),
                pushed={each: when for each, when in pushed.items() if each in self._old()},
                turn=self.turns.pass_on,
            )
            scripted = ScriptedStore(inner=store, before=self.turns.pass_on)
            place = CleanupTarget(key=store.name, store=scripted, remover=remover)
            self.cleaned.add(store.name)
            try:
                prune_repository(place, policy, self._cancel())
            except CleanupError as error:
                assert "changes while" in error.message, error  # noqa: PT017
            self.cleaned.remove(store.name)

    def _old(self) -> frozenset[Digest]:
        known = (self.superseded, self.images["1.0.0"])
        return frozenset(
            digest for top in known for digest in (top.digest, *(c.digest for c in top.children))
        )

    def _cancel(self) -> Cancel:
        return Patient(self.turns.pass_on)

    def _attempt(self, version: str, journal: Notebook, trouble: Trouble | None) -> None:
        cancel = self._cancel()
        image = self.images[version]
        destinations = tuple(
            Destination(image="web", registry=name, required=True, store=self._store(name, trouble))
            for name in REGISTRIES
        )
        retry = Retry(attempts=3, sleep=self.turns.pass_on)
        with Publisher(
            destinations=destinations,
            source=lambda _image: self.staged,
            journal=journal,
            retry=retry,
            cancel=cancel,
        ) as publisher:
            for child in image.children:
                staged = self.staged.manifest(child.digest)
                assert staged is not None
                publisher.offer("web", staged)
                self.turns.pass_on()
            publisher.finish([("web", image)])
        values = Placeholders(project="p", image="web", version=Version.parse(version))
        mover = TagMover(
            guard=self._guard(version, values, destinations),
            journal=journal,
            retry=retry,
            cancel=cancel,
            command="",
            note=lambda _text: None,
        )
        orders = [
            Order(destination=destination, named=named, manifest=image)
            for destination in destinations
            for named in release_tags(TEMPLATES, values)
        ]
        mover.move(orders)
        asked = (
            Expectation(destination=order.destination, tag=order.tag, digest=image.digest)
            for order in orders
            if order.kind is TagKind.VERSION
        )
        verify_or_raise(asked, frozenset(), Cancel())

    def _store(self, name: str, trouble: Trouble | None) -> ScriptedStore:
        def before(asked: Asked) -> None:
            self.turns.pass_on()
            if trouble:
                trouble.before(asked)

        def after(asked: Asked) -> None:
            if trouble:
                trouble.after(asked)

        return ScriptedStore(inner=self.registries[name], before=before, after=after)

    def _guard(
        self, version: str, values: Placeholders, destinations: tuple[Destination, ...]
    ) -> ReleaseGuard:
        readers = Readers(tuple(Reader(template, values) for template in TEMPLATES))
        return ReleaseGuard(
            version=Version.parse(version),
            commit=version,
            results={
                "web": ReleaseIdentity(
                    commit=version, fingerprint="", platforms=frozenset(), clean=True
                )
            },
            destinations=destinations,
            readers={"web": readers},
        )

    # What must hold

    def watch(self) -> None:
        """Look at everything: what a tag names is complete everywhere, versions never change.

        While a cleanup is at work it may take what a push needs at that moment; it finds that
        out and puts it back before it ends.
        """
        steady = [each for name, each in self.registries.items() if name not in self.cleaned]
        for name, store in self.registries.items():
            for tag, digest in store.named.items():
                for other in steady:
                    assert _pulls(other, digest), f"{name}:{tag} is not complete on {other.name}"
                if str(tag).count(".") == 2:
                    assert self.seen.setdefault((name, tag), digest) == digest

    def judge(self) -> None:
        """Look at the end: every tag names the highest finished version of its range."""
        self.watch()
        versions = sorted(map(Version.parse, self.finished))
        wanted: dict[Tag, Digest] = {}
        for version in versions:  # the highest comes last
            values = Placeholders(project="p", image="web", version=version)
            for named in release_tags(TEMPLATES, values):
                wanted[named.tag] = self.images[str(version)].digest
        for name, store in self.registries.items():
            assert store.named == wanted, f"{name} of seed {self.seed}"
            for tag in store.named:
                destination = Destination(image="web", registry=name, required=True, store=store)
                assert check(Expectation(destination=destination, tag=tag)).problems == ()


def _pulls(store: MemoryStore, digest: Digest) -> bool:
    manifest = store.manifests.get(digest)
    return (
        manifest is not None
        and all(blob.digest in store.blobs for blob in manifest.blobs)
        and all(_pulls(store, child.digest) for child in manifest.children)
    )


@contextmanager
def taking_turns(turns: Turns) -> Iterator[None]:
    """Let all threads of the steps take turns while the block runs."""
    pool = type("Pool", (TurnPool,), {"turns": turns})
    with ExitStack() as patches:
        for name, module in tuple(sys.modules.items()):
            if name.startswith(
                ("podbuild.plan.", "podbuild.build.", "podbuild.publish.")
            ) and hasattr(module, "ThreadPoolExecutor"):
                patches.enter_context(mock.patch.object(module, "ThreadPoolExecutor", pool))
        yield


def race_of_releases(seed: int) -> Race:
    """Run two releases and a prune at the same time."""
    race = Race(seed)
    first, second = race.random.sample(("1.1.0", "1.2.0", "2.0.0"), 2)
    with taking_turns(race.turns):
        race.turns.run(lambda: race.release(first), lambda: race.release(second), race.prune)
    race.judge()
    return race


def race_with_trouble(seed: int) -> Race:
    """Run them, and let one release fail, lose a reply or be killed at a random request."""
    race = Race(seed)
    first, second = race.random.sample(("1.1.0", "1.2.0", "2.0.0"), 2)
    error = race.random.choice((Killed(), PublishError("connection reset")))
    trouble = Trouble(race.random.randrange(1, 90), error, lost=race.random.random() < 0.5)
    with taking_turns(race.turns):
        race.turns.run(
            lambda: race.release(first, trouble=trouble), lambda: race.release(second), race.prune
        )
    race.judge()
    return race
