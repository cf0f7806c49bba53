"""Read back what was released: every tag on every registry, its platforms, all its parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from itertools import chain

from podbuild.errors import CredentialError, PartialReleaseError, PublishError, VerificationError
from podbuild.oci.manifest import FRESH, Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan.destination import Destination, Planned, everywhere, find_config, own_failure
from podbuild.publish.move import Moved, Outcome
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass

READERS = 8  # requests at a time

_LAGS = (1.0, 2.0, 4.0)  # seconds; registries may show a moment later what they took

_Place = tuple[Destination, Tag | Digest]
_Parts = tuple[frozenset[Platform], tuple[str, ...]]  # platforms, and what is missing

ABSENT = "does not exist"  # the one problem of a tag that is nowhere


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one tag must name. Without a digest or platforms, any complete image will do."""

    destination: Destination
    tag: Tag
    digest: Digest | None = None
    platforms: frozenset[Platform] | None = None
    seen: float = field(default=-math.inf, compare=False)  # when this run has read it (monotonic)

    def __str__(self) -> str:
        return self.destination.store.reference(self.tag)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What one tag really names, and what is wrong with it (nothing: it is as expected)."""

    expectation: Expectation
    digest: Digest | None
    platforms: frozenset[Platform]
    problems: tuple[str, ...]


def verify(
    expectations: Iterable[Expectation],
    present: Collection[tuple[Destination, Digest]] = frozenset(),
) -> tuple[Checked, ...]:
    """Check each expectation against its registry; differences are values, not errors.

    An image that several tags of a repository name is read once, and a tag that this run has read
    a moment ago is not read again. `present` are layers and whole images that this run has found
    where they belong; they are not asked for again. Raises what the registries raise when they
    can't be asked.
    """
    asked = tuple(expectations)
    places = tuple(map(_place, asked))
    with ThreadPoolExecutor(READERS, thread_name_prefix="verify") as pool:
        once = dict.fromkeys(places)
        found = dict(zip(once, pool.map(_read, once), strict=True))
        tops = tuple(_top(each, at, found[at]) for each, at in zip(asked, places, strict=True))
        images = {
            (expected.destination, top.digest): top
            for expected, top in zip(asked, tops, strict=True)
            if isinstance(top, Manifest)
        }
        parts = pool.map(lambda each: _ReadBack(each[0][0], present).parts(each[1]), images.items())
        read = dict(zip(images, parts, strict=True))
    return tuple(
        _compare(expected, top, read[expected.destination, top.digest])
        if isinstance(top, Manifest)
        else _unusable(expected, None, top)
        for expected, top in zip(asked, tops, strict=True)
    )


def verify_release(
    expectations: Iterable[Expectation],
    present: Collection[tuple[Destination, Digest]],
    warn: Callable[[str], None],
    cancel: Cancel,
) -> None:
    """Check what a release moved; raises as `verify_or_raise` does, for required registries.

    Of optional ones `warn` hears every difference, or that they can't be asked.
    """
    asked: dict[Destination, list[Expectation]] = {}
    for each in expectations:
        asked.setdefault(each.destination, []).append(each)
    required = chain.from_iterable(each for where, each in asked.items() if where.required)
    verify_or_raise(required, present, cancel)
    optional = (where for where in asked if not where.required)
    answers = everywhere(
        optional, lambda where: verify_or_raise(asked[where], present, cancel), cancel
    )
    for destination, error in answers.failed.items():
        warn(f"{destination}: {error.message}")
        for detail in error.details:
            warn(detail)


def verify_or_raise(
    expectations: Iterable[Expectation],
    present: Collection[tuple[Destination, Digest]],
    cancel: Cancel,
) -> tuple[Checked, ...]:
    """Give what was checked, of tags that have moved already; differences are looked at again.

    Raises VerificationError that lists every difference, and PartialReleaseError where a
    registry can't be asked: what else it raises would say that no tag has moved.
    """
    asked = tuple(expectations)
    try:
        checked = verify(asked, present)
        for wait in _LAGS:
            if not any(found.problems for found in checked):
                break
            cancel.sleep(wait)
            checked = verify(asked, present)
    except (PublishError, CredentialError) as error:
        own_failure(error, cancel)
        raise PartialReleaseError(
            f"all tags have moved, but can't be verified: {error.message}",
            hint="run the same command again: it verifies what is there",
            details=error.details,
        ) from error
    problems = tuple(
        f"{found.expectation}: {problem}" for found in checked for problem in found.problems
    )
    if problems:
        count = f"{len(problems)} difference{'s' if len(problems) > 1 else ''}"
        raise VerificationError(
            f"what the registries hold is not what was released: {count}",
            hint="run the release again: it puts right what differs, or says why it may not",
            details=problems,
        )
    return checked


def check(expected: Expectation) -> Checked:
    """Fetch what a tag names with all its children, and compare."""
    return verify((expected,))[0]


def _place(expected: Expectation) -> _Place:
    """Give what is read for a tag: where this run has just seen what it names, that."""
    is_seen = time.monotonic() - expected.seen < FRESH
    return expected.destination, (is_seen and expected.digest) or expected.tag


def _read(place: _Place) -> Manifest | str | None:
    """Give what stands there, or what is wrong with it."""
    destination, target = place
    try:
        return destination.store.manifest(target)
    except VerificationError as error:  # bytes that are not what their digest says
        return error.message


def _top(expected: Expectation, place: _Place, found: Manifest | str | None) -> Manifest | str:
    """Give what a tag names; a registry may keep an image under its tags alone."""
    if found is None and place[1] != expected.tag:
        found = _read((expected.destination, expected.tag))
    return found or ABSENT


def _compare(expected: Expectation, manifest: Manifest, read: _Parts | str) -> Checked:
    if isinstance(read, str):
        return _unusable(expected, manifest.digest, read)
    platforms, parts = read
    return Checked(
        expectation=expected,
        digest=manifest.digest,
        platforms=platforms,
        problems=tuple(chain(_difference(expected, manifest, platforms), parts)),
    )


def _unusable(expected: Expectation, digest: Digest | None, problem: str) -> Checked:
    return Checked(expectation=expected, digest=digest, platforms=frozenset(), problems=(problem,))


def _difference(
    expected: Expectation, manifest: Manifest, platforms: frozenset[Platform]
) -> Iterable[str]:
    if expected.digest is not None and manifest.digest != expected.digest:
        yield f"names {manifest.digest}, expected {expected.digest}"
    if expected.platforms is not None and platforms != expected.platforms:
        yield f"has {_names(platforms)}, expected {_names(expected.platforms)}"


def _names(platforms: frozenset[Platform]) -> str:
    return ", ".join(sorted(map(str, platforms))) or "no platform"


@dataclass(frozen=True)
class _ReadBack:
    """Reads images of one destination completely."""

    destination: Destination
    present: Collection[tuple[Destination, Digest]]

    def parts(self, manifest: Manifest) -> _Parts | str:
        """Give what `read` does, or say why that can't be done."""
        try:
            return self.read(manifest)
        except VerificationError as error:
            return error.message

    def read(self, manifest: Manifest) -> _Parts:
        """Give the platforms of an image or index and what is missing of it."""
        if not manifest.is_index:
            return self._image(manifest)
        platforms: set[Platform] = set()
        problems: list[str] = []
        for child in manifest.children:
            if (self.destination, child.digest) in self.present and child.platform:
                platforms |= {child.platform} if child.is_runnable else set()
                continue
            content = self.destination.store.manifest(child.digest)
            if content is None:
                problems.append(f"{child.platform or child.media_type} {child.digest} is missing")
                continue
            inner, parts = self.read(content)
            named = frozenset((child.platform,)) if child.platform else inner
            problems.extend(parts)
            if child.is_runnable and inner != named:
                problems.append(
                    f"{child.digest} is {_names(inner)}, its index says {_names(named)}"
                )
            platforms |= named if child.is_runnable else set()
        return frozenset(platforms), tuple(problems)

    def _image(self, manifest: Manifest) -> _Parts:
        """Read the config, which shows that it is there, and ask for the layers.

        Not for those of an image that stood there before, as for no child that did.
        """
        store = self.destination.store
        stands = (self.destination, manifest.digest) in self.present
        config = find_config(store, manifest.config)
        unread = (manifest.config,) if manifest.config and config is None else ()
        layers = () if stands else manifest.layers
        missing = tuple(
            f"layer {blob.digest} is missing"
            for blob in {blob.digest: blob for blob in (*unread, *layers)}.values()
            if (self.destination, blob.digest) not in self.present and not store.has_blob(blob)
        )
        found = Platform.from_json(config)
        return frozenset((found,) if found else ()), missing


def agree(checked: Iterable[Checked], key: Callable[[Checked], str]) -> tuple[str, ...]:
    """Name the groups (such as image and tag) whose members are not all one digest."""
    groups: dict[str, dict[Digest | None, list[str]]] = {}
    for found in checked:
        members = groups.setdefault(key(found), {})
        members.setdefault(found.digest, []).append(found.expectation.destination.registry)
    return tuple(
        f"{name}: " + "; ".join(f"{', '.join(where)} {digest}" for digest, where in members.items())
        for name, members in groups.items()
        if len(members) > 1
    )


def expectations_of(planned: Planned, moved: Moved) -> Iterator[Expectation]:
    """Give what every tag that a release moved must name now."""
    for tagged in moved.tags:
        if tagged.outcome in (Outcome.MOVED, Outcome.ALREADY):
            image = planned.plan.image(tagged.order.destination.image)
            yield Expectation(
                destination=tagged.order.destination,
                tag=tagged.order.tag,
                digest=tagged.order.manifest.digest,
                platforms=frozenset(image.platforms),
                seen=tagged.seen,
            )
