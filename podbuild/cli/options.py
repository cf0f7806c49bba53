"""The options of the command line, each declared once, with its environment variable."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that every command has."""

    file: Path | None = None
    directory: Path | None = None
    quiet: bool = False
    verbose: bool = False
    json: bool = False
    progress: bool = True
    allow_outside: tuple[Path, ...] = ()


Typed = Mapping[str, Any]  # options as they were typed; `Session.request` reads them


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Give a click option that is also PODBUILD_<NAME>, the same for every command."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "PODBUILD_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def without(*names: str, **settings: Any) -> Callable[[F], F]:
    """Give a flag such as `--no-cache`, whose value is that what it takes away stays."""
    return option(*names, is_flag=True, callback=lambda _ctx, _param, given: not given, **settings)


def gathered(name: str, *adds: Callable[[F], F]) -> Callable[[F], F]:
    """Add options that the function gets as one mapping of that name, by their own names.

    May stand several times over a function, always above `common_options`.
    """

    def bare() -> None: ...

    for add in reversed(adds):
        add(bare)
    own = [each.name for each in vars(bare)["__click_params__"]]

    def decorate(function: F) -> F:
        @wraps(function)
        def command(**options: Any) -> Any:
            given = {each: options.pop(each) for each in own}
            return function(**options | {name: {**given, **options.get(name, {})}})

        for add in reversed(adds):
            command = add(command)
        return command  # type: ignore[return-value]  # click's decorators keep no signature

    return decorate


def completes(what: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Give what completes a name of this kind in a shell; read only when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        names = importlib.import_module("podbuild.cli.names")  # as commands are, when called
        found: list[str] = names.COMPLETIONS[what](ctx, param, incomplete)
        return found

    return complete


FORMS = ("text", "json", "markdown", "sarif", "gitlab", "github")  # of answers with findings


def form_option(*forms: str) -> Callable[[F], F]:
    """Add --format to a command."""
    return option(
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        help="How the answer is written.",
    )


def common_options(function: F) -> F:
    """Add the options of every command; the function gets them as its first argument."""

    @wraps(function)
    def command(**options: Any) -> Any:
        common = Common(
            file=options.pop("file"),
            directory=options.pop("directory"),
            quiet=options.pop("quiet"),
            verbose=options.pop("verbose"),
            json=options.pop("json"),
            progress=not options.pop("no_progress"),
            allow_outside=options.pop("allow_outside"),
        )
        return function(common, **options)

    for names, settings in reversed((*_COMMON, *_CONSENT)):
        command = option(*names, **settings)(command)
    return command  # type: ignore[return-value]  # click's decorators keep no signature


def before_the_command(function: F) -> F:
    """Add the same options to podbuild itself, so that they may stand before the command too."""
    for names, settings in reversed((*_COMMON, *_CONSENT)):
        function = click.option(*names, **settings)(function)
    return function


_COMMON: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("-f", "--file"),
        {
            "type": click.Path(path_type=Path, dir_okay=False),
            "help": "The configuration; default: podbuild.toml here or above.",
        },
    ),
    (
        ("-C", "--directory"),
        {
            "type": click.Path(path_type=Path, file_okay=False),
            "help": "Run as if started in this folder.",
        },
    ),
    (("-q", "--quiet"), {"is_flag": True, "help": "Only answers, warnings and failures."}),
    (("-v", "--verbose"), {"is_flag": True, "help": "Say more; show all output of the engine."}),
    (("--json",), {"is_flag": True, "help": "Give the answer as JSON."}),
    (("--no-progress",), {"is_flag": True, "help": "Show no live progress on a terminal."}),
)
# What a user says of a project that is not trusted to say it of itself.
_CONSENT: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--allow-outside",),
        {
            "type": click.Path(path_type=Path),
            "multiple": True,
            "metavar": "PATH",
            "help": "Let the configuration lead there, outside of its git work tree; repeatable.",
        },
    ),
)

image_arguments = click.argument(
    "images", nargs=-1, metavar="[IMAGE]...", shell_complete=completes("image")
)

only_image = option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME",
    shell_complete=completes("image"),
    help="Only this image; repeatable.",
)

only_registry = option(
    "--registry",
    "registries",
    multiple=True,
    metavar="NAME",
    shell_complete=completes("registry"),
    help="Only there; repeatable.",
)

only_platform = option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    shell_complete=completes("platform"),
    help="Only this platform; repeatable, or with commas. Fewer than configured moves no tag.",
)

jobs = option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Builds at a time; default: one per CPU."
)

only_builder = option(
    "--builder",
    "builders",
    multiple=True,
    metavar="NAME",
    help="Build there what it can build, and fail where it can't be used; repeatable.",
)

scope = gathered("typed", only_image, only_registry)
no_builders = without("--no-builders", "remote", help="Build everything on this machine.")
no_cache = without("--no-cache", "cache", help="Use no layer cache of the engine.")
no_reuse = without("--no-reuse", "reuse", help="Build also what has not changed.")

version_argument = gathered(
    "typed",
    click.argument(
        "wanted", metavar="[VERSION]", required=False, shell_complete=completes("version")
    ),
)

build_args = option(
    "--build-arg", "build_args", multiple=True, metavar="NAME=VALUE", help="Set an ARG; repeatable."
)

secrets = option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="id=ID,env=NAME|src=FILE",
    help="Give a build secret; repeatable.",
)

target = option("--target", metavar="STAGE", help="Build this stage instead of the configured one.")
timeout = option("--timeout", metavar="DURATION", help="Stop after this long, such as 45m.")
yes = option("--yes", is_flag=True, help="Do it without asking.")


class Place(click.types.StringParamType):
    """A folder, or `oci:REPO:TAG`; in a variable, with colons between folders, else with spaces."""

    name = "DIR|oci:REPO:TAG"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Give the places that a variable lists."""
        words = rv.split()
        return words if any(word.startswith("oci:") for word in words) else rv.split(os.pathsep)


hand_over = option(
    "--from",
    "handed_over",
    multiple=True,
    type=Place(),  # relative to -C, so looked for later
    metavar="DIR|oci:REPO:TAG",
    help="Join what other machines built: their dist folders, or what --hand-over left in a "
    "registry; repeatable.",
)

dry_run = option("--dry-run", is_flag=True, help="Print the plan and stop, as `podbuild plan`.")
fail_fast = option("--fail-fast", is_flag=True, help="Stop all builds at the first failure.")
skip_push = without("--skip-push", "publish", help="Build and assemble, publish nothing.")

allow_overwrite = option(
    "--allow-overwrite",
    "overwrite",
    is_flag=True,
    help="Replace a version tag that names something else.",
)

allow_growth = option(
    "--allow-growth",
    "growth",
    is_flag=True,
    help="Let images grow by more than their budget, this once.",
)

allow_backwards = option(
    "--allow-backwards",
    "backwards",
    is_flag=True,
    help="Move moving tags to an older version or commit.",
)

allow_dirty = option(
    "--allow-dirty",
    "dirty",
    is_flag=True,
    help="Release changes that no commit holds; the result is marked and never adopted.",
)

require_tag = option(
    "--require-tag", is_flag=True, help="Fail when no git tag stands for the version."
)

restart = option("--restart", is_flag=True, help="Forget what dist/state.json says was done.")

skip = option(
    "--skip", metavar="STEPS", help="Leave out build, verify, cleanup or checks (comma list)."
)


# What `release` and `snapshot` share.
flow_options = gathered(
    "typed",
    only_image,
    only_registry,
    only_platform,
    jobs,
    only_builder,
    no_builders,
    no_cache,
    no_reuse,
    fail_fast,
    hand_over,
    skip,
    skip_push,
    allow_backwards,
    allow_growth,
    restart,
)
