"""Attach statements to what was published, everywhere, before any tag names it.

What an accepted key has said before is looked for first: it is copied byte for byte to who lacks
it, and only what nobody has said is made. Foreign and broken referrers are nobody's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from podbuild.errors import CredentialError, PodbuildError, PublishError, VerificationError
from podbuild.oci.attach import Attachments, read_referrer
from podbuild.oci.classic import classic_tag
from podbuild.oci.names import Digest
from podbuild.oci.registry import RegistryStore
from podbuild.oci.signing import Accepted, Signer, envelope, read_bundle
from podbuild.oci.statements import (
    BUNDLE,
    SIMPLE,
    UNSIGNED,
    VEX,
    Described,
    Referrer,
    Statement,
    read_statement,
    signed_referrer,
    unsigned_referrer,
)
from podbuild.oci.transport.problem import RegistryError
from podbuild.plan.destination import Destination, own_failure
from podbuild.plan.journal import ImageKey, Journal, Section
from podbuild.publish.classic import ClassicSigner
from podbuild.system.cancel import Cancel
from podbuild.system.records import JSONValue

T = TypeVar("T")
_AT_ONCE = 6  # subjects
_REVISED = frozenset({VEX})  # what people write may change while the image does not
STATEMENT_CAP = 64 * 1024 * 1024  # bytes of one referrer's blobs


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What is attached to each subject, by its name, and who lacks it (optional ones only).

    `held` is the same by the subject's digest.
    """

    referrers: Mapping[str, Mapping[Digest, tuple[str, ...]]]  # predicate types of each referrer
    failed: Mapping[Destination, PodbuildError]
    notes: tuple[str, ...] = ()
    held: Mapping[Digest, Mapping[Digest, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attacher:
    """Signs and attaches. Without a signer, statements are attached unsigned."""

    destinations: tuple[Destination, ...]
    signer: Signer | None
    classic: ClassicSigner | None = None
    journal: Journal
    cancel: Cancel
    keep: Callable[[str, Referrer], None] = lambda _name, _referrer: None  # hears of all, by name
    _places: dict[str, Attachments] = field(default_factory=dict)
    _failed: dict[Destination, PodbuildError] = field(default_factory=dict)
    _notes: dict[str, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attach(self, subjects: Iterable[Described]) -> Attached:
        """Attach all statements of all subjects where they are published, and read them back.

        Raises PublishError for a required destination; optional ones are in `Attached.failed`.
        """
        every = tuple(subjects)
        groups: dict[Digest, list[Described]] = {}
        for each in every:  # one writer of each subject, whatever images share it
            groups.setdefault(each.manifest.digest, []).append(each)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="attest") as pool:
            found = tuple(pool.map(self._all, groups.values()))
        attached = {name: held for group in found for name, held in group.items()}
        held = {each.manifest.digest: attached[each.name] for each in every}
        return Attached(
            referrers=attached, failed=self._failed, notes=tuple(self._notes), held=held
        )

    def _all(self, group: list[Described]) -> dict[str, Mapping[Digest, tuple[str, ...]]]:
        found = {each.name: self._attach(each) for each in group}
        if self.classic is None:
            return found
        images = {each.image for each in group}
        here = [
            each
            for each in self.destinations
            if each.image in images and isinstance(each.store, RegistryStore)
        ]
        signatures = self._classic(group[0].manifest.digest, here, self.classic)
        added: dict[Digest, tuple[str, ...]] = {signatures: (SIMPLE,)} if signatures else {}
        return {name: {**held, **added} for name, held in found.items()}

    def _classic(
        self, subject: Digest, here: list[Destination], classic: ClassicSigner
    ) -> Digest | None:
        """Sign for podman; what this run, or the one that it continues, has put stays."""
        here = [each for each in here if each not in self._failed]
        keys = [ImageKey(each.key, subject, signed=True) for each in here]
        known = [self.journal.digest(Section.ATTESTED, key) for key in keys]
        tag = classic_tag(subject)
        for digest, each in zip(known, here, strict=True):
            there = self._asking(each, partial(each.store.head, tag)) if digest else None
            if there is None or there.digest != digest:
                break
        else:
            return known[0] if known else None
        made = classic.attach(subject, here, self._asking)
        if made:
            done = (key for key, each in zip(keys, here, strict=True) if each not in self._failed)
            self.journal.record_all(Section.ATTESTED, dict.fromkeys(map(str, done), str(made)))
        return made

    def _attach(self, subject: Described) -> Mapping[Digest, tuple[str, ...]]:
        self.cancel.check()
        here = [each for each in self.destinations if each.image == subject.image]
        here = [each for each in here if each not in self._failed]
        if not subject.statements:
            return {}
        digest = subject.manifest.digest
        lacking = [each for each in here if not self._is_done(each, subject)]
        if not lacking:
            return self._recorded(here[0], digest) if here else {}
        said = self._said(here, subject)
        said |= {each.manifest.digest: each for each in self._made(subject, said.values())}
        for each in said.values():
            self.keep(subject.name, each)
        for destination in here:
            self._asking(destination, partial(self._put, destination, digest, said))
        return {each: said[each].predicate_types for each in said}

    def _is_done(self, destination: Destination, subject: Described) -> bool:
        """Tell whether this run, or the one that it continues, has attached all of it."""
        digest = subject.manifest.digest
        if _REVISED & subject.statements.keys():  # it may say something else by now
            return False
        known = self._recorded(destination, digest)
        covered = {kind for kinds in known.values() for kind in kinds}
        if not known or not subject.statements.keys() <= covered:
            return False
        there = self._asking(destination, partial(self._place(destination).of, digest))
        return there is not None and known.keys() <= set(there)

    def _recorded(
        self, destination: Destination, subject: Digest
    ) -> Mapping[Digest, tuple[str, ...]]:
        """Give what the journal says is attached: predicate types by referrer."""
        return _types(self.journal.get(Section.ATTESTED, ImageKey(destination.key, subject)))

    def _said(self, here: list[Destination], subject: Described) -> dict[Digest, Referrer]:
        """Give what was said before, wherever it was said.

        What nobody signs is not carried from one registry to another, as anybody may have put it:
        it counts only where it says everything, everywhere.
        """
        accepted = self.signer.accepted if self.signer else None
        digest = subject.manifest.digest
        found = [
            answer[0]
            for each in here
            if (
                answer := self._asking(
                    each, partial(valid_referrers, self._place(each), digest, accepted)
                )
            )
        ]
        said = {each: referrer for held in found for each, referrer in held.items()}
        if accepted is not None:
            return said
        return {
            each: referrer
            for each, referrer in said.items()
            if subject.statements.keys() <= set(referrer.predicate_types)
            and all(each in held for held in found)
        }

    def _made(self, subject: Described, said: Iterable[Referrer]) -> tuple[Referrer, ...]:
        every = tuple(said)
        covered = {kind for each in every for kind in each.predicate_types}
        missing = [
            kind
            for kind, make in subject.statements.items()
            if kind not in covered or (kind in _REVISED and not _is_said(make(), every))
        ]
        if not missing:
            return ()
        if self.signer is None:
            made = [make() for make in subject.statements.values()]
            return (unsigned_referrer(subject.manifest, made),)
        signed = []
        for kind in sorted(missing):
            found = subject.statements[kind]()
            signed.append(signed_referrer(subject.manifest, found, self.signer.bundle(found)))
        return tuple(signed)

    def _put(
        self, destination: Destination, subject: Digest, said: Mapping[Digest, Referrer]
    ) -> None:
        notes = self._place(destination).put(subject, said.values())
        with self._lock:
            self._notes.update(dict.fromkeys(notes))
        types: dict[str, JSONValue] = {str(each): [*said[each].predicate_types] for each in said}
        self.journal.record(Section.ATTESTED, ImageKey(destination.key, subject), types)

    def _asking(self, destination: Destination, ask: Callable[[], T]) -> T | None:
        """Ask a destination; an optional one that fails is left out from then on (None)."""
        if destination in self._failed:
            return None
        try:
            return ask()
        except (PublishError, CredentialError, VerificationError) as error:
            own_failure(error, self.cancel)
            if destination.required:
                raise PublishError(
                    f"{destination}: statements can't be attached: {error.message}",
                    hint=error.hint or "no tag has moved; run the same command again",
                    details=error.details,
                ) from error
            with self._lock:
                self._failed[destination] = error
            return None

    def _place(self, destination: Destination) -> Attachments:
        with self._lock:
            name = destination.key
            if name not in self._places:
                self._places[name] = Attachments(destination.store, self.cancel.sleep)
            return self._places[name]


def valid_referrers(
    place: Attachments, subject: Digest, accepted: Accepted | None
) -> tuple[Mapping[Digest, Referrer], int]:
    """Give the referrers of a subject that carry accepted statements, and how many others.

    Where nobody signs, those that carry statements at all. Raises as the store does.
    """
    found: dict[Digest, Referrer] = {}
    others = 0
    for digest in place.of(subject):
        try:
            referrer = read_referrer(place.store, digest, STATEMENT_CAP)
            types = _statements(referrer, subject, accepted) if referrer else ()
        except (VerificationError, RegistryError):  # damaged, or without its blob
            referrer, types = None, ()
        if referrer is None or not types:
            others += 1
        else:
            found[digest] = replace(referrer, predicate_types=types)
    return found, others


def _statements(referrer: Referrer, subject: Digest, accepted: Accepted | None) -> tuple[str, ...]:
    manifest = referrer.manifest
    if manifest.subject is None or manifest.subject.digest != subject:
        return ()
    kind = manifest.content.get("artifactType")
    if kind == BUNDLE and accepted is not None:
        return tuple(read_bundle(blob, accepted, subject).predicate_type for blob in referrer.blobs)
    if kind == UNSIGNED and accepted is None:
        return tuple(read_statement(blob, subject).predicate_type for blob in referrer.blobs)
    return ()


def _is_said(found: Statement, said: Iterable[Referrer]) -> bool:
    """Tell whether exactly this has been said."""
    for each in said:
        for blob in each.blobs if found.predicate_type in each.predicate_types else ():
            signed = each.manifest.content.get("artifactType") == BUNDLE
            if (envelope(blob)[0] if signed else blob) == found.data:
                return True
    return False


def _types(value: object) -> Mapping[Digest, tuple[str, ...]]:
    """Read what the journal keeps of a subject: predicate types by referrer."""
    if not isinstance(value, dict):
        return {}
    try:
        return {Digest(text): tuple(map(str, kinds)) for text, kinds in value.items()}
    except (VerificationError, TypeError):
        return {}
