"""Snapshots of one branch at the same time on two registries, in an order that a seed decides.

Registries have no compare-and-swap: what comes between the last look at a tag and its move is
covered. A race counts these moments, so that nothing else can pass for one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from podbuild.config.template import Placeholders, Template
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.plan import labels
from podbuild.plan.destination import Destination
from podbuild.plan.guards import Ancestry
from podbuild.plan.tags import branch_tags
from podbuild.publish.move import Order, Outcome
from podbuild.publish.tag import BranchGuard, TagMover
from podbuild.system.retry import Retry
from tests.images import make_image, make_index
from tests.races import REGISTRIES, Notebook, Patient, taking_turns
from tests.scripted import Asked, ScriptedStore
from tests.turns import Turns

EDGE = Tag("edge")
RULES = {"main": (Template("edge"),)}


@dataclass
class BranchRace:
    """One world with its seed: `edge` names the first of some commits, the others race."""

    seed: int
    commits: int
    registries: dict[str, MemoryStore] = field(default_factory=dict)
    images: dict[int, Manifest] = field(default_factory=dict)
    looked: dict[tuple[int, str], Digest | None] = field(default_factory=dict)
    covered: set[str] = field(default_factory=set)  # registries where that happened
    meanwhile: Callable[[], None] = lambda: None  # what happens while git is asked
    outcomes: dict[int, set[Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.turns = Turns(self.seed)
        self.random = random.Random(self.seed)
        for name in REGISTRIES:
            store = self.registries[name] = MemoryStore(name=name)
            for commit in range(self.commits):
                self.images[commit] = _image(store, commit)
            store.put_manifest(self.images[0], EDGE)

    def snapshot(self, commit: int) -> None:
        """Let one commit's snapshot move the branch's tag."""
        values = Placeholders(project="p", image="web", branch="main", sha=revision(commit)[:7])
        destinations = tuple(
            Destination(image="web", registry=name, required=True, store=self._store(name, commit))
            for name in REGISTRIES
        )
        mover = TagMover(
            guard=BranchGuard(commit=revision(commit), ancestry=partial(self._ancestry, commit)),
            journal=Notebook(f"main-{commit}"),
            retry=Retry(attempts=3, sleep=self.turns.pass_on),
            cancel=Patient(self.turns.pass_on),
            command="",
            note=lambda _text: None,
        )
        moved = mover.move(
            Order(destination=each, named=named, manifest=self.images[commit])
            for each in destinations
            for named in branch_tags(RULES, values)
        )
        self.outcomes[commit] = {tagged.outcome for tagged in moved.tags}

    def _ancestry(self, commit: int, other: str) -> Ancestry:
        self.turns.pass_on()  # git takes its time
        self.meanwhile()
        return Ancestry.ANCESTOR if int(other, 16) <= commit else Ancestry.NOT_ANCESTOR

    def _store(self, name: str, commit: int) -> ScriptedStore:
        inner = self.registries[name]

        def before(asked: Asked) -> None:
            self.turns.pass_on()
            found = inner.named.get(EDGE)
            if asked.target != str(EDGE):
                return
            if asked.verb == "put" and self.looked.get((commit, name)) != found:
                self.covered.add(name)
            self.looked[commit, name] = found

        return ScriptedStore(inner=inner, before=before)

    def judge(self) -> None:
        """The newest commit has the tag, but for what came between a look and a move."""
        newest = self.images[self.commits - 1].digest
        for name, store in self.registries.items():
            assert store.named[EDGE] == newest or name in self.covered, f"seed {self.seed}"
        assert self.covered or Outcome.MOVED in self.outcomes[self.commits - 1]


def revision(commit: int) -> str:
    """Give a commit's id; later commits have higher ones."""
    return f"{commit:040x}"


def _image(store: MemoryStore, commit: int) -> Manifest:
    child = make_image(store, revision(commit).encode())
    content = json.loads(make_index(store, amd64=child).data)
    content["annotations"] = {labels.REVISION: revision(commit)}
    index = Manifest(make_index(store, amd64=child).media_type, json.dumps(content).encode())
    store.put_manifest(index)
    return index


def race_of_snapshots(seed: int) -> BranchRace:
    """Let the snapshots of two or three commits run at the same time."""
    race = BranchRace(seed, commits=3 + seed % 2)
    others = list(range(1, race.commits))
    race.random.shuffle(others)
    with taking_turns(race.turns):
        race.turns.run(*(partial(race.snapshot, commit) for commit in others))
    race.judge()
    return race
