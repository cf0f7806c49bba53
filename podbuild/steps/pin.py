"""Pin outside bases: what each name means now, by digest, once per release and for all platforms.

Mirrors come first; the name stays the registry's own, so that the engine's configuration decides
where the bytes come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from podbuild.engine import RegistriesConf
from podbuild.engine.registries import Mirror
from podbuild.errors import BuildError, CredentialError, PodbuildError
from podbuild.model import Digest, Repository, Tag
from podbuild.store import Store

LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """Asks registries. `open` gives the store of a repository at a place (insecure: plain HTTP)."""

    conf: RegistriesConf
    open: Callable[[Repository, bool], Store]
    known: Callable[[str], str | None] = lambda _name: None
    remember: Callable[[str, str], None] = lambda _name, _pin: None


def pin_all(names: Iterable[str], resolver: Resolver) -> Mapping[str, str]:
    """Give NAME@DIGEST for every name of an outside image.

    Raises BuildError when no registry has it, CredentialError when a registry refuses us.
    """
    return {name: _known_or_asked(name, resolver) for name in dict.fromkeys(names)}


def repositories_of(pins: Iterable[str], conf: RegistriesConf) -> tuple[Repository, ...]:
    """Give the repositories, mirrors included, whose logins the engine needs for these pins."""
    found = {
        Repository.parse(source.location)
        for pin in pins
        for source in conf.sources(Repository.parse(pin.partition("@")[0]))
    }
    return tuple(sorted(found))


def _known_or_asked(name: str, resolver: Resolver) -> str:
    known = resolver.known(name)
    if known:
        return known
    pin = _asked(name, resolver)
    resolver.remember(name, pin)
    return pin


def _asked(name: str, resolver: Resolver) -> str:
    reasons: list[str] = []
    refused: CredentialError | None = None
    for candidate in resolver.conf.candidates(name):
        repository, target = _parse(candidate)
        if isinstance(target, Digest):
            return str(repository.at(target))
        for source in resolver.conf.sources(repository):
            try:
                digest = _head(source, target, resolver)
            except CredentialError as error:
                refused = refused or error
                reasons.append(str(error))
            except PodbuildError as error:
                reasons.append(str(error))
            else:
                if digest:
                    return str(repository.at(digest))
                reasons.append(f"{source.location} has no {target}")
    if refused and len(reasons) == 1:
        raise refused
    raise BuildError(
        f"the base image {name} can't be found",
        hint="is its name right, and its registry reachable from here?",
        details=reasons,
    )


def _head(source: Mirror, tag: Tag, resolver: Resolver) -> Digest | None:
    store = resolver.open(Repository.parse(source.location), source.insecure)
    found = store.head(tag)
    return found.digest if found else None


def _parse(reference: str) -> tuple[Repository, Tag | Digest]:
    """Read a full reference; a digest wins over a tag."""
    name, at, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, LATEST
    return Repository.parse(head), Digest(digest) if at else Tag(tag)
