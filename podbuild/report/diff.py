"""A comparison of two versions as text, JSON or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podbuild.build.examine.difference import Difference, FileChange, PackageChange
from podbuild.plan.model import Job
from podbuild.report.markdown import code, cut, table, text
from podbuild.report.model import SCHEMA
from podbuild.system.console.text import size
from podbuild.system.records import JSONValue

Pair = tuple[tuple[str, str], Difference]  # both references, and what differs
_SHOWN = 15  # lines of each list, for people


def diff_json(
    pairs: Sequence[Pair], gone: Sequence[Job], new: Sequence[Job]
) -> dict[str, JSONValue]:
    """Give all differences; sizes in bytes."""
    return {
        "schema": SCHEMA,
        "images": [_json(references, each) for references, each in pairs],
        "gone": [str(job) for job in gone],
        "new": [str(job) for job in new],
    }


def _json(references: tuple[str, str], each: Difference) -> JSONValue:
    new = each.new
    return {
        "image": new.image,
        "platform": str(new.platform),
        "before": _side(references[0], each, old=True),
        "after": _side(references[1], each, old=False),
        "update": each.layers.update,
        "packages": [
            {
                "name": change.name,
                "before": [*change.before],
                "after": [*change.after],
                "bytes": change.bytes,
            }
            for change in each.packages
        ],
        "owners": [{"owner": owner, "bytes": count} for owner, count in each.owners.items()],
        "files": [
            {
                "path": f"/{change.path}",
                "before": change.before,
                "after": change.after,
                "owner": change.owner,
            }
            for change in each.files
        ],
        "layers": {
            "same": [str(layer.digest) for layer in each.layers.same],
            "new": [{"digest": str(x.digest), "size": x.size} for x in each.layers.new],
            "gone": [{"digest": str(x.digest), "size": x.size} for x in each.layers.gone],
        },
    }


def _side(reference: str, each: Difference, *, old: bool) -> JSONValue:
    image = each.old if old else each.new
    return {
        "reference": reference,
        "digest": str(image.manifest.digest),
        "compressed": _compressed(each, old=old),
        "visible": image.folded.visible_bytes,
        "hidden": image.folded.hidden_bytes,
    }


def _compressed(each: Difference, *, old: bool) -> int:
    image = each.old if old else each.new
    return sum(layer.size for layer in image.manifest.layers)


def diff_text(pairs: Sequence[Pair], gone: Sequence[Job], new: Sequence[Job]) -> str:
    """Give what changed, the largest first, cut where it gets long."""
    lines = [line for _, each in pairs for line in _lines(each)]
    lines += [f"{job}: gone" for job in gone]
    lines += [f"{job}: new" for job in new]
    return "\n".join(lines)


def _lines(each: Difference) -> Iterator[str]:
    yield _headline(each)
    if each.is_none:
        return
    for title, entries in (
        ("packages", [_package(change) for change in _largest(each)]),
        ("files", [_file(change) for change in each.files]),
        ("bytes by owner", [f"{_signed(x):>10}  {owner}" for owner, x in each.owners.items()]),
    ):
        if entries:
            yield f"  {title}:"
            yield from (f"    {entry}" for entry in entries[:_SHOWN])
            if len(entries) > _SHOWN:
                yield f"    and {len(entries) - _SHOWN} more"


def _headline(each: Difference) -> str:
    name = f"{each.new.image} {each.new.platform}"
    if each.is_none:
        return f"{name}: the same image"
    before, after = _compressed(each, old=True), _compressed(each, old=False)
    layers = each.layers
    return (
        f"{name}: {size(before)} -> {size(after)} ({_signed(after - before)}), an update fetches "
        f"{size(layers.update)}: {len(layers.new)} of {len(each.new.manifest.layers)} layers"
    )


def _largest(each: Difference) -> list[PackageChange]:
    return sorted(each.packages, key=lambda change: (-abs(change.bytes), change.name))


def _package(change: PackageChange) -> str:
    before, after = ", ".join(change.before), ", ".join(change.after)
    what = f"{before or 'new'} -> {after or 'gone'}"
    return f"{_signed(change.bytes):>10}  {change.name} {what}"


def _file(change: FileChange) -> str:
    what = "new" if change.before is None else "gone" if change.after is None else "changed"
    return f"{_signed(change.growth):>10}  /{change.path} ({what}; {change.owner or 'no file'})"


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"


def diff_markdown(pairs: Sequence[Pair], gone: Sequence[Job], new: Sequence[Job]) -> str:
    """Give the comparison for a summary or a comment."""
    rows = []
    for _, each in pairs:
        before, after = _compressed(each, old=True), _compressed(each, old=False)
        rows.append(
            (
                text(f"{each.new.image} {each.new.platform}"),
                size(before),
                size(after),
                _signed(after - before),
                size(each.layers.update),
            )
        )
    lines = ["### What changed", ""]
    lines += table(("image", "before", "after", "growth", "update"), rows)
    for _, each in pairs:
        lines += _details(each)
    lines += [f"- {text(str(job))}: gone" for job in gone]
    lines += [f"- {text(str(job))}: new" for job in new]
    return cut("\n".join(lines) + "\n")


def _details(each: Difference) -> Iterator[str]:
    if each.is_none:
        return
    name = text(f"{each.new.image} {each.new.platform}")
    yield from ("", f"<details><summary>{name}</summary>", "")
    rows = [
        (code(x.name), text(", ".join(x.before)), text(", ".join(x.after)), _signed(x.bytes))
        for x in _largest(each)[: _SHOWN * 4]
    ]
    yield from table(("package", "before", "after", "bytes"), rows)
    yield ""
    files = [
        (code(f"/{x.path}"), _signed(x.growth), code(x.owner)) for x in each.files[: _SHOWN * 4]
    ]
    yield from table(("file", "bytes", "of"), files)
    yield from ("", "</details>")
