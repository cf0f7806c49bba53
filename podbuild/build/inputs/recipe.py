"""What one image for one platform is made from, everything resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from podbuild.build.inputs.across import Inner, inner_images
from podbuild.build.inputs.arguments import (
    build_variables,
    own_arguments,
    told_arguments,
    variables_of,
)
from podbuild.build.inputs.containerfile import (
    SCRATCH,
    USUAL_PATH,
    Containerfile,
    OutsideImage,
    written_platform,
)
from podbuild.build.inputs.contents import Extra
from podbuild.build.inputs.ignore import Matcher, kept_out, own_patterns
from podbuild.build.inputs.reach import EVERYTHING, Wanted, WantedFiles
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.refusals import Unbuildable, needs_no_network, refusals
from podbuild.build.inputs.selected import Selecting, unfit_for_engines
from podbuild.build.inputs.sources import Shown
from podbuild.build.inputs.wanted import (
    MAIN,
    BaseFacts,
    FactsOf,
    handed_on,
    selecting_in,
    triggers_hide_inputs,
    wanted_by,
    with_bases,
)
from podbuild.build.inputs.worded import unread_words
from podbuild.config.choices import (
    Compression,
    FolderContext,
    Format,
    Isolation,
    Pull,
    ReferenceContext,
    RunNetwork,
    Timestamp,
)
from podbuild.config.image import Image, Secret
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform, RegistryKind
from podbuild.plan.model import Job, Plan, PlannedImage

FIXED_INSTANT = 946684800  # 2000-01-01T00:00:00Z; part of every layer cache's key


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One image for one platform, as resolved. `build` is the platform of this machine.

    `pins` say by digest what each name of an outside image means: the key is the text in the
    Containerfile, or the name of an extra context; `unpinned` are names that have no pin.
    """

    job: Job
    build: Platform
    containerfile: Path
    text: str = field(repr=False)
    parsed: Containerfile = field(repr=False)
    context: Path
    own: tuple[str, ...]  # patterns of podbuild's own, which come first
    ignored: tuple[str, ...]  # patterns of the ignore file that applies
    target: str | None
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    secrets: tuple[Secret, ...]
    ssh: tuple[str, ...]
    extras: Mapping[str, Extra]
    files: WantedFiles = field(default_factory=WantedFiles)  # what it takes from its contexts
    selecting: tuple[Selecting, ...] = ()
    inner: Inner
    pins: Mapping[str, str]
    asked_for: str  # what the final stage's outside image is called, where it starts from one
    unpinned: tuple[str, ...]
    network: RunNetwork
    isolation: Isolation
    pull: Pull
    format: Format
    compression: Compression
    layers: bool
    uncached: bool  # no step of another build is the same: `triggers_hide_inputs`
    instant: int  # seconds since 1970: the time of every file and of the image
    timeout: float | None  # seconds

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Give what it takes from the context."""
        return self.files.places.get(MAIN, EVERYTHING)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Give all that the context leaves out."""
        return _all_patterns(self.own, self.ignored)

    @property
    def matcher(self) -> Matcher:
        """Give what tells which files of the context are left out."""
        return Matcher(self.patterns)

    @property
    def variables(self) -> Mapping[str, str]:
        """Give what `$NAME` may mean in the Containerfile from outside."""
        own = own_arguments(self.parsed, self.target, self.job.platform, self.build)
        return build_variables(self.parsed, own, self.build_args, self.target)

    @property
    def handed_arguments(self) -> Mapping[str, str]:
        """Give the build arguments that an engine must be told."""
        own = own_arguments(self.parsed, self.target, self.job.platform, self.build)
        return told_arguments(self.parsed, own, self.build_args, self.target)

    @property
    def without_network(self) -> bool:
        """Tell whether the engine itself is run without one, as RUN sees that of the engine."""
        return self.isolation is Isolation.CHROOT and needs_no_network(
            self.parsed, self.target, self.variables, self.network
        )

    @property
    def platforms(self) -> frozenset[Platform]:
        """Give the platforms that programs are run for."""
        running = (
            self.parsed.base_of(stage, self.variables).platform
            for stage in self.parsed.needed(self.target, self.variables)
            if any(each.word == "RUN" for each in stage.instructions)
        )
        return frozenset({self.job.platform, *(written_platform(each) for each in running if each)})

    @property
    def final_base(self) -> Job | None:
        """Give the image of this project that the final stage starts from, if it is one."""
        here = self.inner.here
        return here.get(self._final.value) or here.get(self._final.text)

    @property
    def final_pin(self) -> str | None:
        """Give NAME@DIGEST of the outside image that the final stage starts from."""
        return self.pins.get(self._final.text) or self.pins.get(self._final.value)

    @property
    def final_base_name(self) -> str | None:
        """Give the full reference by which that image was asked for, with its tag if it had one."""
        pin = self.final_pin
        if pin is None:
            return None
        return _tagged(self.asked_for or self._final.value, pin)

    @property
    def _final(self) -> OutsideImage:
        return self.parsed.final_base(self.target, self.variables)


def _asked_for(
    parsed: Containerfile, image: Image, variables: Mapping[str, str], names: Mapping[str, str]
) -> str:
    final = parsed.final_base(image.target, variables)
    return names.get(final.text) or names.get(final.value, "")


def _tagged(written: str, pin: str) -> str:
    """Give a pin's repository with the tag that was written (image-spec, annotations.md).

    >>> _tagged("debian", "docker.io/library/debian@sha256:ab")
    'docker.io/library/debian:latest'
    """
    name, at, _ = written.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and head and "/" not in tag:
        return f"{pin.partition('@')[0]}:{tag}"
    return pin if at else f"{pin.partition('@')[0]}:latest"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What recipes need besides the plan.

    `build` is this machine's platform, `output` the project's dist, `history` the folder of its
    entries; `pins` give NAME@DIGEST for references to outside images, `facts` what such a base
    hands on, and `blank` what one hands on that has no pin.
    """

    build: Platform
    output: Path
    pins: Mapping[str, str] = field(default_factory=dict)
    facts: Callable[[str, Platform], BaseFacts | None] = lambda _pin, _platform: None
    blank: BaseFacts | None = None
    history: Path | None = None
    readings: Readings = field(default_factory=Readings, compare=False, repr=False)


def outside_images(
    plan: Plan, planned: PlannedImage, build: Platform, readings: Readings
) -> tuple[str, ...]:
    """Give the references to images from outside that an image needs, for any of its platforms.

    Raises ConfigError for a Containerfile that can't be read, or not be built as it is written.
    """
    image = planned.image
    _, parsed = readings.containerfile(plan, planned)
    ignored = readings.ignored_of_context(image)
    found: dict[str, None] = {}
    for platform in planned.platforms:
        variables = variables_of(planned, parsed, platform, build)
        for refusal in refusals_of(image, parsed, variables, ignored):
            raise refusal.error
        found |= dict.fromkeys(_outside_names(image, parsed, variables).values())
    return tuple(found)


def refusals_of(
    image: Image, parsed: Containerfile, variables: Mapping[str, str], ignored: tuple[str, ...]
) -> Iterator[Unbuildable]:
    """Give what keeps an image from being built as its Containerfile is written."""
    folders = {name for name, each in image.contexts.items() if isinstance(each, FolderContext)}
    for each in selecting_in(parsed, image.target, variables, folders, lambda *_: BaseFacts()):
        if why := unfit_for_engines(each):
            yield Unbuildable(instruction=each.instruction, message=why.message, hint=why.hint)
    unsure = not image.build_args.keys() <= variables.keys()
    yield from unread_words(parsed, image.target, variables, lenient=unsure)
    yield from refusals(
        parsed,
        target=image.target,
        variables=variables,
        given=image.contexts,
        told=image.build_args.keys(),
        shown=Shown(folder=image.context, matcher=Matcher(ignored)),
        network=image.network,
        own_network=image.isolation is not Isolation.CHROOT,
    )


def make_recipe(plan: Plan, planned: PlannedImage, platform: Platform, at: Surroundings) -> Recipe:
    """Give the recipe of one platform; raises ConfigError for a file or target that is missing."""
    image = planned.image
    text, parsed, variables, names = _read(plan, planned, platform, at)
    facts = cache(_facts_of(plan, planned, platform, names, at))
    parsed = with_bases(parsed, image.target, variables, facts)
    extras = _extras(plan, image, at)
    files = wanted_by(parsed, image.target, variables, extras, facts)
    return Recipe(
        job=Job(planned.name, platform),
        build=at.build,
        containerfile=image.containerfile,
        text=text,
        parsed=parsed,
        context=image.context,
        own=_own(plan, image.context, at),
        ignored=at.readings.ignored_of_context(image),
        target=image.target,
        build_args=planned.build_args,
        labels=_without_own_labels(planned, parsed, variables),
        annotations=planned.annotations,
        secrets=image.secrets,
        ssh=image.ssh,
        extras={name: replace(each, wanted=files.places[name]) for name, each in extras.items()},
        files=files,
        selecting=selecting_in(parsed, image.target, variables, extras, facts),
        inner=inner_images(image, parsed, variables, platform),
        pins={name: at.pins[value] for name, value in names.items() if value in at.pins},
        asked_for=_asked_for(parsed, image, variables, names),
        unpinned=tuple(sorted({*names.values()} - at.pins.keys())),
        network=image.network,
        isolation=image.isolation,
        pull=image.pull,
        format=image.format,
        compression=image.compression,
        layers=image.layers,
        uncached=triggers_hide_inputs(parsed, image.target, variables, facts),
        instant=_instant(plan, image.timestamp),
        timeout=image.timeout,
    )


def _facts_of(
    plan: Plan,
    planned: PlannedImage,
    platform: Platform,
    names: Mapping[str, str],
    surroundings: Surroundings,
) -> FactsOf:
    """Give what tells of a base, of this project or from outside, what it hands on."""
    image = planned.image

    def facts(text: str, value: str, given: str | None) -> BaseFacts | None:
        if value == SCRATCH:
            return BaseFacts({"PATH": USUAL_PATH})
        wanted = written_platform(given) if given else platform
        name = next((each for each in (text, value) if each in image.inner), None)
        if name is not None:
            return _handed_on(plan, plan.image(image.inner[name]), wanted, surroundings)
        if {text, value} & image.contexts.keys() - names.keys():
            return None  # a folder
        pin = surroundings.pins.get(names.get(text) or names.get(value, ""))
        return surroundings.facts(pin, wanted) if pin else surroundings.blank

    return facts


def _handed_on(
    plan: Plan, planned: PlannedImage, platform: Platform, surroundings: Surroundings
) -> BaseFacts | None:
    _, parsed, variables, names = _read(plan, planned, platform, surroundings)
    facts_of = _facts_of(plan, planned, platform, names, surroundings)
    return handed_on(parsed, planned.image.target, variables, facts_of)


def _read(
    plan: Plan, planned: PlannedImage, platform: Platform, surroundings: Surroundings
) -> tuple[str, Containerfile, Mapping[str, str], Mapping[str, str]]:
    """Give a Containerfile as text and parsed, its variables, and what it names from outside."""
    image = planned.image
    text, parsed = surroundings.readings.containerfile(plan, planned)
    variables = variables_of(planned, parsed, platform, surroundings.build)
    return text, parsed, variables, _outside_names(image, parsed, variables)


def _outside_names(
    image: Image, parsed: Containerfile, variables: Mapping[str, str]
) -> Mapping[str, str]:
    """Give what the Containerfile and the contexts name from outside: text -> reference."""
    written = {
        reference.text: reference.value
        for reference in parsed.outside(variables, target=image.target)
        if not {reference.text, reference.value} & image.contexts.keys()
    }
    given = {
        name: context.reference
        for name, context in image.contexts.items()
        if isinstance(context, ReferenceContext)
    }
    return written | given


def _own(plan: Plan, context: Path, surroundings: Surroundings) -> tuple[str, ...]:
    return surroundings.readings.own(
        context,
        lambda: own_patterns(
            context, surroundings.output, _layouts(plan), plan.secret_files, surroundings.history
        ),
    )


def _extras(plan: Plan, image: Image, surroundings: Surroundings) -> Mapping[str, Extra]:
    return {
        name: _extra(plan, context.path, surroundings)
        for name, context in image.contexts.items()
        if isinstance(context, FolderContext)
    }


def _extra(plan: Plan, folder: Path, surroundings: Surroundings) -> Extra:
    """Leave out what podbuild keeps to itself and what the folder's own ignore file says."""
    ignored = surroundings.readings.ignored_of_folder(folder)
    return Extra(folder, _all_patterns(_own(plan, folder, surroundings), ignored))


def _all_patterns(own: tuple[str, ...], ignored: tuple[str, ...]) -> tuple[str, ...]:
    return (*own, *ignored, *kept_out(own, ignored))


def _layouts(plan: Plan) -> tuple[Path, ...]:
    folders = (target for target in plan.targets if target.registry.kind is RegistryKind.LAYOUT)
    return tuple(plan.root / target.place for target in folders)


def _without_own_labels(
    planned: PlannedImage, parsed: Containerfile, variables: Mapping[str, str]
) -> Mapping[str, str]:
    """Leave out project texts that a LABEL in the Containerfile says better."""
    written = parsed.label_keys(planned.image.target, variables)
    return {
        key: value
        for key, value in planned.labels.items()
        if key in planned.image.labels or key not in written
    }


def _instant(plan: Plan, timestamp: Timestamp) -> int:
    if timestamp is Timestamp.FIXED:
        return FIXED_INSTANT
    if plan.source.created is None:
        raise ConfigError(
            'timestamp = "commit" needs a git repository', hint='write timestamp = "fixed"'
        )
    return int(plan.source.created.timestamp())
