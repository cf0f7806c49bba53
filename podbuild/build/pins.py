"""Resolve every base from outside once per release, and pin it by digest for all platforms."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from podbuild.build.engine.registries_conf import Mirror, RegistriesConf
from podbuild.errors import BuildError, ConfigError, CredentialError, PodbuildError, PublishError
from podbuild.oci.names import Digest, Reference, Repository
from podbuild.oci.store import Store
from podbuild.plan.journal import Journal, Section

_ASKED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Pinner:
    """Asks registries what tags name. `open_store` opens a place that serves a repository.

    References that are `anew` are neither taken from the journal nor left there.
    """

    conf: RegistriesConf
    open_store: Callable[[Mirror], Store]
    journal: Journal
    anew: Container[str] = ()

    def pin(self, references: Iterable[str]) -> Mapping[str, str]:
        """Give NAME@DIGEST for each reference as it is written in a Containerfile.

        What the journal of this release has is not asked again. Raises BuildError where a base
        does not exist, PublishError where no registry could be asked.
        """
        wanted = tuple(dict.fromkeys(references))
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="pin") as pool:
            return dict(zip(wanted, pool.map(self._pin, wanted), strict=True))

    def _pin(self, written: str) -> str:
        if written in self.anew:
            return self._find(written)
        known = self.journal.get(Section.PINS, written)
        if isinstance(known, str):
            return known
        found = self._find(written)
        self.journal.record(Section.PINS, written, found)
        return found

    def _find(self, written: str) -> str:
        candidates = [Reference.parse(text) for text in self.conf.candidates(written)]
        for reference in candidates:
            if isinstance(reference.target, Digest):
                return str(reference)
            try:
                digest = self._digest(reference)
            except (CredentialError, PublishError) as error:  # a host alone says too little
                error.message = f"the base {written}: {error.message}"
                raise
            if digest is not None:
                return reference.repository.at(digest)
        names = ", ".join(map(str, candidates))
        raise BuildError(
            f"the base {written} does not exist (asked for: {names})",
            hint="check the name in the Containerfile",
        )

    def _digest(self, reference: Reference) -> Digest | None:
        """Ask the mirrors first; one that fails or lacks the image is passed over."""
        *mirrors, own = self.conf.sources(str(reference))
        for mirror in mirrors:
            try:
                found = self.open_store(mirror).head(reference.target)
            except PodbuildError:
                continue
            if found is not None:
                return found.digest
        found = self.open_store(own).head(reference.target)
        return found.digest if found else None


def repositories_of(pins: Iterable[str], conf: RegistriesConf) -> tuple[Repository, ...]:
    """Give the repositories, mirrors included, whose logins the engine needs for these pins."""
    found = {repository_of(source) for pin in pins for source in conf.sources(pin)}
    return tuple(sorted(found))


def repository_of(mirror: Mirror) -> Repository:
    """Give the repository behind a place; raises ConfigError for what is none."""
    try:
        return Repository.parse(mirror.location)
    except ConfigError as error:
        raise ConfigError(f"bad mirror {mirror.location!r}", hint=error.hint) from None
