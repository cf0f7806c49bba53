"""Take over what other machines have built: their output folders, or what registries keep of it.

All parts are asked for before anything is made of them, so that one answer names every leg that
has to run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from podbuild.build.handover import FOLDER, layout_of
from podbuild.build.image import read_config
from podbuild.build.model import BuildRecord, Handed, HandedOver, Origin
from podbuild.build.parcel import HandOver, fetch_parcel, place_text
from podbuild.build.staging.area import Staging, repository_name, staged_tag
from podbuild.errors import ConfigError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform, Reference, Repository
from podbuild.oci.store import Store, copy_blob
from podbuild.plan.journal import NAME, Binding, Journal, Section, read_journal
from podbuild.plan.model import Job, Plan
from podbuild.semver import Version
from podbuild.system.records import JSONValue

_AT_ONCE = 8  # images whose layers are asked for


def read_handed_over(
    places: Iterable[Path | Reference],
    plan: Plan,
    here: Binding,
    open_store: Callable[[Repository], Store],
) -> HandedOver:
    """Give what other machines hold for a plan, nothing copied yet.

    Raises ConfigError for a place of another release, commit or configuration, for a folder
    without staging, and for two that hold different images for one job.
    """
    found: dict[Job, Handed] = {}
    empty = []
    for place in places:
        there = _open(place, open_store)
        if there is None:
            empty.append(place_text(place) if isinstance(place, Reference) else str(place))
            continue
        for each in _read(there, plan, here):
            found[each.job] = _one_of(found.get(each.job), each)
    return HandedOver(parts=tuple(found.values()), empty=tuple(empty))


def _one_of(one: Handed | None, other: Handed) -> Handed:
    """Choose who was asked for the image before who only needed it for another."""
    if one is None or (other.record.asked and not one.record.asked):
        return other
    if one.record.asked and not other.record.asked:
        return one
    if one.record.digest != other.record.digest:
        raise ConfigError(
            f"{one.job}: {one.place} has {one.record.digest}, "
            f"{other.place} has {other.record.digest}",
            hint="hand over one of them; only one machine should build a platform",
        )
    return one


def _open(place: Path | Reference, open_store: Callable[[Repository], Store]) -> HandOver | None:
    if isinstance(place, Reference):
        return fetch_parcel(place, open_store)
    folder = place
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder", hint="--from names existing folders")
    _refuse_links(folder)
    try:
        state = read_journal(folder / NAME)
    except ConfigError as error:
        raise ConfigError(error.message, hint="hand over the whole dist folder") from error
    if state is None or not (folder / FOLDER / "index.json").is_file():
        missing = NAME if state is None else f"{FOLDER}/index.json"
        raise ConfigError(
            f"{folder}: there is no {missing}",
            hint="--from takes the dist folder of `podbuild build`, or of `release --platform`",
        )
    return HandOver(place=str(folder), state=state, store=layout_of(folder))


def _read(there: HandOver, plan: Plan, here: Binding) -> Iterator[Handed]:
    state = there.state
    differences = _differences(here, state.binding)
    if differences:
        raise ConfigError(
            f"{there.place} belongs to another release: {'; '.join(differences)}",
            hint=_same(here, state.binding),
        )
    for job in plan.jobs:
        record = BuildRecord.from_json(state.sections[Section.BUILT].get(str(job)))
        if record is not None and plan.image(job.image).published:
            yield Handed(
                job=job,
                record=record,
                place=there.place,
                store=there.store,
                provenance=state.sections[Section.PROVENANCE].get(str(job)),
                tested=state.sections[Section.TESTED],
            )


def _refuse_links(folder: Path) -> None:
    """Refuse links that lead out: other machines' folders are read, and those of this one not."""
    walked = (
        Path(here, name)
        for here, folders, files in os.walk(folder / FOLDER)
        for name in (*folders, *files)
    )
    top = os.path.realpath(folder)
    for path in (folder / NAME, folder / FOLDER, *walked):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
            raise ConfigError(
                f"{path} is a link that leads out of the folder",
                hint="hand over the folder as podbuild made it",
            )


def _differences(here: Binding, there: Binding) -> tuple[str, ...]:
    """Name what differs; the engine that built may be another one.

    Where no version was known there, as without the git tag, or none is wanted here, as for a
    snapshot, and the configuration with all that it says of images is the same, no input uses it.
    """
    one_sided = _is_unversioned(here, there) or _is_unversioned(there, here)
    if one_sided and there.configuration == here.configuration:
        there = replace(there, release=here.release)
    pairs = {
        "version": (there.release, here.release),
        "commit": (there.commit, here.commit),
        "configuration": (there.configuration, here.configuration),
    }
    return tuple(
        f"its {name} is {theirs or 'unknown'}, here it is {ours or 'unknown'}"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    )


def _is_unversioned(here: Binding, there: Binding) -> bool:
    return Version.read(there.release) is None and Version.read(here.release) is not None


def _same(here: Binding, there: Binding) -> str:
    if _is_unversioned(here, there) and here.commit == there.commit:
        return f"an input uses the version: podbuild build --version {here.release}, there"
    return "build it from the same commit, version and configuration"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A part that a join can't take, and why."""

    why: str
    reused: bool = False  # an earlier release had it, and what that left is gone


def take_over(
    handed: Iterable[Handed],
    journal: Journal,
    staging: Staging,
    elsewhere: Callable[[str], Store],
) -> Mapping[Job, Lost]:
    """Stage what was handed over and record it; `elsewhere` has layers that registries keep.

    Gives what could not be taken, all of it asked for. Raises VerificationError for what is
    damaged, and what registries raise.
    """
    parts = tuple(handed)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="join") as pool:
        whole = pool.map(lambda each: _find(each, staging, elsewhere(each.job.image)), parts)
        found = [*zip(parts, whole, strict=True)]
    records: dict[str, JSONValue] = {}
    provenance: dict[str, JSONValue] = {}
    tested: dict[str, JSONValue] = {}
    lost: dict[Job, Lost] = {}
    for each, manifest in found:
        if isinstance(manifest, Lost):
            lost[each.job] = manifest
            continue
        _stage(each, manifest, staging)
        record = replace(each.record, origin=Origin.JOINED, folder=each.place)
        records[str(each.job)] = record.to_json()
        if each.provenance is not None:
            provenance[str(each.job)] = each.provenance
        tested.update(each.tested)
    journal.record_all(Section.BUILT, records)
    journal.record_all(Section.PROVENANCE, provenance)
    journal.record_all(Section.TESTED, tested)
    return lost


def _find(handed: Handed, staging: Staging, elsewhere: Store) -> Manifest | Lost:
    """Give the manifest of a part, all of whose blobs are somewhere."""
    manifest = handed.store.manifest(handed.record.digest)
    if manifest is None:
        return _lost(handed, str(handed.record.digest))
    here = staging.repository(repository_name(handed.job.image))
    stores = (handed.store, here, elsewhere)
    for blob in manifest.blobs:
        if not any(store.has_blob(blob) for store in stores):
            return _lost(handed, str(blob.digest))
    config = manifest.config
    source = next((each for each in stores if config and each.has_blob(config)), None)
    found = Platform.from_json(read_config(source, manifest)) if source else None
    if found != handed.job.platform:
        said = f"{handed.place}: what it has for {handed.job} is for {found or 'no platform'}"
        return Lost(why=said)
    return manifest


def _stage(handed: Handed, manifest: Manifest, staging: Staging) -> None:
    sink = staging.repository(repository_name(handed.job.image))
    for blob in manifest.blobs:
        if handed.store.has_blob(blob):
            copy_blob(handed.store, sink, blob)
    sink.put_manifest(manifest, staged_tag(handed.job))


def _lost(handed: Handed, digest: str) -> Lost:
    if handed.record.origin is Origin.REUSED:
        return Lost(
            why=f"{handed.place}: {handed.job} is re-used from a registry that has lost {digest}",
            reused=True,
        )
    return Lost(why=f"{handed.place}: {handed.job} is incomplete, {digest} is missing")


def missing_parts(
    missing: Iterable[Job], lost: Mapping[Job, Lost], empty: tuple[str, ...]
) -> ConfigError:
    """Give the error that names every leg to run again, and why."""
    legs: dict[str, list[str]] = {}
    reasons = [each.why for each in lost.values()]
    reasons += [f"{place}: nothing was handed over there" for place in empty]
    absent = [job for job in missing if job not in lost]
    if absent:
        reasons.append(f"not staged: {', '.join(map(str, absent))}")
    for job in (*lost, *absent):
        again = " --no-reuse" if job in lost and lost[job].reused else ""
        legs.setdefault(f"--platform {job.platform}{again}", []).append(job.image)
    commands = [
        f"podbuild build {' '.join(dict.fromkeys(images))} {options}"
        for options, images in legs.items()
    ]
    first, *others = reasons
    return ConfigError(
        first,
        hint=f"run this leg again, as it was: {'; and '.join(commands)}",
        details=[f"also: {each}" for each in others],
    )
