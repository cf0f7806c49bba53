"""metrics.txt: what GitLab compares between branches, and Prometheus reads.

OpenMetrics text, https://prometheus.io/docs/specs/om/open_metrics_spec/. Whole numbers only, and no
times: they would differ on every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from podbuild.report.model import Report


@dataclass(frozen=True, kw_only=True)
class _Family:
    name: str
    unit: str
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], int], ...]


def metrics_text(report: Report) -> str:
    """Give metrics.txt of a release."""
    return (
        "".join(f"{line}\n" for family in _families(report) for line in _lines(family)) + "# EOF\n"
    )


def _families(report: Report) -> Iterator[_Family]:
    parts = [(image, part) for image in report.images for part in image.platforms]
    costs = {(job.image, job.platform): cost for job, cost in report.metrics.items()}

    def labels(image: str, platform: object) -> tuple[tuple[str, str], ...]:
        return (("image", image), ("platform", str(platform)))

    yield _Family(
        name="podbuild_image_bytes",
        unit="bytes",
        help="What a pull of the image costs.",
        samples=tuple((labels(i.name, p.platform), p.size) for i, p in parts if p.size),
    )
    yield _Family(
        name="podbuild_layer_bytes",
        unit="bytes",
        help="Compressed layers of what was built.",
        samples=tuple(
            (labels(image, platform), cost.layer_bytes)
            for (image, platform), cost in sorted(costs.items())
            if cost.layer_bytes
        ),
    )
    yield _Family(
        name="podbuild_steps",
        unit="",
        help="Instructions of what was built.",
        samples=tuple(
            (labels(image, platform), cost.steps)
            for (image, platform), cost in sorted(costs.items())
        ),
    )
    yield _Family(
        name="podbuild_warnings",
        unit="",
        help="Warnings of the release.",
        samples=(((), len(report.warnings)),),
    )


def _lines(family: _Family) -> Iterable[str]:
    if not family.samples:
        return
    yield f"# TYPE {family.name} gauge"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    yield f"# HELP {family.name} {family.help}"
    for labels, value in family.samples:
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        yield f"{family.name}{{{named}}} {value}" if named else f"{family.name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
