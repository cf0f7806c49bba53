"""An audit as text, JSON or Markdown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from podbuild.build.examine.anatomy import Anatomy
from podbuild.build.inputs.lint import Finding, Level
from podbuild.oci.filesystem import Hidden, Hiding
from podbuild.report.findings import finding_json
from podbuild.report.markdown import code, cut, table, text
from podbuild.report.model import SCHEMA
from podbuild.system.console.text import size
from podbuild.system.records import JSONValue

_OWNERS = 5  # that people are shown
_MOST = 1000  # entries of a list in JSON


def audit_text(images: Sequence[tuple[str, Anatomy]], findings: Sequence[Finding]) -> str:
    """Give the findings, worst first, then what each image is made of."""
    lines = [*_found(findings), *([""] if findings else [])]
    for reference, image in images:
        lines += [*_sizes(reference, image), ""]
    return "\n".join([*lines, counted(findings)])


def counted(findings: Sequence[Finding]) -> str:
    """Say how many findings of each level there are."""
    counts = Counter(each.level for each in findings)
    parts = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in Level
        if counts[level]
    ]
    return ", ".join(parts) or "nothing found"


def _found(findings: Sequence[Finding]) -> Iterator[str]:
    for each in findings:
        yield f"{each.level}: {each}"
        if each.hint:
            yield f"  instead: {each.hint}"


def _sizes(reference: str, image: Anatomy) -> Iterator[str]:
    folded = image.folded
    yield (
        f"{image.image} {image.platform}: {size(_compressed(image))} compressed, "
        f"{size(folded.visible_bytes)} in files, {size(folded.hidden_bytes)} hidden "
        f"({size(image.own_hidden)} by own steps), efficiency {_efficiency(image):.2f}"
    )
    if reference != f"{image.image} {image.platform}":
        yield f"  {reference}"
    owners = [*image.by_owner.items()]
    for owner, count in owners[:_OWNERS]:
        yield f"  {size(count):>9}  {owner}"
    if rest := owners[_OWNERS:]:
        yield f"  {size(sum(count for _, count in rest)):>9}  {len(rest)} more"


def _compressed(image: Anatomy) -> int:
    return sum(layer.size for layer in image.manifest.layers)


def _efficiency(image: Anatomy) -> float:
    return image.folded.visible_bytes / image.folded.total if image.folded.total else 1.0


def audit_json(
    images: Sequence[tuple[str, Anatomy]], findings: Sequence[Finding]
) -> dict[str, JSONValue]:
    """Give all of it: sizes in bytes, what is hidden by pairs of lines, owners, layers."""
    return {
        "schema": SCHEMA,
        "findings": [finding_json(each) for each in findings],
        "images": [_image_json(reference, image) for reference, image in images],
    }


def _image_json(reference: str, image: Anatomy) -> JSONValue:
    folded = image.folded
    owners: list[JSONValue] = [
        {"owner": owner, "bytes": count} for owner, count in image.by_owner.items()
    ]
    return {
        "image": image.image,
        "platform": str(image.platform),
        "reference": reference,
        "digest": str(image.manifest.digest),
        "compressed": _compressed(image),
        "total": folded.total,
        "visible": folded.visible_bytes,
        "hidden": folded.hidden_bytes,
        "own_hidden": image.own_hidden,
        "own": image.own_bytes,
        "efficiency": round(_efficiency(image), 4),
        "layers": [*_layers_json(image)],
        "hidden_by": [*_pairs_json(image)],
        "owners": owners,
        "packages": [
            {"kind": each.kind.value, "name": each.name, "version": each.version}
            for each in image.packages.packages
        ],
        "remarks": [*image.packages.remarks],
    }


def _layers_json(image: Anatomy) -> Iterator[JSONValue]:
    for at, layer in enumerate(image.manifest.layers):
        cause = image.cause(at)
        yield {
            "digest": str(layer.digest),
            "compressed": layer.size,
            "bytes": image.folded.totals[at],
            "base": at < image.own,
            "file": cause.file,
            "line": cause.line,
            "text": cause.text,
        }


def _pairs_json(image: Anatomy) -> Iterator[JSONValue]:
    pairs: dict[tuple[int, int, Hiding], list[Hidden]] = defaultdict(list)
    for each in image.folded.hidden:
        pairs[each.by, each.layer, each.cause].append(each)
    for (by, layer, cause), found in sorted(pairs.items()):
        here, there = image.cause(by), image.cause(layer)
        largest = sorted(found, key=lambda each: (-each.size, each.path))[:_MOST]
        yield {
            "cause": cause.value,
            "by_layer": by,
            "by": f"{here.file}:{here.line}",
            "of_layer": layer,
            "of": f"{there.file}:{there.line}",
            "base": by < image.own,
            "bytes": sum(each.size for each in found),
            "compressed_about": sum(each.compressed for each in found),
            "files": len(found),
            "largest": [{"path": f"/{each.path}", "bytes": each.size} for each in largest[:10]],
        }


def audit_markdown(images: Sequence[tuple[str, Anatomy]], findings: Sequence[Finding]) -> str:
    """Give the audit for a summary or a comment."""
    lines = [*_heading("Audit", findings)]
    rows = [
        (
            text(f"{image.image} {image.platform}"),
            size(_compressed(image)),
            size(image.folded.visible_bytes),
            size(image.folded.hidden_bytes),
            size(image.own_hidden),
            f"{_efficiency(image):.2f}",
        )
        for _, image in images
    ]
    header = ("image", "compressed", "files", "hidden", "by own steps", "efficiency")
    lines += ["", *table(header, rows)]
    for _, image in images:
        lines += ["", *_details(image)]
    return cut("\n".join(lines) + "\n")


def findings_markdown(title: str, findings: Sequence[Finding]) -> str:
    """Give findings alone."""
    return cut("\n".join(_heading(title, findings)) + "\n")


def _heading(title: str, findings: Sequence[Finding]) -> Iterator[str]:
    yield f"### {title}: {counted(findings)}"
    yield ""
    header = ("level", "rule", "place", "bytes", "what", "instead")
    yield from table(header, [*_rows(findings)])


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[str, ...]]:
    for each in findings:
        place = each.file if each.line is None else f"{each.file}:{each.line}"
        who = f"{each.image} {', '.join(map(str, each.platforms))}: " if each.image else ""
        count = size(each.bytes) if each.bytes else ""
        what, hint = text(f"{who}{each.message}"), text(each.hint)
        yield (each.level.value, code(each.rule), code(place), count, what, hint)


def _details(image: Anatomy) -> Iterator[str]:
    yield f"<details><summary>Layers of {text(f'{image.image} {image.platform}')}</summary>"
    yield ""
    rows = []
    for at, layer in enumerate(image.manifest.layers):
        cause = image.cause(at)
        place = f"{cause.file}:{cause.line}"
        step = cause.text.replace("\n", " ")[:80]
        rows.append(
            (str(at + 1), size(layer.size), size(image.folded.totals[at]), code(place), code(step))
        )
    yield from table(("layer", "compressed", "files", "line", "step"), rows)
    yield ""
    yield "</details>"
