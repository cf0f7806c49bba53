"""A stop while an optional registry is asked is no silence of that registry, in any step.

A real client asks a server that is stopped in the middle, and answers as registries do then.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.cli.options import Common
from podbuild.cli.session import open_session
from podbuild.commands.attest import Named, check_statements
from podbuild.commands.cleanup import check_removal_rights, remove_superseded
from podbuild.commands.leg import tag_children
from podbuild.commands.planning import plan_tolerantly
from podbuild.commands.promote import promotions
from podbuild.commands.prune import Pruner
from podbuild.commands.released import released_tag
from podbuild.commands.relocate import plan_of
from podbuild.commands.rollback import rollbacks
from podbuild.commands.verify import check_tag
from podbuild.config.template import Template
from podbuild.errors import DeadlineError, InterruptedBySignal, PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Tag
from podbuild.oci.statements import SPDX, Described, Statement
from podbuild.plan.destination import Destination, Planned, open_destinations, survey
from podbuild.plan.guards import Ancestry
from podbuild.plan.journal import Binding, ImageKey, Journal, Section
from podbuild.plan.model import Request
from podbuild.plan.tags import NamedTag, TagKind
from podbuild.publish.attach import Attacher
from podbuild.publish.attested import Demand, StatementChecker
from podbuild.publish.carry import Promoted, StatementCarrier
from podbuild.publish.ledger import record_superseded
from podbuild.publish.move import Moved, Order, Outcome, Placer, Tagged
from podbuild.publish.tag import BranchGuard, Readers, ReleaseGuard, TagMover
from podbuild.publish.upload import Publisher, preflight
from podbuild.publish.verify import Expectation, verify_release
from podbuild.semver import Version
from podbuild.system import cancel as cancelling
from podbuild.workspace import Services
from tests.fakes.answering import Answer, answering
from tests.images import make_image

CONFIG = """
[project]
name = "shop"
[images.web]
containerfile = "Containerfile"
[registries.here]
kind = "layout"
path = "registry/{{image}}"
[registries.far]
kind = "oci"
repository = "{host}/shop/{{image}}"
insecure = true
required = false
[tags]
branches = {{ main = ["edge"] }}
[retention]
superseded = true
grace = "0s"
"""
EDGE = Tag("edge")


class Expiring(cancelling.Cancel):
    """A stop whose time is over when a test says so."""

    def expire(self) -> None:
        self._deadline = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class World:
    """A project with an image in a folder, and a registry that is stopped when it is asked."""

    services: Services
    image: Manifest
    told: list[str] = field(default_factory=list)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        return open_destinations(self.services.opener, plan_of(self.services, Request()))

    @property
    def far(self) -> Destination:
        return next(each for each in self.destinations if not each.required)

    @property
    def order(self) -> Order:
        named = NamedTag(tag=EDGE, kind=TagKind.MOVING, template=Template("edge"))
        return Order(destination=self.far, named=named, manifest=self.image)

    @property
    def journal(self) -> Journal:
        binding = Binding(release="1", commit="", configuration="", toolchain="")
        return Journal(self.services.config.output / "state.json", binding, {})

    @property
    def guard(self) -> BranchGuard:
        return BranchGuard(commit="c" * 40, ancestry=lambda _revision: Ancestry.ANCESTOR)

    @property
    def staged(self) -> MemoryStore:
        store = MemoryStore()
        make_image(store, b"web")
        return store


def asks_logins(world: World) -> None:
    preflight(world.destinations, world.services.cancel)


def surveys(world: World) -> None:
    survey(plan_of(world.services, Request()), world.destinations, world.services.cancel)


def plans_tolerantly(world: World) -> None:
    plan_tolerantly(world.services, Planned(plan=plan_of(world.services, Request())))


def guards(world: World) -> None:
    guard = ReleaseGuard(
        version=Version.parse("1.0.0"),
        commit="",
        results={},
        destinations=world.destinations,
        readers={"web": Readers(())},
        cancel=world.services.cancel,
    )
    guard.refresh()


def promotes(world: World) -> None:
    promotions(world.services, Request(), EDGE, Tag("stable"))


def rolls_back(world: World) -> None:
    rollbacks(world.services, Request(), None)


def reads_what_is_released(world: World) -> None:
    released_tag(world.services, EDGE, Request())


def checks_a_tag(world: World) -> None:
    check_tag(world.services, Request(), "edge")


def publishes(world: World) -> None:
    services = world.services
    publisher = Publisher(
        destinations=world.destinations,
        source=lambda _image: world.staged,
        journal=world.journal,
        retry=services.retry,
        cancel=services.cancel,
    )
    with publisher:
        publisher.finish([("web", world.image)])


def names_children(world: World) -> None:
    parts = [("web", world.image)]
    tag_children(world.destinations, parts, world.told.append, world.services.cancel)


def moves_tags(world: World) -> None:
    services = world.services
    mover = TagMover(
        guard=world.guard,
        journal=world.journal,
        retry=services.retry,
        cancel=services.cancel,
        command="",
        note=world.told.append,
    )
    mover.move([world.order])


def settles(world: World) -> None:
    services = world.services
    placer = Placer(
        guard=world.guard,
        journal=world.journal,
        retry=services.retry,
        cancel=services.cancel,
        note=world.told.append,
    )
    placer.settle([Tagged(order=world.order, outcome=Outcome.MOVED)])


def verifies(world: World) -> None:
    asked = [Expectation(destination=each, tag=EDGE) for each in world.destinations]
    verify_release(asked, frozenset(), world.told.append, world.services.cancel)


def attaches(world: World) -> None:
    said = {SPDX: lambda: Statement(SPDX, b"{}")}
    subject = Described(image="web", name="web", manifest=world.image, statements=said)
    attacher = Attacher(
        destinations=(world.far,),
        signer=None,
        journal=world.journal,
        cancel=world.services.cancel,
    )
    attacher.attach([subject])


def checker(world: World) -> StatementChecker:
    demand = Demand(accepted=None, sbom=True, provenance=False)
    return StatementChecker(demand, world.services.cancel)


def carries(world: World) -> None:
    promoted = Promoted(
        destination=world.far, tag=EDGE, version="", manifest=world.image, source=world.staged
    )
    carrier = StatementCarrier(checker=checker(world), classic=None, cancel=world.services.cancel)
    carrier.carry([promoted])


def reads_statements(world: World) -> None:
    check_statements(checker(world), [Named(world.far, EDGE, world.image)])


def asks_what_may_go(world: World) -> None:
    plan = plan_of(world.services, Request())
    check_removal_rights(world.services, plan, world.destinations)


def cleans_up(world: World) -> None:
    services, journal = world.services, world.journal
    journal.record(Section.SUPERSEDED, ImageKey(world.far.key, world.image.digest), "edge")
    nothing = Moved(tags=(), failed={})
    record_superseded(services.folders, services.config.root, journal, nothing)
    remove_superseded(services, plan_of(services, Request()), world.destinations)


def prunes(world: World) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    tuple(Pruner(services=world.services, request=Request(), now=tomorrow).plans())


STEPS = (
    asks_logins,
    surveys,
    plans_tolerantly,
    guards,
    promotes,
    rolls_back,
    reads_what_is_released,
    checks_a_tag,
    publishes,
    names_children,
    moves_tags,
    settles,
    verifies,
    attaches,
    carries,
    reads_statements,
    asks_what_may_go,
    cleans_up,
    prunes,
)


@contextmanager
def world_at(folder: Path, answer: Callable[[Expiring], Answer]) -> Iterator[World]:
    """Give a project whose optional registry gives this answer; it hears what stops the run."""
    with answering(lambda _asked: answer(found[0])) as server:
        (folder / "podbuild.toml").write_text(CONFIG.format(host=server.host))
        (folder / "Containerfile").write_text("FROM scratch\n")
        with open_session(Common(directory=folder), "1h") as session:
            services = session.services()
            assert isinstance(services.cancel, Expiring)
            found = [services.cancel]
            no_programs = services.runner.extended({"PATH": ""})
            here = services.opener.open(services.config.registry("here"), "registry/web")
            image = make_image(here, b"web")
            here.put_manifest(image, EDGE)
            yield World(services=replace(services, runner=no_programs), image=image)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setattr(cancelling, "Cancel", Expiring)


def terminated(cancel: Expiring) -> None:
    cancel.request(signal.SIGTERM)


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize(
    ("stop", "kind"),
    [(terminated, InterruptedBySignal), (Expiring.expire, DeadlineError)],
    ids=["signal", "timeout"],
)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_stop_is_no_silence_of_an_optional_registry(
    step: Callable[[World], None],
    stop: Callable[[Expiring], None],
    kind: type[PodbuildError],
    status: int,
    tmp_path: Path,
) -> None:
    asked = []

    def answer(cancel: Expiring) -> Answer:
        asked.append(status)
        stop(cancel)
        return Answer(status)

    with world_at(tmp_path, answer) as world, pytest.raises(kind):
        step(world)
    assert asked


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_what_an_optional_registry_refuses_ends_nothing(
    step: Callable[[World], None], tmp_path: Path
) -> None:
    with world_at(tmp_path, lambda _cancel: Answer(403)) as world:
        step(world)
