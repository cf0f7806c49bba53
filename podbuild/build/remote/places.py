"""Where jobs are built: on this machine, or on builders of the configuration.

What is asked, in order: a free slot, who built this image last, who is the fastest by record.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from podbuild.build.inputs.recipe import Recipe
from podbuild.build.remote.builder import RemoteBuilder, Supplies
from podbuild.build.remote.ssh import BuilderFacts, UnfitBuilderError
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import Toolchain
from podbuild.config.builders import HERE
from podbuild.errors import ConfigError, ToolError
from podbuild.oci.names import Platform
from podbuild.plan.model import Job, Plan
from podbuild.system.records import JSONValue, Records
from podbuild.workspace import Services

_NAME = "builders.json"
_FACTS = "builder-facts.json"
_LASTING = 7 * 86400  # seconds for which a builder is taken for what it was
_POLL = 0.2
_HOST_NAME = "/etc/hostname"  # builders have one of their own over an image's


@dataclass(frozen=True)
class BuildPlace:
    """Where a job is built: a builder, or this machine (None)."""

    builder: RemoteBuilder | None

    @property
    def name(self) -> str:
        """Give its name in records."""
        return self.builder.name if self.builder else HERE


@dataclass
class _Slots:
    place: BuildPlace
    free: int


class BuildPlaces:
    """Knows the builders that can be used now. Safe to share between threads."""

    def __init__(self, services: Services, plan: Plan, toolchain: Callable[[], Toolchain]) -> None:
        self._services = services
        self._plan = plan
        self._toolchain = toolchain
        self._records = Records.of_project(services.folders.cache, services.config.root)
        self._all = _wanted(services, plan)
        self._usable: dict[Platform, tuple[RemoteBuilder, ...]] = {}
        self._engines: dict[Platform, str] = {}
        self._natives: dict[Platform, Platform] = {}
        self._facts: dict[str, BuilderFacts] = {}
        self.is_open = False
        self._slots: dict[str, _Slots] = {}
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, Job, tuple[str, ...]]] = []
        self.supplies: Supplies | None = None

    def open(self) -> None:
        """Connect to all builders that may be needed and sort them by what they build.

        Raises CredentialError where ssh does not let us in, and where nothing is left, or a
        builder was asked for by name, what keeps it from being used.
        """
        asked = self._asked
        with ThreadPoolExecutor(max(1, len(asked)), thread_name_prefix="builder") as pool:
            found = dict(zip(asked, pool.map(self._try, asked), strict=True))
        self._facts = {each.name: facts for each, facts in found.items() if facts}
        self._remember_facts()
        self.is_open = True
        self._sort()
        for each in asked:
            if each.name in self._facts:
                self._slots[each.name] = _Slots(BuildPlace(each), each.slots)
        here = self._plan.request.jobs
        self._slots[HERE] = _Slots(BuildPlace(None), here or _cpus())

    def foresee(self) -> bool:
        """Take builders for what they were when they were last asked; False where one is not known.

        Enough to tell what need not be built.
        """
        known, now = self._records.read(_FACTS), time.time()
        for each in self._asked:
            match known.get(each.name):
                case {"host": each.builder.host, "at": float(at), "facts": str(line)} if (
                    now - _LASTING < at <= now
                ):
                    if line:
                        with suppress(UnfitBuilderError):
                            self._facts[each.name] = BuilderFacts.parse(line)
                case _:
                    return False
        try:
            self._sort()
        except ToolError:  # for `open` to say, of what they are now
            return False
        return True

    @property
    def engines(self) -> Mapping[Platform, tuple[str, Platform]]:
        """Give what of the builders is an input: for each platform the engine, and where it runs.

        A platform that no builder has is not in it.
        """
        return {
            platform: (self._engines[platform], self._natives[platform])
            for platform, found in self._usable.items()
            if found
        }

    @property
    def _needed(self) -> tuple[Platform, ...]:
        return tuple(dict.fromkeys(job.platform for job in self._plan.jobs))

    @property
    def _asked(self) -> tuple[RemoteBuilder, ...]:
        needed = {*self._needed}
        return tuple(
            each
            for each in self._all
            if needed and (not each.builder.platforms or needed & {*each.builder.platforms})
        )

    def _sort(self) -> None:
        """Say which builders build what."""
        self._usable, self._engines, self._natives = {}, {}, {}
        native = Platform("linux", native_architecture())
        for platform in self._needed:
            found = [
                each
                for each in self._asked
                if each.name in self._facts
                and platform in (each.builder.platforms or (self._native(each),))
            ]
            self._usable[platform] = self._alike(platform, found, here=platform == native)
            if found := [*self._usable[platform]]:
                self._natives[platform] = self._native(found[0])
            elif not self._services.config.builders.local:
                raise ToolError(
                    f"no builder for {platform}, and this machine builds nothing",
                    hint="[builders] local = true, or a builder that can be reached",
                )

    def _native(self, builder: RemoteBuilder) -> Platform:
        return Platform("linux", self._facts[builder.name].architecture)

    def _remember_facts(self) -> None:
        known = dict(self._records.read(_FACTS))
        for each in self._asked:
            facts = self._facts.get(each.name)
            known[each.name] = {
                "host": each.builder.host,
                "at": time.time(),
                "facts": facts.line if facts else "",
            }
        if self._asked:
            self._records.write(_FACTS, known)

    def close(self) -> None:
        """End what runs on builders."""
        for each in self._all:
            each.close()

    def engine(self, recipe: Recipe) -> str:
        """Give kind and version of the engine that builds a job."""
        own = self._engines.get(recipe.job.platform)
        return own if own and not self.only_here(recipe) else self._toolchain().identity

    def build_platform(self, platform: Platform) -> Platform:
        """Give the platform of the machine that builds for one."""
        if platform in self._natives and platform.architecture != native_architecture():
            return self._natives[platform]
        return Platform("linux", native_architecture())

    def may_be_here(self, recipe: Recipe) -> bool:
        """Tell whether this machine may build it."""
        return HERE in self._candidates(recipe)

    @property
    def workers(self) -> int:
        """Give how many jobs can be under way, waiting ones included."""
        return 256

    @contextmanager
    def taken(
        self, recipe: Recipe, *, without: Sequence[str] = (), first: float = 0.0
    ) -> Iterator[BuildPlace]:
        """Give the place for a job while the block runs; of those that wait, the highest `first`.

        `without` are those where it got lost. Raises what Cancel.check does.
        """
        every = self._candidates(recipe)
        left = tuple(name for name in every if name not in without) or every
        slots = self._take(recipe.job, left, first)
        try:
            yield slots.place
        finally:
            with self._changed:
                slots.free += 1
                self._changed.notify_all()

    @contextmanager
    def here(self, job: Job, first: float) -> Iterator[None]:
        """Take a slot of this machine while the block runs."""
        slots = self._take(job, (HERE,), first)
        try:
            yield
        finally:
            with self._changed:
                slots.free += 1
                self._changed.notify_all()

    def remember(self, took: Mapping[Job, tuple[str, float]]) -> None:
        """Keep who built what, and in how many seconds."""
        known = self._records.read(_NAME)
        for job, (name, seconds) in took.items():
            before = known.get(str(job))
            times = before.get("seconds", {}) if isinstance(before, dict) else {}
            times = {**times, name: round(seconds, 2)} if isinstance(times, dict) else {}
            known = {**known, str(job): {"last": name, "seconds": times}}
        if took:
            self._records.write(_NAME, known)

    def _take(self, job: Job, names: tuple[str, ...], first: float) -> _Slots:
        mine = (-first, job, names)
        with self._changed:
            self._waiting.append(mine)
            self._waiting.sort(key=lambda each: each[:2])
            try:
                while True:
                    self._services.cancel.check()
                    if found := self._free_for(mine):
                        found.free -= 1
                        return found
                    self._changed.wait(_POLL)
            finally:
                self._waiting.remove(mine)

    def _free_for(self, mine: tuple[float, Job, tuple[str, ...]]) -> _Slots | None:
        """Give the best free place that nobody before us in the queue would take."""
        free = {name: slots.free for name, slots in self._slots.items()}
        for each in self._waiting:
            _, job, names = each
            best = choose(names, free, self._records.read(_NAME).get(str(job)))
            if each is mine:
                return self._slots[best] if best else None
            if best:
                free[best] -= 1
        return None

    def _candidates(self, recipe: Recipe) -> tuple[str, ...]:
        platform = recipe.job.platform
        local = self._services.config.builders.local
        remote = tuple(each.name for each in self._usable.get(platform, ()))
        if why := self.only_here(recipe):
            if not local:
                raise ToolError(
                    f"{recipe.job}: {why}, and this machine builds nothing",
                    hint="[builders] local = true",
                )
            return (HERE,)
        named = bool(self._plan.request.builders)
        if not remote:
            return (HERE,)
        native = platform.architecture == native_architecture()
        return (HERE, *remote) if local and native and not named else remote

    def only_here(self, recipe: Recipe) -> str:
        """Say why a job can't be built elsewhere; empty where it can, or no builder would."""
        native = self._natives.get(recipe.job.platform)
        if native is None:
            return ""
        if recipe.ssh:
            return "ssh agents are not taken to builders"
        if _HOST_NAME in recipe.text:
            return f"builders lose what a RUN writes to {_HOST_NAME}"
        if any("/" in name for name in recipe.extras):
            return "a context that is a folder has a name with a slash, which no builder takes"
        foreign = native.architecture != native_architecture()
        if foreign and recipe.inner.across:
            return "it builds on an image of this machine's platform"
        return ""

    def _try(self, builder: RemoteBuilder) -> BuilderFacts | None:
        try:
            return builder.facts()
        except UnfitBuilderError as error:
            if self._plan.request.builders:
                raise
            self._services.ui.warn(f"the builder {builder.name} is not used: {error.message}")
            return None

    def _alike(
        self, platform: Platform, found: Sequence[RemoteBuilder], *, here: bool
    ) -> tuple[RemoteBuilder, ...]:
        """Keep those with one engine: another version may give other bytes."""
        own = self._toolchain().identity
        local = here and self._services.config.builders.local
        good = []
        for each in found:
            engine = engine_of(self._facts[each.name], own)
            wanted = own if local else self._engines.setdefault(platform, engine)
            if engine == wanted:
                self._engines[platform] = engine
                good.append(each)
            elif not self.is_open:
                continue
            elif self._plan.request.builders:
                raise UnfitBuilderError(
                    f"the builder {each.name} has {engine}, the others for {platform} {wanted}",
                    hint="the same version everywhere gives the same bytes everywhere",
                )
            else:
                self._services.ui.warn(
                    f"the builder {each.name} is not used for {platform}: it has {engine}, "
                    f"the others {wanted}"
                )
        return tuple(good)


def choose(names: Sequence[str], free: Mapping[str, int], known: JSONValue) -> str | None:
    """Give the best place with a free slot; None where all are busy.

    `known` is the record of a job: who built it last, and in how many seconds each did.
    """
    record = known if isinstance(known, dict) else {}
    times = record.get("seconds")

    def rank(name: str) -> tuple[bool, float, int]:
        took = times.get(name) if isinstance(times, dict) else None
        seconds = float(took) if isinstance(took, int | float) else float("inf")
        return name != record.get("last"), seconds, names.index(name)

    return min((name for name in names if free.get(name, 0) > 0), key=rank, default=None)


def engine_of(facts: BuilderFacts, own: str) -> str:
    """Give a builder's engine as this machine's would be called, where it is the same."""
    names = (f"buildah-{facts.buildah}", f"podman-{facts.podman}")
    return own if own in names else names[0]


def _wanted(services: Services, plan: Plan) -> tuple[RemoteBuilder, ...]:
    config, request = services.config.builders, plan.request
    if not request.remote:
        if not config.local:
            raise ConfigError(
                "--no-builders, and [builders] says local = false: nobody is left to build",
                hint="leave one of the two out",
            )
        return ()
    known = [each.name for each in config.each]
    for name in request.builders:
        if name not in known:
            raise ConfigError(
                f"unknown builder {name!r}",
                hint=f"the configuration has: {', '.join(known) or 'none'}",
            )
    return tuple(
        RemoteBuilder(each, services.runner, services.folders)
        for each in config.named(request.builders)
    )


def _cpus() -> int:
    return max(2, len(os.sched_getaffinity(0)))
