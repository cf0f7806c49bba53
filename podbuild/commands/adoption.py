"""Whether somebody who counts has signed a version that a release would adopt.

An index says itself of which commit it is, and whoever may push to one registry can say that. Where
releases are signed, one that an accepted signature is about goes before others; that there is none
is said, as the release then signs what it has not built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from podbuild.build.attest.vouched import Vouched
from podbuild.oci.names import Digest
from podbuild.plan.decide import Held
from podbuild.plan.destination import Destination
from podbuild.plan.guards import RemoteTag
from podbuild.plan.model import Plan, Target
from podbuild.plan.tags import TagKind
from podbuild.workspace import Services

Facts = Mapping[str, Held]


def with_signatures(
    services: Services, decided: Plan, facts: Facts, destinations: Sequence[Destination]
) -> tuple[Facts, Mapping[Digest, str]]:
    """Give what registries hold with what is signed marked, and why the rest is not.

    Nothing is asked but of versions that are adopted, where releases are signed.
    """
    attest = services.config.attest
    adopted = {image.name for image in decided.images if image.adopted is not None}
    if attest is None or attest.sign is None or not adopted:
        return facts, {}
    stores = {each.key: each.store for each in destinations}
    asks = Vouched.by(services, attest.sign)
    found: dict[Digest, str] = {}
    for target, remote in _versions(decided, facts):
        if target.image in adopted and target.key in stores and found.get(remote.digest, "?"):
            found[remote.digest] = asks.lacking(stores[target.key], remote.digest)
    marked = {key: _marked(held, found) for key, held in facts.items()}
    return marked, {digest: why for digest, why in found.items() if why}


def _marked(held: Held, found: Mapping[Digest, str]) -> Held:
    tags = {
        tag: replace(remote, signed=found.get(remote.digest) == "")
        for tag, remote in held.found.items()
    }
    return replace(held, found=tags)


def unsigned(plan: Plan, facts: Facts, lacking: Mapping[Digest, str]) -> Iterator[str]:
    """Say of what is adopted without a signature where it lies, and what to look at."""
    for target, remote in _versions(plan, facts):
        if remote.digest in lacking and plan.image(target.image).adopted == remote.digest:
            yield (
                f"{target.place}:{remote.tag} ({remote.digest}) is taken for this release's image "
                f"and signed, though nobody has signed it yet: {lacking[remote.digest]}; if it was "
                "not published before releases were signed, stop, and see who has pushed it "
                "(--allow-overwrite builds it anew)"
            )


def _versions(plan: Plan, facts: Facts) -> Iterator[tuple[Target, RemoteTag]]:
    for target in (*plan.targets, *plan.beside):
        for move in target.tags if target.key in facts else ():
            remote = facts[target.key].found.get(move.named.tag)
            if remote and move.kind is TagKind.VERSION:
                yield target, remote
