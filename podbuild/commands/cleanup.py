"""After a release: delete what its moving tags left, where the configuration asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain, islice

from podbuild.errors import CleanupError, CredentialError, PodbuildError
from podbuild.oci.delete import Abilities, RemovalKind
from podbuild.oci.names import Tag
from podbuild.plan.destination import Destination, ask_all
from podbuild.plan.expected import MOST, expected_tags, fixed_tags, journalled_tags, read_refs
from podbuild.plan.model import Plan, Target
from podbuild.publish.ledger import Ledger
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import clean_superseded
from podbuild.publish.retention.removal import Cleaned
from podbuild.publish.retention.removers import Removers
from podbuild.report.model import RemovalReport
from podbuild.workspace import Services


def expected_in(services: Services, targets: Sequence[Target]) -> tuple[Tag, ...]:
    """Give the tags that should be in the repository that these targets share."""
    config = services.config
    refs = read_refs(services.runner, config.root)
    journalled = journalled_tags(config.output, [target.key for target in targets])
    images = [config.image(name) for name in dict.fromkeys(each.image for each in targets)]
    written = (tag for image in images for tag in expected_tags(config, image, refs))
    every = chain(*(fixed_tags(config, image) for image in images), journalled, written)
    return tuple(islice(dict.fromkeys(every), MOST))


def open_place(
    removers: Removers,
    destination: Destination,
    target: Target,
    expected: tuple[Tag, ...] = (),
) -> CleanupTarget:
    """Give a repository as cleanup sees it; raises CredentialError, ConfigError."""
    return CleanupTarget(
        key=destination.key,
        expected=expected,
        store=destination.store,
        remover=removers.open(target.registry, destination.store),
    )


def check_removal_rights(
    services: Services, plan: Plan, destinations: Iterable[Destination]
) -> None:
    """Ask every registry, before anything is built, what this login can delete there.

    What is missing is a warning: the release does without its cleanup. Raises CredentialError
    for a login that is refused or missing, where the registry is required.
    """
    removers = Removers(services.opener.registries)
    targets = {target.key: target for target in plan.targets}

    def able(destination: Destination) -> Abilities:
        place = open_place(removers, destination, targets[destination.key])
        return place.remover.abilities()

    answers = ask_all(destinations, able, services.cancel, at_once=1)
    removers.close()
    for destination, error in answers.failed.items():
        if destination.required and isinstance(error, CredentialError):
            raise error
        services.ui.warn(f"{destination}: what may be deleted is not known: {error.message}")
    for destination, found in answers.found.items():
        if not found.manifests:
            services.ui.warn(f"{destination}: superseded images stay: {found.reason}")


def remove_superseded(
    services: Services, plan: Plan, destinations: tuple[Destination, ...]
) -> tuple[RemovalReport, ...]:
    """Delete on every registry what moving tags left, once its grace is over.

    Raises CleanupError after all repositories were tried, naming each that is incomplete; of
    optional registries that is a warning.
    """
    ledger = Ledger.of(services.folders, services.config.root)
    recorded = ledger.read()
    removers = Removers(services.opener.registries)
    targets = {target.key: target for target in plan.targets}
    sharing: dict[str, list[Target]] = {}
    for each in plan.targets:
        sharing.setdefault(each.place, []).append(each)

    def clean(destination: Destination) -> tuple[RemovalReport, ...]:
        left = recorded[destination.key]
        target = targets[destination.key]
        expected = expected_in(services, sharing[target.place])
        place = open_place(removers, destination, target, expected)
        now = datetime.now(UTC)
        cleaned = clean_superseded(place, services.config.retention, left, now, services.cancel)
        finished = {item.digest for item in (*cleaned.removed, *cleaned.gone)}
        ledger.forget({destination.key: finished & left.keys()})
        return removal_reports(destination.store.name, cleaned)

    due = (each for each in destinations if recorded.get(each.key))
    answers = ask_all(due, clean, services.cancel, at_once=1)  # repositories may be shared
    removers.close()
    for destination, error in answers.failed.items():
        if not destination.required:
            services.ui.warn(f"{destination}: its cleanup is incomplete: {error.message}")
    _refuse_incomplete([error for each, error in answers.failed.items() if each.required])
    return tuple(chain.from_iterable(answers.found.values()))


def _refuse_incomplete(failed: Sequence[PodbuildError]) -> None:
    if failed:
        first, *others = failed
        raise CleanupError(
            f"the release is out; its cleanup is incomplete: {first.message}",
            hint=first.hint,
            details=(*first.details, *(f"also: {error.message}" for error in others)),
        )


def removal_reports(repository: str, cleaned: Cleaned) -> tuple[RemovalReport, ...]:
    """Give what became of each item, for reports."""
    ended = (
        (RemovalKind.REMOVED, ((item, item.reason) for item in cleaned.removed)),
        (RemovalKind.GONE, ((item, "") for item in cleaned.gone)),
        (RemovalKind.KEPT, cleaned.kept),
    )
    return tuple(
        RemovalReport(
            repository=repository,
            what=str(item.tag or item.digest),
            outcome=outcome,
            reason=reason,
        )
        for outcome, items in ended
        for item, reason in items
    )
