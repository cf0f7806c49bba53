"""Whether a key or identity that counts has spoken for what a registry shows.

An index says itself which inputs its images were made from. Where releases are signed, that is
believed only of an index that an accepted signature is about: whoever may push to one registry, or
runs it, would else have another's bytes signed and carried to every other registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cached_property

from podbuild.build.attest.signer import SigningSetup
from podbuild.config.attest import Signing
from podbuild.config.template import Placeholders
from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.attach import Attachments, read_referrer
from podbuild.oci.names import Digest
from podbuild.oci.signing import Accepted, read_bundle
from podbuild.oci.statements import BUNDLE
from podbuild.oci.store import Store
from podbuild.oci.transport.problem import RegistryError
from podbuild.system.later import dataclass
from podbuild.workspace import Services

_CAP = 64 << 20  # bytes of one referrer's blobs


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """Looks for one accepted statement about a manifest; what can't be checked is not vouched."""

    setup: SigningSetup
    sleep: Callable[[float], None] = field(repr=False)
    tell: Callable[[str], None] = field(repr=False)

    @classmethod
    def by(cls, services: Services, signing: Signing) -> Vouched:
        """Ask whom the configuration accepts."""
        setup = SigningSetup(
            signing=signing,
            root=services.config.root,
            environment=services.environment,
            runner=services.runner,
            folders=services.folders,
            values=Placeholders(project=services.config.project.name, env=services.config.env),
            on_secret=services.ui.redactor.add,
        )
        return cls(setup=setup, sleep=services.cancel.sleep, tell=services.ui.detail)

    def __call__(self, store: Store, digest: Digest) -> bool:
        """Tell whether there is one."""
        why = self.lacking(store, digest)
        if why:
            self.tell(f"{store.reference(digest)} is not used again: {why}")
        return not why

    def lacking(self, store: Store, digest: Digest) -> str:
        """Say why nobody has spoken for it; empty where somebody has."""
        try:
            accepted = self._accepted
            place = Attachments(store, self.sleep)
            if any(_speaks(store, each, digest, accepted) for each in place.of(digest)):
                return ""
        except PodbuildError as error:
            if error.is_stop:
                raise
            return error.message
        return "no signature that is accepted"

    @cached_property
    def _accepted(self) -> Accepted:
        return self.setup.accepted()


def _speaks(store: Store, referrer: Digest, subject: Digest, accepted: Accepted) -> bool:
    try:
        found = read_referrer(store, referrer, _CAP)
        if found is None or found.manifest.content.get("artifactType") != BUNDLE:
            return False
        return any(read_bundle(blob, accepted, subject) for blob in found.blobs)
    except (VerificationError, RegistryError):  # damaged, or somebody else's
        return False
