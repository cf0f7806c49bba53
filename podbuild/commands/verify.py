"""Compare what a tag names on every registry: with each other, and with the journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podbuild.commands.relocate import Selection, plan_of
from podbuild.errors import PodbuildError
from podbuild.oci.names import Tag
from podbuild.plan.destination import open_destinations
from podbuild.plan.journal import recorded_tags
from podbuild.plan.model import PlannedImage
from podbuild.publish.verify import Checked, Expectation, agree, check, verify
from podbuild.semver import Version
from podbuild.workspace import Services


def check_tag(
    services: Services, scope: Selection, text: str
) -> tuple[tuple[Checked, ...], tuple[str, ...]]:
    """Give what was checked and all that differs. `text` is a tag, or a version with its v.

    A version's tags are compared with the journal of its release too, where this machine has it;
    moving tags only with each other, as a later release may have moved them.

    Raises what required registries raise when they can't be asked; optional ones are warned of.
    """
    plan = plan_of(services, scope)
    version = services.config.project.form.find(text)
    recorded = recorded_tags(services.config.output, str(version)) if version else {}
    expectations = []
    for destination in open_destinations(services.opener, plan):
        image = plan.image(destination.image)
        tag = _tag(text, version, image)
        expectations.append(
            Expectation(
                destination=destination,
                tag=tag,
                digest=recorded.get(f"{destination.key}:{tag}"),
                platforms=frozenset(image.platforms),
            )
        )
    checked = (
        *verify(each for each in expectations if each.destination.required),
        *_optional(services, [each for each in expectations if not each.destination.required]),
    )
    own = tuple(f"{each.expectation}: {problem}" for each in checked for problem in each.problems)
    return checked, own + agree(checked, lambda each: each.expectation.destination.image)


def _optional(services: Services, expectations: Iterable[Expectation]) -> Iterator[Checked]:
    for each in expectations:
        try:
            yield check(each)
        except PodbuildError as error:
            services.cancel.check()
            services.ui.warn(f"{each.destination} can't be asked: {error.message}")


def _tag(text: str, version: Version | None, image: PlannedImage) -> Tag:
    """Give the tag that is meant: the version's own, where no template writes the text itself."""
    if version is None or str(version) == text:
        return Tag(text)
    if "/" not in text and any(each.version(Tag(text)) for each in image.readers):
        return Tag(text)
    return Tag(str(version))
