"""The command line: one small file per command, imported only when it is called.

Nothing here may import more than click: `podbuild --version` is asked often.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from podbuild import __version__
from podbuild.cli.options import before_the_command
from podbuild.cli.session import current_ui
from podbuild.errors import (
    EXIT_CODES,
    ConfigError,
    PodbuildError,
    from_os_error,
    is_refusal,
    unwritable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# Each command's module is podbuild.cli.<name> and holds `command`; the text is its one-line help.
COMMANDS = {
    "init": "Write a first podbuild.toml and Containerfile.",
    "check": "Validate the configuration and the Containerfiles it names.",
    "doctor": "Try this machine for real and say how to fix what fails.",
    "builders": "Connect to the builders and print their state.",
    "toolchain": "Install or show the private toolchain.",
    "plan": "Print what a release would build, push and tag where.",
    "build": "Build images into the staging registry.",
    "push": "Publish by digest what is staged; no tag moves.",
    "manifest": "Assemble the manifest lists from what is staged.",
    "release": "Take a version to every registry, all or nothing.",
    "snapshot": "Release a branch push, tagged by [tags] branches.",
    "test": "Try the images that are staged: HEALTHCHECK and tests.",
    "run": "Run a staged or published image, for any platform.",
    "verify": "Read a release back from every registry and compare.",
    "attest": "Complete and sign what is published.",
    "sbom": "Print the SBOM of an image.",
    "audit": "Say what is in the images that should not be, and which line put it there.",
    "diff": "Compare two versions of the images: by package, file and layer.",
    "notes": "Print the images of a release for its notes, or put them there.",
    "pin": "Have deployment files name the images of a version by digest.",
    "prune": "Delete what retention lets go; shows the plan first.",
    "promote": "Point a tag at the image of another one, everywhere.",
    "rollback": "Put the moving tags back to the previous stable release.",
    "history": "Show what runs took, over time.",
    "report": "Write the page of what runs took, over time.",
    "clean": "Make podbuild's own cache smaller, oldest first.",
    "ci": "Write pipelines that fan out and join.",
    "completion": "Print the completion script for a shell.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called."""

    def make_context(self, *given: Any, **named: Any) -> click.Context:
        """Read the options, and say help."""
        with _before_click():
            return super().make_context(*given, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry a command out."""
        with _before_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give the names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"podbuild.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101  # our own module
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is no such one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib  # noqa: PLC0415  # rarely needed

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no such command {name!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def exit_code_help(codes: Iterable[tuple[int, str]]) -> str:
    """Give the table of exit codes for the help text."""
    return "\n".join(f"  {code:>3}  {meaning}" for code, meaning in codes)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n"
    "  podbuild init && podbuild check\n"
    "  podbuild plan v1.2.3\n"
    "  podbuild release v1.2.3\n\n"
    "\b\nExit codes:\n" + exit_code_help(EXIT_CODES.items()),
)
@click.version_option(__version__, prog_name="podbuild")
@before_the_command
@click.pass_context
def cli(ctx: click.Context, /, **given: object) -> None:
    """Take a git tag to verified multi-architecture images on every registry, rootless."""
    chosen = {name: value for name, value in given.items() if value}
    ctx.default_map = dict.fromkeys(COMMANDS, chosen)


DEBUG = "PODBUILD_DEBUG"


# Objects between two collections. Nearly all that is loaded and planned lives to the end, and to
# look through it at every 700, as Python does, takes a twelfth of a plan's CPU; what goes is freed
# by its count.
_GARBAGE = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; the only place that turns errors into codes."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(_GARBAGE)
    atexit.register(gc.freeze)  # nor looked through when all of it goes
    _open_streams()
    try:
        result = _carry_out(arguments)
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001  # also a fault of ours: users get one line
        shown = _for_people(error)
        if type(shown) is PodbuildError and os.environ.get(DEBUG):
            _trace(error)
        _fail(shown, as_json=_wants_json(arguments))
        return shown.exit_code
    return result if isinstance(result, int) else 0


def _carry_out(arguments: list[str]) -> object:
    """Give what a command gives; without one, the help is said."""
    try:
        return cli.main(arguments, prog_name="podbuild", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        if _wants_json(arguments):
            raise click.UsageError("missing command", error.ctx) from None
        _say(error.format_message())
        return error.exit_code


@contextmanager
def _before_click() -> Iterator[None]:
    """Judge the system's failures before click does, which leaves where any pipe is closed."""
    try:
        yield
    except OSError as error:
        if not _is_of_help(error):
            raise _for_people(error) from error
        _say_no_more()
        if isinstance(error, BrokenPipeError):  # the reader's good right, as for every answer
            raise click.exceptions.Exit(0) from None
        raise unwritable(error) from error


def _is_of_help(error: OSError) -> bool:
    """Tell whether stdout took no help, nor the version: click says these itself."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_globals.get("__name__") != click.utils.__name__:
        step = step.tb_next
    return step is not None


def _say_no_more() -> None:
    """Let the interpreter's flush at its end, of what could not be written, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Say whether failures are answered as JSON, also where no command has read its options."""
    variable = os.environ.get("PODBUILD_JSON", "").lower()
    return "--json" in arguments or variable in ("1", "true", "t", "yes", "y", "on")


def _for_people(error: Exception) -> PodbuildError:
    """Give any failure in the one form that users see."""
    if isinstance(error, PodbuildError):
        return error
    if isinstance(error, click.ClickException):
        return _usage_error(error)
    refused = _refusal(error)
    if is_refusal(refused):
        return from_os_error(refused)
    hint = f"{DEBUG}=1 shows where; please report it"
    return PodbuildError(f"unexpected {type(error).__name__}: {error}", hint=hint)


def _refusal(error: Exception) -> OSError:
    """Give what the system refused, also where Python has another name for it."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, MemoryError):
        return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return OSError(errno.EAGAIN, str(error))
    return OSError()


def _usage_error(error: click.ClickException) -> PodbuildError:
    """Give click's complaint in the form of all others: one line, and where help is."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    asked = context.command_path if context else "podbuild"
    text = error.format_message().rstrip(".")
    unreadable = text.endswith("is not readable")
    hint = "check its owner and mode" if unreadable else f"see `{asked} --help`"
    return ConfigError(text[:1].lower() + text[1:], hint=hint)


def _open_streams() -> None:
    """Open what the caller has closed (`>&-`), or the next file would take its number.

    Also for what is started: `podbuild run` hands its own on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _say(text: str) -> None:
    """Print an answer through a plain user interface."""
    current_ui().answer(text)


def _trace(error: Exception) -> None:
    """Say where something unexpected happened, without the secrets in its texts."""
    import traceback  # noqa: PLC0415  # costs time, and is rarely needed

    text = "".join(traceback.format_exception(error))
    sys.stderr.write(current_ui().redactor.cut(text))


def _with_tools_here(hint: str) -> str:
    """Name the program to log in with that this machine has, where podman is not on PATH."""
    if "podman login" not in hint:
        return hint
    import shutil  # noqa: PLC0415  # rarely needed

    here = next(filter(shutil.which, ("podman", "docker", "buildah", "skopeo")), "podman")
    return hint.replace("podman login", f"{here} login")


def _fail(error: PodbuildError, *, as_json: bool) -> None:
    """Print an error through the user interface that the command chose, or a plain one."""
    ui = current_ui()
    error.hint = _with_tools_here(error.hint)
    ui.fail(error)
    try:
        ui.answer_failure(error, as_json=as_json)
    except PodbuildError as unwritten:
        ui.fail(unwritten)  # and the code stays that of the first
