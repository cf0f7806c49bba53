"""Compare what a tag names on every registry: with each other, and with the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from podbuild.commands.attest import Named, check_statements, statement_checker
from podbuild.commands.relocate import plan_of, required_first
from podbuild.errors import VersionError
from podbuild.oci.names import Tag
from podbuild.plan.destination import Destination, everywhere, open_destinations
from podbuild.plan.journal import TagKey, recorded_tags
from podbuild.plan.model import Plan, PlannedImage, Request
from podbuild.publish.attested import Statements
from podbuild.publish.verify import ABSENT, Checked, Expectation, agree, check
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class VerifiedTag:
    """What a tag names everywhere, what is said of that, and all that is wrong."""

    checked: tuple[Checked, ...]
    statements: tuple[Statements, ...]
    problems: tuple[str, ...]


def check_tag(services: Services, request: Request, text: str) -> VerifiedTag:
    """Give what was checked and all that differs. `text` is a tag, or a version with its v.

    Where the configuration has [attest], what is attached is checked too.

    A version's tags are compared with the journal of its release too, where this machine has it;
    moving tags only with each other, as a later release may have moved them.

    Raises VersionError for a tag that no registry has and the journal does not know, and what
    required registries raise when they can't be asked; optional ones are warned of where another
    answers.
    """
    plan = plan_of(services, request)
    version = services.config.project.form.find(text)
    recorded = recorded_tags(services.config.output, str(version)) if version else {}
    asked = {}
    for destination in open_destinations(services.opener, plan):
        image = plan.image(destination.image)
        tag = tag_of_version(services, text, image)
        asked[destination] = Expectation(
            destination=destination,
            tag=tag,
            digest=recorded.get(TagKey(destination.key, tag)),
            platforms=frozenset(image.platforms),
        )
    answers = everywhere(
        required_first(asked), lambda each: _check(asked[each], text), services.cancel
    )
    for destination, error in answers.failed.items():
        services.ui.warn(f"{destination} can't be asked: {error.message}")
    checked = tuple(answers.found.values())
    for error in () if checked else answers.failed.values():
        raise error  # nobody answered, so that nothing is known
    if all(each.problems == (ABSENT,) and not each.expectation.digest for each in checked):
        released = "`podbuild release` puts it there" if version else "check the tag"
        raise VersionError(f"{text} is on none of the registries", hint=released)
    own = tuple(f"{each.expectation}: {problem}" for each in checked for problem in each.problems)
    own += agree(checked, lambda each: each.expectation.destination.image)
    statements, unsaid = _statements(services, plan, checked)
    return VerifiedTag(checked=checked, statements=statements, problems=(*own, *unsaid))


def _statements(
    services: Services, plan: Plan, checked: Iterable[Checked]
) -> tuple[tuple[Statements, ...], tuple[str, ...]]:
    if services.config.attest is None:
        return (), ()
    named = []
    for each in checked:
        destination = each.expectation.destination
        manifest = destination.store.manifest(each.digest) if each.digest else None
        if manifest is not None:
            readers = plan.image(destination.image).readers
            versions = (reader.version(each.expectation.tag) for reader in readers)
            version = str(next(filter(None, versions), ""))
            named.append(Named(destination, each.expectation.tag, manifest, version))
    return check_statements(statement_checker(services), named)


def tag_of_version(services: Services, text: str, image: PlannedImage) -> Tag:
    """Give the tag that is meant: the version's own, where no template writes the text itself."""
    version = services.config.project.form.find(text)
    if version is None:
        return Tag(text)
    if "/" not in text and any(each.version(Tag(text)) for each in image.readers):
        return Tag(text)
    return next(filter(None, (each.tag(version) for each in image.readers)), Tag(str(version)))


def tag_there(
    services: Services, text: str, image: PlannedImage, destinations: Iterable[Destination]
) -> Tag:
    """Give the tag that is meant, or the text itself where that alone is there.

    Templates may have been others when a version was released.
    """
    tag = tag_of_version(services, text, image)
    if tag.text == text or str(services.config.project.form.find(text)) != text:
        return tag
    stores = [each.store for each in required_first(destinations)]
    if any(store.head(tag) for store in stores):
        return tag
    return Tag(text) if any(store.head(Tag(text)) for store in stores) else tag


def _check(expectation: Expectation, text: str) -> Checked:
    found = check(expectation)
    if found.problems != (ABSENT,) or "/" in text or expectation.tag.text == text:
        return found
    as_written = check(replace(expectation, tag=Tag(text)))
    return found if as_written.problems == (ABSENT,) else as_written
