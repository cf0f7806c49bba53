"""Carry what is said of an image to where it is promoted, before a tag names it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from podbuild.errors import CredentialError, PodbuildError, PublishError, VerificationError
from podbuild.oci.attach import Attachments
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.statements import Referrer
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, own_failure
from podbuild.publish.attach import valid_referrers
from podbuild.publish.attested import StatementChecker
from podbuild.publish.classic import ClassicSigner
from podbuild.system.cancel import Cancel

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """An image on its way: where its bytes and statements are, where it goes, and as what."""

    destination: Destination
    tag: Tag
    version: str  # where the tag is that of a version
    manifest: Manifest = field(repr=False)
    source: Store = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class StatementCarrier:
    """Copies what accepted keys and identities have said, byte for byte, and checks the result.

    `classic` signs for podman, where a repository's name is new.
    """

    checker: StatementChecker
    classic: ClassicSigner | None
    cancel: Cancel

    def carry(self, every: Iterable[Promoted]) -> Mapping[Destination, PodbuildError]:
        """Have every destination hold what must be said; gives the optional ones that do not.

        Raises PublishError for a required one.
        """
        failed: dict[Destination, PodbuildError] = {}
        for each in every:
            try:
                self._carry(each)
            except (PublishError, CredentialError, VerificationError) as error:
                own_failure(error, self.cancel)
                if each.destination.required:
                    raise PublishError(
                        f"{each.destination}: what is said of the image is not there: "
                        f"{error.message}",
                        hint=error.hint or "no tag has moved; run the same command again",
                        details=error.details,
                    ) from error
                failed[each.destination] = error
        return failed

    def _carry(self, each: Promoted) -> None:
        accepted = self.checker.demand.accepted
        source = Attachments(each.source, self.cancel.sleep)
        target = Attachments(each.destination.store, self.cancel.sleep)
        children = (child.digest for child in each.manifest.children if child.is_runnable)
        for subject in (*children, each.manifest.digest):
            said: Mapping[Digest, Referrer] = valid_referrers(source, subject, accepted)[0]
            if said and not said.keys() <= set(target.of(subject)):
                target.put(subject, said.values())
            if self.classic:
                held = Destination(
                    image=each.destination.image, registry="", required=True, store=each.source
                )
                self.classic.attach(subject, (held, each.destination), _ask)
        found = self.checker.check(each.destination, each.tag, each.manifest, each.version)
        if found.problems:
            raise PublishError(
                found.problems[0],
                details=found.problems[1:],
                hint="`podbuild attest` of its version signs and completes what is published",
            )


def _ask(destination: Destination, ask: Callable[[], T]) -> T | None:  # noqa: ARG001
    return ask()
