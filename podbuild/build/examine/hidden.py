"""Which images carry more bytes that nobody sees than they may."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from podbuild.build.examine.anatomy import QUESTIONS, Anatomy, anatomy_of
from podbuild.build.examine.children import Examination
from podbuild.build.examine.waste import hidden_pairs, judged_hidden
from podbuild.build.inputs.lint import Finding, Level
from podbuild.config.trials import OverBudget
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job
from podbuild.system.console.text import size as size_text

HIDDEN_RULE = "budget-hidden"
_SHOWN = 3  # lines in a message


def over_hidden(
    examined: Examination,
    images: Mapping[Job, Manifest],
    place: Callable[[str], tuple[str, int]],
) -> Iterator[Finding]:
    """Give a finding for each published image whose own layers hide more than its budget.

    One whose layers are not here, and whom nobody has read before, is named in a warning. Raises
    VerificationError for a layer that can't be read.
    """
    for job, manifest in sorted(images.items(), key=lambda each: each[0]):
        planned = examined.plan.image(job.image)
        budget, store = planned.image.budget, examined.store(job)
        if not planned.published or budget.hidden is None:
            continue
        config, *layers = manifest.blobs
        known = examined.examiner.knows(layers, QUESTIONS) or all(map(store.has_blob, layers))
        if not known or not store.has_blob(config):
            yield _finding(
                job,
                place(job.image),
                Level.WARNING,
                "what its layers hide was not looked into: they are not here",
                f"podbuild audit {job.image} --tag TAG looks into what is published",
            )
            continue
        image = anatomy_of(
            examined.examiner, store, manifest, (job.image, job.platform), examined.steps(job)
        )
        hidden = sum(each.size for each in judged_hidden(image))
        if hidden > budget.hidden:
            yield _finding(
                job,
                place(job.image),
                Level.WARNING if budget.on is OverBudget.WARN else Level.ERROR,
                f"its layers hide {size_text(hidden)} ({hidden} bytes), and its budget is "
                f"{size_text(budget.hidden)} ({budget.hidden} bytes): {_causes(image)}",
                f"podbuild audit {job.image}, or raise the budget",
            )


def _causes(image: Anatomy) -> str:
    return "; ".join(
        f"{each.file}:{each.line} {each.message}" for each in hidden_pairs(image)[:_SHOWN]
    )


def _finding(job: Job, place: tuple[str, int], level: Level, message: str, hint: str) -> Finding:
    file, line = place
    return Finding(
        level=level,
        file=file,
        line=line,
        message=message,
        hint=hint,
        rule=HIDDEN_RULE,
        image=job.image,
        platforms=(job.platform,),
    )
