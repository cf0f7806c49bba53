"""`podbuild clean`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podbuild.build import containers, leftovers
from podbuild.build.engine import namespace as namespaces
from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import Session, open_session
from podbuild.cli.tools import find_toolchain, own_folders
from podbuild.commands import builders, clean
from podbuild.errors import ConfigError, ToolError
from podbuild.system.console import text as console_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from podbuild.system.folders import Folders
    from podbuild.system.records import JSONValue

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIDY = 600.0  # seconds for one removal


@click.command(
    epilog="\b\nExamples:\n  podbuild clean\n  podbuild clean --keep 2GB\n"
    "  podbuild clean --keep 0 --dry-run\n  podbuild clean --builders --keep 5GB"
)
@option(
    "--keep",
    metavar="SIZE",
    default="10GB",
    show_default=True,
    help="How much may stay: what was used last.",
)
@option("--builders", is_flag=True, help="What lasts on the builders, not on this machine.")
@option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@common_options
def command(common: Common, keep: str, builders: bool, dry_run: bool) -> None:
    """Make podbuild's own cache smaller, oldest first.

    The cache holds blobs of images, the engine's storages, cache mounts and downloads; all of it
    can be made again. What a build that is running needs stays, and nothing outside the cache
    folder is touched.
    """
    with open_session(common) as session:
        limit = read_size(keep)
        if builders:
            _clean_builders(session, None if dry_run else limit)
            return
        folders = own_folders(session)
        if not dry_run:
            _remove_leftovers(session, folders)
        with _namespace_files(session, folders) as inside:
            items = clean.survey(folders, inside)
            wanted = clean.surplus(items, limit)
            gone = wanted if dry_run else clean.remove(folders, wanted, inside)
            session.ui.give(_text(items, gone, dry_run=dry_run), _json(items, gone))
            if len(gone) < len(wanted):
                session.ui.note(f"{len(wanted) - len(gone)} are in use and stay")


def read_size(text: str) -> int:
    """Read a size such as 10GB, in bytes; raises ConfigError.

    >>> read_size("1.5GB"), read_size("0")
    (1500000000, 0)
    """
    plain = text.strip().lower().removesuffix("b")
    number = plain.rstrip("kmgt")
    try:
        size = float(number) * _UNITS[plain[len(number) :].strip()]
    except (KeyError, ValueError):
        size = -1.0
    if not 0 <= size < float("inf"):
        raise ConfigError(f"--keep {text}: no size", hint="such as 500MB, 10GB or 0")
    return int(size)


def _clean_builders(session: Session, keep: int | None) -> None:
    with session.ui.step("connect to builders"):
        done = builders.tidy_builders(session.services(), keep)
    session.ui.give(builders.tidied_text(done), builders.tidied_json(done))


def _remove_leftovers(session: Session, folders: Folders) -> None:
    """Remove what killed builds left in storages that stay; only an engine can do that."""
    if not containers.has_leftovers(folders):
        return
    try:
        toolchain = find_toolchain(session, folders)
        leftovers.remove_leftovers(session.runner, folders, toolchain, session.environment)
    except ToolError as error:
        session.ui.warn(f"working containers of killed builds stay: {error.message}")


@contextmanager
def _namespace_files(session: Session, folders: Folders) -> Iterator[clean.NamespaceFiles]:
    """Give the way to files of other ids, while the block runs."""
    with namespaces.open_namespace(session.runner, folders, {}) as namespace:
        inside = namespace.inside(session.runner)

        def measure(paths: Sequence[Path]) -> dict[Path, int]:
            listed = inside("du", "-s", "-B1", "--", *map(str, paths), ok=(0, 1), timeout=_TIDY)
            rows = (line.split("\t", 1) for line in listed.out.split("\n") if "\t" in line)
            return {Path(path): int(size) for size, path in rows}

        def remove(path: Path) -> None:
            inside("rm", "-rf", "--", str(path), timeout=_TIDY)

        yield clean.NamespaceFiles(measure=measure, remove=remove)


def _text(
    items: Sequence[clean.CacheItem], gone: Sequence[clean.CacheItem], *, dry_run: bool
) -> str:
    what = "would go" if dry_run else "removed"
    kinds = dict.fromkeys(each.kind for each in items)
    rows = [
        (
            kind.value,
            console_text.size(sum(each.size for each in items if each.kind is kind)),
            console_text.size(sum(each.size for each in gone if each.kind is kind)),
        )
        for kind in kinds
    ]
    if not rows:
        return "the cache is empty"
    return "\n".join(console_text.table(("cache", "size", what), rows, right=("size", what)))


def _json(items: Sequence[clean.CacheItem], gone: Sequence[clean.CacheItem]) -> JSONValue:
    names = {each.path for each in gone}
    return {
        "schema": 1,
        "bytes": sum(each.size for each in items),
        "removed": sum(each.size for each in gone),
        "items": [
            {
                "kind": each.kind.value,
                "path": str(each.path),
                "bytes": each.size,
                "removed": each.path in names,
            }
            for each in items
        ],
    }
