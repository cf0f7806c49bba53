"""Classic signatures for podman, skopeo and CRI-O: one manifest for all repository names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from podbuild.errors import PublishError
from podbuild.oci.classic import (
    Classic,
    classic_layer,
    classic_manifest,
    classic_payload,
    put_classic,
    read_classic,
)
from podbuild.oci.keys import PublicKey
from podbuild.oci.names import Digest
from podbuild.oci.registry import RegistryStore
from podbuild.plan.destination import Destination

T = TypeVar("T")


class Asking(Protocol):
    """Asks a destination: None where an optional one fails, PublishError for a required one."""

    def __call__(self, destination: Destination, ask: Callable[[], T]) -> T | None:
        """Ask."""


@dataclass(frozen=True, kw_only=True)
class ClassicSigner:
    """Signs digests for every repository; `key` is whose signatures count."""

    key: PublicKey
    sign: Callable[[bytes], bytes | None]

    def attach(
        self, subject: Digest, destinations: Iterable[Destination], asking: Asking
    ) -> Digest | None:
        """Have every registry hold the signatures for all of them, and read them back.

        Gives the manifest of them; None where there is no registry: a layout has no name that
        podman could ask for.
        Raises PublishError where a name is not signed, and nobody signs.
        """
        here = [each for each in destinations if isinstance(each.store, RegistryStore)]
        found = {
            each: answer
            for each in here
            if (answer := asking(each, partial(read_classic, each.store, subject, self.key)))
        }
        known = {name: layer for each in found.values() for name, layer in each.valid.items()}
        names = {str(each.store.name) for each in found}
        for name in sorted(names - known.keys()):
            payload = classic_payload(name, subject)
            signature = self.sign(payload)
            if signature is None:
                raise PublishError(f"{name}@{subject}: nobody has signed it for podman")
            known[name] = classic_layer(payload, signature)
        for each, held in found.items():
            if known != held.valid:
                layers = (*known.values(), *held.others)
                asking(each, partial(put_classic, each.store, subject, layers))
                asking(each, partial(self._read_back, each, subject))
        return classic_manifest(known.values())[0].digest if found else None

    def _read_back(self, destination: Destination, subject: Digest) -> Classic:
        found = read_classic(destination.store, subject, self.key)
        if destination.store.name not in found.valid:
            raise PublishError(
                f"{destination.store.reference(subject)}: its signature can't be read back",
                hint="run the same command again; no tag has moved",
            )
        return found
