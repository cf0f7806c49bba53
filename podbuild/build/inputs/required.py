"""Secrets and agents that a RUN can't do without: `--mount=type=secret,required` and ssh."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from podbuild.build.inputs.recipe import Recipe
from podbuild.errors import CredentialError


def check_required(recipe: Recipe) -> None:
    """Raise CredentialError, with file and line, for one that is neither configured nor given.

    Engines say so too, in the middle of a release.
    """
    known = {
        "secret": {each.id for each in recipe.secrets},
        "ssh": {each.partition("=")[0] for each in recipe.ssh},
    }
    for stage in recipe.parsed.needed(recipe.target, recipe.variables):
        for instruction, _ in recipe.parsed.walk(stage, recipe.variables):
            for options in instruction.mounts:
                kind = options.get("type", "")
                name = options.get("source") or options.get("id") or _usual(kind, options)
                needed = options.get("required") == "true" and "$" not in name
                if kind in known and needed and name not in known[kind]:
                    what = "build secret" if kind == "secret" else "SSH agent"
                    hint = f'secrets = [{{ id = "{name}", env = "..." }}]'
                    raise CredentialError(
                        f"{instruction.place}: the {what} {name!r} is required and not there",
                        hint=hint if kind == "secret" else f'ssh = ["{name}"]',
                    )


def _usual(kind: str, options: Mapping[str, str]) -> str:
    """Give what a mount without an id is called."""
    if kind == "ssh":
        return "default"
    return posixpath.basename(options.get("target", "")) or options.get("env", "")
