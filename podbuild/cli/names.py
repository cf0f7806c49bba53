"""What the shell completes: images, registries, platforms, deployments, versions and tags.

Read from podbuild.toml as it stands and from git, in a moment; nothing is asked over a network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from podbuild import semver
from podbuild.cli.session import tool_environment
from podbuild.config import toml
from podbuild.errors import PodbuildError
from podbuild.plan.git import worktree
from podbuild.system import cancel, process

_PATIENCE = 5.0  # seconds, for git
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def completing(found: Callable[[dict[str, Any], Path], Iterable[str]]) -> Complete:
    """Give a completion from what the configuration holds; what can't be read completes nothing."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        read = _document(ctx)
        if read is None:
            return []
        before, comma, last = incomplete.rpartition(",")
        try:
            names = dict.fromkeys(str(each) for each in found(*read))
        except Exception:  # noqa: BLE001  # a configuration that is wrong completes nothing
            return []
        return [f"{before}{comma}{name}" for name in names if name.startswith(last)]

    return complete


def _document(ctx: click.Context) -> tuple[dict[str, Any], Path] | None:
    import tomllib  # noqa: PLC0415  # only where a shell asks

    folder = Path(ctx.params.get("directory") or os.environ.get("PODBUILD_DIRECTORY") or ".")
    given = ctx.params.get("file") or os.environ.get("PODBUILD_FILE")
    here = folder.absolute()
    files = [folder / given] if given else [up / "podbuild.toml" for up in (here, *here.parents)]
    for path in files:
        try:
            return tomllib.loads(path.read_text(encoding="utf-8-sig")), path.parent
        except (OSError, ValueError, RecursionError):
            continue
    return None


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _images(document: dict[str, Any], _root: Path) -> Iterable[str]:
    return _table(toml.expanded(document), "images")


def _registries(document: dict[str, Any], _root: Path) -> Iterable[str]:
    return _table(document, "registries")


def _deployments(document: dict[str, Any], _root: Path) -> Iterable[str]:
    return _table(document, "deploy")


def _platforms(document: dict[str, Any], _root: Path) -> Iterable[str]:
    tables = (_table(document, "defaults"), *_table(document, "images").values())
    for table in tables:
        found = table.get("platforms", ()) if isinstance(table, dict) else ()
        yield from (each for each in found if isinstance(each, str))


def _versions(_document: dict[str, Any], root: Path) -> Iterable[str]:
    """Give the git tags, newest first."""
    runner = process.Runner(
        env=tool_environment(os.environ), cwd=root, cancel=cancel.Cancel(_PATIENCE)
    )
    try:
        done = worktree.git_runner(runner, root)(
            "git", "tag", "--sort=-v:refname", timeout=_PATIENCE
        )
    except (PodbuildError, process.CommandError):
        return ()
    return done.out.split()


def _tags(document: dict[str, Any], root: Path) -> Iterable[str]:
    """Give tags of images: what templates say without placeholders, and released versions."""
    rules = _table(document, "tags")
    branches = rules.get("branches")
    lists = [rules.get("release", ["latest"])]
    lists += [*branches.values()] if isinstance(branches, dict) else []
    for found in lists:
        yield from (each for each in found if isinstance(each, str) and "{" not in each)
    names = tuple(_versions(document, root))
    form = semver.guess_form(names)
    versions = (form.read(name) for name in names) if form else ()
    yield from (str(version) for version in versions if version)


COMPLETIONS: dict[str, Complete] = {
    "deployment": completing(_deployments),
    "image": completing(_images),
    "platform": completing(_platforms),
    "registry": completing(_registries),
    "tag": completing(_tags),
    "version": completing(_versions),
}
