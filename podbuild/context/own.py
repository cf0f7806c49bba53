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
    "relocation.json",
    "staging",
    "state.json",
    "state-*.json",
    "summary.md",
)
_SPECIAL = re.compile(r"([*?\[\]\\])")


def own_patterns(
    context: Path, output: Path, layouts: tuple[Path, ...] = (), secrets: tuple[Path, ...] = ()
) -> tuple[str, ...]:
    """Give the patterns that come before those of the ignore file, so that `!.git` wins.

    `layouts` are the folders of layout registries; only those inside the output folder count.
    `secrets` are files with build secrets, which no COPY of the folder around them may take along.

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
    found.extend(
        _literal(path.relative_to(context)) for path in secrets if path.is_relative_to(context)
    )
    return tuple(found)


def kept_out(own: tuple[str, ...], ignored: tuple[str, ...]) -> tuple[str, ...]:
    """Give the own patterns that hold whatever an ignore file says of the folders around them.

    Only a line that names one itself brings it back: `!dist` is meant for a project's own files.

    >>> kept_out((".git", "dist/logs", "dist/plan.json"), ("*", "!dist", "!dist/logs/mine"))
    ('.git', 'dist/plan.json')
    """
    named = tuple(f"{pattern[1:]}/" for pattern in ignored if pattern.startswith("!"))
    return tuple(each for each in own if not any(name.startswith(f"{each}/") for name in named))


def _literal(path: Path) -> str:
    return _SPECIAL.sub(r"\\\1", path.as_posix())
