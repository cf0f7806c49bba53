"""The values that a job of a workflow has by its matrix.

Source: GitHub's documentation, "Running variations of jobs in a workflow".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from podbuild.commands.carry_yaml import Said


def matrix_values(job: Said) -> Iterator[dict[str, str]]:
    """Give the values of each of a job's matrix, by expression (a job without one has none)."""
    matrix = job.table.get("strategy", Said(0, "")).table.get("matrix", Said(0, ""))
    axes = {
        name: node.items
        for name, node in matrix.table.items()
        if name not in ("include", "exclude") and node.items
    }
    rows = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    found = [_flat("matrix", row) for row in rows if row]
    for left in matrix.table.get("exclude", Said(0, "")).items:
        row = _flat("matrix", left.table)
        found = [one for one in found if any(one.get(key) != row[key] for key in row)]
    for extra in matrix.table.get("include", Said(0, "")).items:
        row = _flat("matrix", extra.table)
        same = [each for each in found if all(each.get(k, v) == v for k, v in row.items())]
        if same and axes:
            for each in same:
                each.update(row)
        else:
            found.append(row)
    yield from found or [{}]


def _flat(way: str, row: Mapping[str, Said]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, node in row.items():
        if node.table:
            found |= _flat(f"{way}.{name}", node.table)
        else:
            found[f"{way}.{name}"] = node.text
    return found
