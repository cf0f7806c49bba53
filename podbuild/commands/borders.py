"""What a configuration may reach: the git work tree that it is in, and what the user allows.

A pull request writes podbuild.toml too, and git keeps symbolic links. So nothing outside is read
into an image, shown or written because of them, unless the command line says so. Nor is anything
written over what others wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.config.choices import FolderContext
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.output import OUTPUT_NAMES, foreign_names, own_logs
from podbuild.config.template import Placeholders, Template
from podbuild.config.toml import dotted, line_of, read_config, shown
from podbuild.errors import ConfigError
from podbuild.oci.names import RegistryKind
from podbuild.plan.git.worktree import tracked_files
from podbuild.system.process import Runner


def output_refusal(config: Config, runner: Runner) -> ConfigError | None:
    """Give why a release may not write into the output folder; None where it may.

    Only names that it is about to write count: a file beside its logs is nobody's business.
    """
    written = [*_about_to_be_written(config)]
    foreign = {*foreign_names(config.output)}
    if (config.output / "logs").is_dir():
        foreign.discard("logs")
    taken = [name for name in written if name in foreign]
    tracked = tracked_files(runner, config.root, [config.output / name for name in written])
    if not taken and not tracked:
        return None
    what = (
        f"{shown(config.output / taken[0])} was not written by podbuild"
        if taken
        else f"{shown(tracked[0])} is tracked by git"
    )
    return ConfigError(
        f"{what}, and would be written over",
        hint=f'[project] output = "{config.output.name}/podbuild", or another folder of its own',
    )


def _about_to_be_written(config: Config) -> Iterator[str]:
    to_registry = any(_is_below(config, registry.path) for registry in config.registries)
    for name in OUTPUT_NAMES:
        if not (config.output / name).exists() or name == "relocation.json":
            continue
        if name == "logs" and (config.output / name).is_dir():
            yield from own_logs(config.output)
        elif name != "registry" or to_registry:
            yield name


def _is_below(config: Config, path: Template | None) -> bool:
    """Tell whether a layout registry lies in the output folder's own `registry`."""
    fixed = path.text.partition("{")[0] if path else ""
    return bool(path) and (config.root / fixed).is_relative_to(config.output / "registry")


Way = tuple[str | int, ...]

_OWN = ".podbuild"  # where nothing else can be written; engines' storages below hold any link
_DEPTH = 3  # folders below `_OWN` that podbuild makes itself


@dataclass(frozen=True)
class Borders:
    """The folders that a configuration may lead to, without links."""

    top: Path
    allowed: tuple[Path, ...] = ()
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def around(cls, root: Path, allowed: tuple[Path, ...] = ()) -> Borders:
        """Give the work tree that `root` is in, else `root`; and what the user allows."""
        here = root.resolve()
        tops = (each for each in (here, *here.parents) if os.path.lexists(each / ".git"))
        return cls(next(tops, here), tuple(Path(os.path.realpath(each)) for each in allowed))

    def holds(self, path: Path) -> bool:
        """Tell whether a path, which need not exist, leads to nothing outside."""
        folder, name = os.path.split(path)
        if folder not in self._known:  # thousands of images share a few folders
            self._known[folder] = os.path.realpath(folder)
        plain = os.path.join(self._known[folder], name)  # noqa: PTH118  # quicker as text
        is_odd = name in ("", ".", "..") or os.path.islink(plain)  # noqa: PTH114
        real = os.path.realpath(plain) if is_odd else plain
        return any(
            f"{real}/".startswith(f"{str(each).rstrip('/')}/") for each in (self.top, *self.allowed)
        )

    def is_git_s(self, path: Path) -> bool:
        """Tell whether a path leads into a `.git` of the work tree: git obeys what lies there."""
        real = Path(os.path.realpath(path))
        return real.is_relative_to(self.top) and ".git" in real.relative_to(self.top).parts

    def check(self, path: Path) -> None:
        """Raise ConfigError for a path that leads outside."""
        if not self.holds(path):
            message, hint = self.refusal(path)
            raise ConfigError(message, hint=hint)

    def refusal(self, path: Path) -> tuple[str, str]:
        """Give what is said of a path that leads out, and the hint."""
        real = os.path.realpath(path)
        shown = f"{path} leads to {real}, which" if real != str(path) else real
        return (
            f"{shown} is outside of {self.top}",
            f"--allow-outside {real} (or PODBUILD_ALLOW_OUTSIDE) if it is meant",
        )


def refuse_outside(config: Config, allowed: tuple[Path, ...] = ()) -> None:
    """Raise ConfigError for the first path that leads outside, with its line; none is read."""
    borders = Borders.around(config.root, allowed)
    seen: set[Path] = set()
    for way, path in _written(config):
        if borders.is_git_s(path):
            line = line_of(read_config(config.path), way)
            raise ConfigError(
                f"{shown(config.path)}:{line}: {dotted(way)}: {path} is in git's own folder",
                hint="name a folder of its own, which .gitignore may leave out",
            )
    for way, path in _paths(config):
        if path not in seen and not borders.holds(path):
            message, hint = borders.refusal(path)
            line = line_of(read_config(config.path), way)
            raise ConfigError(f"{shown(config.path)}:{line}: {dotted(way)}: {message}", hint=hint)
        seen.add(path)
    kept = (config.history.folder,) if config.history.folder else ()
    for place in (config.output, *kept, *(path for _, path in _layouts(config))):
        refuse_links(place, borders, own=place == config.output)


def refuse_links(place: Path, borders: Borders, *, own: bool = False) -> None:
    """Raise ConfigError for a link in a folder that podbuild writes to, if it leads outside.

    Of the output folder (`own`) only what podbuild itself writes counts.
    """
    if not os.path.lexists(place):
        return
    names = [each for name in OUTPUT_NAMES for each in place.glob(name)] if own else [place]
    for path in (place, *names):
        if path.is_symlink() and not borders.holds(path):
            raise _leads_out(path, borders)
    for name in names:
        depth = _DEPTH if name.name == _OWN else None
        for path in _links(name, depth):
            if not borders.holds(path):
                raise _leads_out(path, borders)


def _leads_out(path: Path, borders: Borders) -> ConfigError:
    message, _ = borders.refusal(path)
    return ConfigError(f"{message}, and podbuild would write there", hint=f"remove {path}")


def _links(folder: Path, depth: int | None) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(here, name)).is_symlink())
        if depth is not None and len(Path(here).relative_to(folder).parts) >= depth:
            folders.clear()


def _paths(config: Config) -> Iterator[tuple[Way, Path]]:
    """Give each path that is read into an image, shown, or written to, and where it stands."""
    for image in config.images:
        for way, path in _image_paths(image, config.root):
            yield ("images", image.name, *way), path
    vex = config.attest.vex if config.attest else None
    if vex is not None:
        for place in _expanded(config, vex):
            yield ("attest", "vex"), place
    yield from _written(config)


def _written(config: Config) -> Iterator[tuple[Way, Path]]:
    """Give each folder that is written to, and where it stands."""
    yield ("project", "output"), config.output
    if config.history.folder is not None:
        yield ("history", "folder"), config.history.folder
    yield from _layouts(config)


def _image_paths(image: Image, root: Path) -> Iterator[tuple[Way, Path]]:
    yield ("context",), image.context
    yield ("containerfile",), image.containerfile
    if image.ignorefile is not None:
        yield ("ignorefile",), image.ignorefile
    for name in (".dockerignore", ".containerignore"):
        beside = image.containerfile.with_name(image.containerfile.name + name)
        yield from ((("containerfile",), path) for path in (beside, image.context / name))
    for name, context in image.contexts.items():
        if isinstance(context, FolderContext):
            yield ("contexts", name), context.path
    for place, secret in enumerate(image.secrets):
        if secret.file is not None:
            yield ("secrets", place, "file"), secret.file
    for place, entry in enumerate(image.ssh):
        files = entry.partition("=")[2]
        yield from ((("ssh", place), root / file) for file in files.split(",") if file)


def _layouts(config: Config) -> Iterator[tuple[Way, Path]]:
    """Give the folders of layouts, as far as this environment tells."""
    for registry in config.registries:
        template = registry.path
        if registry.kind is not RegistryKind.LAYOUT or template is None:
            continue
        for place in _expanded(config, template):
            yield ("registries", registry.name, "path"), place


def _expanded(config: Config, template: Template) -> Iterator[Path]:
    for image in config.images:
        values = Placeholders(
            project=config.project.name,
            image=image.name,
            sha="0" * 7,
            branch="b",
            env={name: config.env.get(name, name) for name in template.variables},
        )
        try:
            place = template.expand(values)
        except ConfigError:  # known only where it runs
            place = template.text
        yield config.root / place
