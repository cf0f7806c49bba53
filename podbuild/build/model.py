"""What building gives, as values: each job's image, its cost, from what and from where it is.

They import nothing that builds: a release that has nothing to build loads no more than these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum

from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.oci.store import Store
from podbuild.plan.model import Job
from podbuild.system.console.text import size as size_text
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue


class Origin(StrEnum):
    """Where a platform's image comes from."""

    BUILT = "built"
    REUSED = "reused"  # same inputs as an image that exists
    ADOPTED = "adopted"  # the version's tag existed already
    JOINED = "joined"  # handed over by another machine


@dataclass(frozen=True, kw_only=True)
class InputHash:
    """The hash of a recipe's inputs; `never_again` says why its result must not be re-used.

    `source` is the hash of what of them commit and configuration decide.
    """

    text: str
    never_again: str = ""
    source: str = ""

    @property
    def reusable(self) -> bool:
        """Tell whether an image with this hash is the image that a build would give."""
        return not self.never_again

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command cost: CPU seconds of all its processes, peak memory (bytes) of the largest."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """What one instruction cost (seconds). `line` is None where no file of the project has it."""

    line: int | None
    text: str  # as written, without heredocs
    seconds: float
    cached: bool = False
    pulled: bool = False  # from the registry's layer cache


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What one job cost. No CPU seconds and no memory: not known."""

    began: float = 0.0  # seconds since 1970; 0: not known
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the largest process
    context_bytes: int = 0
    steps: int = 0
    cached_steps: int = 0
    pulled_steps: int = 0  # of the cached ones, from the registry's layer cache
    pushed_steps: int = 0  # that the registry's layer cache did not have
    layer_bytes: int = 0  # compressed, all layers of the image
    retries: int = 0
    builder: str = ""  # that it ran on; empty for this machine
    times: tuple[StepTime, ...] = ()  # of the steps, in order

    def with_delivery(self, seconds: float, cost: Cost) -> Metrics:
        """Add what it cost to bring the image from the engine's storage to staging."""
        return replace(
            self,
            seconds=self.seconds + seconds,
            cpu_seconds=self.cpu_seconds + cost.cpu_seconds,
            peak_memory=max(self.peak_memory, cost.peak_memory),
        )


@dataclass(frozen=True, kw_only=True)
class Known:
    """A result of an earlier run, and why it holds."""

    manifest: Manifest
    reason: str
    made_here: bool = True  # False: a registry holds it, and nobody here knows how it was made


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """One image for one platform, as it is staged; `reason` says why it was not built again."""

    job: Job
    manifest: Manifest
    metrics: Metrics = field(default_factory=Metrics)
    reason: str = ""
    made_here: bool = True  # as in `Known`

    @property
    def reused(self) -> bool:
        """Tell whether an earlier result was taken."""
        return bool(self.reason)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of every job."""

    images: Mapping[Job, BuiltImage]
    failed: Mapping[Job, PodbuildError] = field(default_factory=dict)
    skipped: frozenset[Job] = frozenset()

    def check(self) -> None:
        """Raise the first failure; its details name the others."""
        if not self.failed:
            return
        first, *others = (self.failed[job] for job in sorted(self.failed))
        more = [f"also: {error}" for error in others]
        left = [f"not built because of it: {job}" for job in sorted(self.skipped)]
        first.details = (*first.details, *more, *left)
        raise first


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What is staged of each job, and from what; `built` knows what failed."""

    images: Mapping[Job, BuiltImage]
    inputs: Mapping[Job, InputHash]
    joined: frozenset[Job] = frozenset()  # built by other machines
    built: Built = field(default_factory=lambda: Built(images={}))

    def check(self) -> None:
        """Raise the first failure of a job."""
        self.built.check()


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """What a journal says of a job: its image, from what, and where it came from."""

    digest: Digest
    inputs: InputHash
    origin: Origin = Origin.BUILT
    folder: str = ""  # that handed it over
    dirty: bool = False  # the work tree had changes that no commit holds
    asked: bool = True  # False: it was only needed for another image

    def to_json(self) -> dict[str, JSONValue]:
        """Give the journal's entry."""
        return {
            "digest": str(self.digest),
            "inputs": self.inputs.text,
            "never-again": self.inputs.never_again,
            "source": self.inputs.source,
            "origin": self.origin.value,
            "folder": self.folder,
            "dirty": self.dirty,
            "asked": self.asked,
        }

    @classmethod
    def from_json(cls, value: JSONValue) -> BuildRecord | None:
        """Read a journal's entry; None where there is none that this podbuild can read."""
        match value:
            case {"digest": str(text), "inputs": str(inputs), **rest}:
                try:
                    digest = Digest(text)
                except VerificationError:
                    return None
                origin, folder = str(rest.get("origin", "")), str(rest.get("folder", ""))
                known = origin in set(Origin)
                return cls(
                    digest=digest,
                    inputs=InputHash(
                        text=inputs,
                        never_again=str(rest.get("never-again", "")),
                        source=str(rest.get("source", "")),
                    ),
                    origin=Origin(origin) if known else Origin.BUILT,
                    folder=folder,
                    dirty=rest.get("dirty") is True,
                    asked=rest.get("asked") is not False,
                )
            case _:
                return None


@dataclass(frozen=True, kw_only=True)
class Handed:
    """One image for one platform that another machine staged at `place`."""

    job: Job
    record: BuildRecord
    place: str
    store: Store
    provenance: JSONValue = None  # how it says that the image was made
    tested: Mapping[str, JSONValue] = field(default_factory=dict)  # trials that were passed there


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """What was handed over for a plan, and the places where there was nothing."""

    parts: tuple[Handed, ...] = ()
    empty: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SizeChange:
    """How an image's compressed size has changed since a version, in bytes.

    `update` is what a user of that version downloads: the layers that it has not.
    """

    since: str  # the tag compared with
    before: int
    now: int
    update: int

    def __str__(self) -> str:
        grown = self.now - self.before
        sign = "+" if grown >= 0 else "-"
        share = f" ({sign}{abs(grown) / self.before:.1%})" if self.before else ""
        return f"{sign}{size_text(abs(grown))}{share} since {self.since}"


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Compressed bytes of one layer, and the instruction that made it."""

    file: str
    line: int
    text: str
    size: int  # bytes
    base: bool = False  # whether the base brought it


class TrialOutcome(StrEnum):
    """How a trial ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # there is nothing to be tried


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended: `why` for people; `ready` is seconds until it was content."""

    job: Job
    name: str
    outcome: TrialOutcome
    why: str = ""
    seconds: float = 0.0
    ready: float | None = None
    log: str = ""  # its log file, relative to the output folder
    tail: tuple[str, ...] = ()  # the last lines of that
    earlier: bool = False  # this image passed this trial before
    test: int | None = None

    def to_json(self) -> dict[str, JSONValue]:
        """Give what is kept of a trial that was passed, or had nothing to try."""
        return {
            "outcome": self.outcome.value,
            "why": self.why,
            "seconds": self.seconds,
            "ready": self.ready,
        }

    @classmethod
    def kept(cls, job: Job, name: str, test: int | None, value: JSONValue) -> TrialResult | None:
        """Read what `to_json` gave; None where it is none, or a failure: that is tried again."""
        match value:
            case {
                "outcome": "passed" | "skipped" as outcome,
                "why": str(why),
                "seconds": int() | float() as seconds,
                "ready": int() | float() | None as ready,
            }:
                return cls(
                    job=job,
                    name=name,
                    outcome=TrialOutcome(outcome),
                    why=why,
                    seconds=float(seconds),
                    ready=None if ready is None else float(ready),
                    earlier=True,
                    test=test,
                )
            case _:
                return None
