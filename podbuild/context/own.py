"""What podbuild keeps out of contexts: git's own folder, and the names that podbuild writes."""

from __future__ import annotations

import re
from pathlib import Path

# Everything that a release writes into the output folder (design, "Files a release leaves").
OUTPUT_NAMES = (
    ".podbuild",
    "artifacts.json",
    "digests.txt",
    "logs",
    "metadata.json",
    "metrics.json",
    "plan.json",
    "podbuild.env",
    "registry",
    "staging",
    "state.json",
    "state-*.json",
    "summary.md",
)
_SPECIAL = re.compile(r"([*?\[\]\\])")


def own_patterns(context: Path, output: Path, layouts: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Give the patterns that come before those of the ignore file, so that `!.git` wins.

    `layouts` are the folders of layout registries; only those inside the output folder count.

    >>> own_patterns(Path("/p"), Path("/p/dist"))[:2]
    ('.git', 'dist/.podbuild')
    """
    found = [".git"]
    if output.is_relative_to(context) and output != context:
        prefix = _literal(output.relative_to(context))
        found.extend(f"{prefix}/{name}" for name in OUTPUT_NAMES)
        found.extend(
            _literal(path.relative_to(context)) for path in layouts if path.is_relative_to(output)
        )
    elif output == context:
        found.extend(OUTPUT_NAMES)
    return tuple(found)


def _literal(path: Path) -> str:
    return _SPECIAL.sub(r"\\\1", path.as_posix())
