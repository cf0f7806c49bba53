"""Check what is attached to a release as a client would: there, valid, of the accepted key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.errors import VerificationError
from podbuild.oci.attach import Attachments
from podbuild.oci.classic import classic_tag, read_classic
from podbuild.oci.keys import PublicKey
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.signing import Accepted, read_bundle
from podbuild.oci.statements import (
    BUNDLE,
    ORIGIN_BUILT,
    PROVENANCE,
    SAYS,
    SIGNATURE,
    SIMPLE,
    SPDX,
    VEX,
    Referrer,
    predicate_of,
    read_statement,
)
from podbuild.plan.destination import Destination
from podbuild.publish.attach import valid_referrers
from podbuild.system.cancel import Cancel

Held = Mapping[Digest, Mapping[Digest, tuple[str, ...]]]  # subject -> referrer -> types


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What must be said of an image, and by whom; None: nothing is signed."""

    accepted: Accepted | None
    sbom: bool
    provenance: bool
    sbom_type: str = SPDX
    vex: frozenset[str] = frozenset()  # the images that have one
    by: str = "key"  # or "identity"
    classic: PublicKey | None = None  # whose signatures for podman must be there


@dataclass(frozen=True, kw_only=True)
class Statements:
    """What one tag's image has attached at one destination, and what is wrong with that."""

    destination: Destination
    tag: Tag
    valid: Held
    foreign: int = 0  # referrers that are not ours: anybody may add some
    problems: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Give the kinds of what is said, for people."""
        types = {kind for held in self.valid.values() for each in held.values() for kind in each}
        return tuple(sorted(SAYS.get(kind, kind) for kind in types))


@dataclass(frozen=True)
class StatementChecker:
    """Reads what is attached; `demand` says what must be there.

    `known` is what this run has attached, or found and read: of images below an index it is only
    asked whether that is listed.
    """

    demand: Demand
    cancel: Cancel
    known: Held = field(default_factory=dict)

    def check(
        self, destination: Destination, tag: Tag, top: Manifest, version: str = ""
    ) -> Statements:
        """Check an image or index with its children; differences are values, not errors.

        An image or index of a version must be signed for that one; its children may be older.
        Raises what the registry raises when it can't be asked.
        """
        place = Attachments(destination.store, self.cancel.sleep)
        children = tuple(child for child in top.children if child.is_runnable)
        accepted = self.demand.accepted
        who = accepted.of(version) if accepted else None
        own, foreign = valid_referrers(place, top.digest, who)
        valid = {top.digest: _types(own)}
        for child in children:
            known = self._known(place, child.digest)
            if known is None:
                held, others = valid_referrers(place, child.digest, accepted)
                known, foreign = _types(held), foreign + others
            valid[child.digest] = known
        problems = (
            *self._problems(destination.image, top, children, valid, own),
            *self._classic(destination, (top.descriptor, *children)),
        )
        return Statements(
            destination=destination,
            tag=tag,
            valid=valid,
            foreign=foreign,
            problems=problems,
        )

    def _known(
        self, place: Attachments, subject: Digest
    ) -> Mapping[Digest, tuple[str, ...]] | None:
        """Give what is known to be attached, where all of it is listed."""
        found = {
            each: types for each, types in self.known.get(subject, {}).items() if types != (SIMPLE,)
        }
        return found if found and found.keys() <= set(place.of(subject)) else None

    def _problems(
        self,
        image: str,
        top: Manifest,
        children: Iterable[Descriptor],
        valid: Held,
        own: Mapping[Digest, Referrer],
    ) -> Iterator[str]:
        built = self._built(top.digest, own)
        sbom, vex = self.demand.sbom_type, VEX if image in self.demand.vex else ""
        yield from self._lacks("", valid[top.digest], "" if top.is_index else sbom, vex)
        for child in children:
            named = f"{child.platform} " if child.platform else ""
            provenance = PROVENANCE if child.digest in built else ""
            what = f"{named}{child.digest.short}: "
            yield from self._lacks(what, valid[child.digest], sbom, provenance, vex)

    def _classic(self, destination: Destination, subjects: Iterable[Descriptor]) -> Iterator[str]:
        """Name what podman would not take; a layout has no name that it could ask for."""
        key, store = self.demand.classic, destination.store
        if key is None or not isinstance(store, RegistryStore):
            return
        for subject in subjects:
            known = [each for each, kinds in self.known.get(subject.digest, {}).items()
                     if kinds == (SIMPLE,)]  # fmt: skip
            there = store.head(classic_tag(subject.digest)) if known else None
            if there is not None and there.digest in known:
                continue
            if store.name not in read_classic(store, subject.digest, key).valid:
                named = f"{subject.platform} {subject.digest.short}: " if subject.platform else ""
                yield f"{named}no {SAYS[SIMPLE]} of the accepted key"

    def _lacks(
        self, what: str, held: Mapping[Digest, tuple[str, ...]], *wanted: str
    ) -> Iterator[str]:
        there = {kind for kinds in held.values() for kind in kinds}
        demanded = {
            SIGNATURE: self.demand.accepted is not None,
            self.demand.sbom_type: self.demand.sbom,
            VEX: True,
        }
        for kind in (SIGNATURE, *filter(None, wanted)):
            if demanded.get(kind, self.demand.provenance) and kind not in there:
                by = f" of the accepted {self.demand.by}" if self.demand.accepted else ""
                yield f"{what}no {SAYS[kind]}{by}"

    def _built(self, top: Digest, held: Mapping[Digest, Referrer]) -> Collection[Digest]:
        """Give the children that an index's provenance says were built: they have their own."""
        found: set[Digest] = set()
        for referrer in held.values():
            if PROVENANCE in referrer.predicate_types:
                found.update(*map(_built, self._predicates(top, referrer)))
        return found

    def _predicates(self, top: Digest, referrer: Referrer) -> Iterator[Mapping[str, object]]:
        signed = referrer.manifest.content.get("artifactType") == BUNDLE
        for blob in referrer.blobs:
            if signed and self.demand.accepted is not None:
                said = read_bundle(blob, self.demand.accepted, top)
            else:
                said = read_statement(blob, top)
            if said.predicate_type == PROVENANCE:
                yield predicate_of(said)


def _types(held: Mapping[Digest, Referrer]) -> Mapping[Digest, tuple[str, ...]]:
    return {each: referrer.predicate_types for each, referrer in held.items()}


def _built(predicate: Mapping[str, object]) -> Iterator[Digest]:
    match predicate:
        case {"buildDefinition": {"resolvedDependencies": list(depends)}}:
            for each in depends:
                match each:
                    case {"digest": {"sha256": str(digest)}, "annotations": {"origin": origin}} if (
                        origin == ORIGIN_BUILT
                    ):
                        try:
                            yield Digest(f"sha256:{digest}")
                        except VerificationError:
                            continue
                    case _:
                        pass
        case _:
            pass


def same_everywhere(checked: Iterable[Statements]) -> Iterator[str]:
    """Name the subjects whose valid statements are not the same set at every destination."""
    groups: dict[tuple[str, Digest], dict[frozenset[Digest], list[str]]] = {}
    for each in checked:
        for subject, held in each.valid.items():
            sets = groups.setdefault((each.destination.image, subject), {})
            sets.setdefault(frozenset(held), []).append(each.destination.registry)
    for (image, subject), sets in groups.items():
        if len(sets) > 1:
            said = "; ".join(
                f"{', '.join(dict.fromkeys(where))} {len(held)}" for held, where in sets.items()
            )
            yield f"{image} {subject.short}: statements are not the same everywhere: {said}"
