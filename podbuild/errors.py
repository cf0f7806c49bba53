"""Every failure a user can meet: one class each, with its exit code and a hint.

The exit codes are declared here and nowhere else; the help text and the README are checked
against `EXIT_CODES`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar


class PodbuildError(Exception):
    """A failure with one clear line, a hint for the next step and an exit code.

    `details` are further lines (the last lines of a tool's output, what is live where) that
    only the user interface lays out.
    """

    exit_code = 1
    meaning = "unexpected"

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    @property
    def is_stop(self) -> bool:
        """Tell whether work was stopped, by a timeout or a signal, rather than failed."""
        return isinstance(self, (DeadlineError, InterruptedBySignal))


class ConfigError(PodbuildError):
    """The configuration or the command line is wrong."""

    exit_code = 2
    meaning = "usage or configuration"


class VersionError(PodbuildError):
    """A version or tag is not valid."""

    exit_code = 3
    meaning = "invalid version or tag"


class CredentialError(PodbuildError):
    """Credentials are missing or refused, a right is lacking, or a build secret is missing."""

    exit_code = 4
    meaning = "credentials or permission"


class BuildError(PodbuildError):
    """An image could not be built. `run_code` is the failing RUN's own exit code, if known."""

    exit_code = 5
    meaning = "build failed"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Sequence[str] = (),
        run_code: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.run_code = run_code


# What to do about limits of a user or a machine, which a process may meet anywhere.
LIMITS = {
    errno.EMFILE: "raise the limit: ulimit -n 1024",
    errno.ENFILE: "the whole machine has too many files open: close other programs",
    errno.EAGAIN: "may this user start more processes? see ulimit -u, or pids.max in a container",
    errno.ENOMEM: "use fewer --jobs, or raise the limit: ulimit -v, or the container's",
}


# What a user's files are like, which is no fault of podbuild's.
_FILES = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


def is_refusal(error: OSError) -> bool:
    """Tell whether the machine refused something, as it may refuse any program."""
    usual = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, *LIMITS)
    return usual or (isinstance(error, _FILES) and bool(error.filename))


def from_os_error(error: OSError) -> PodbuildError:
    """Give a failure of the system for people; a full disk is the one that just happens."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(
            f"{place}no space left on device",
            hint="make room (`podbuild clean` empties podbuild's own cache), "
            "then run the same command",
        )
    said = reason_of(error)
    hint = LIMITS.get(error.errno or 0, "")
    if isinstance(error, _FILES) and place:
        return PodbuildError(f"{place}{said}", hint="check what it is, its owner and its mode")
    return PodbuildError(f"{place}{said.lower() if hint else said}", hint=hint)


def unwritable(error: OSError) -> PodbuildError:
    """Give the failure of stdout, which takes no more of the answer."""
    return PodbuildError(
        f"stdout: can't write the answer: {reason_of(error)}",
        hint="make room where it goes, or send it elsewhere",
    )


def reason_of(error: OSError) -> str:
    """Give what the system says is wrong, without the file."""
    return error.strerror or str(error)


class ImmutableTagError(PodbuildError):
    """A version tag already names something else."""

    exit_code = 6
    meaning = "immutable tag conflict"


class PublishError(PodbuildError):
    """Publishing failed before any tag moved."""

    exit_code = 7
    meaning = "publish failed, no tag moved"


class PartialReleaseError(PodbuildError):
    """Some tags are live, some are not; the same command finishes the release."""

    exit_code = 8
    meaning = "partly published, resumable"


class VerificationError(PodbuildError):
    """What a registry holds is not what was released."""

    exit_code = 9
    meaning = "verification mismatch"


class PolicyError(PodbuildError):
    """A policy (budget, required guard) refused the release."""

    exit_code = 10
    meaning = "policy"


class ToolError(PodbuildError):
    """A tool is missing, too old or can't work on this machine."""

    exit_code = 11
    meaning = "tool missing or too old"


class CleanupError(PodbuildError):
    """Cleanup is incomplete; the release itself stands."""

    exit_code = 12
    meaning = "cleanup incomplete, the release itself stands"


class DeadlineError(PodbuildError):
    """The time given with --timeout has passed."""

    exit_code = 124
    meaning = "timeout"


class InterruptedBySignal(PodbuildError):  # noqa: N818  # a signal is no error of anyone's
    """SIGINT, SIGTERM or SIGHUP; the journal is saved."""

    exit_code = 130
    meaning = "signal, journal saved (130 SIGINT, 143 SIGTERM, 129 SIGHUP)"

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the same command continues")
        self.exit_code = 128 + signal_number


EXIT_CODES: dict[int, str] = {0: "done, also when there was nothing to do"} | {
    kind.exit_code: kind.meaning
    for kind in (
        PodbuildError,
        ConfigError,
        VersionError,
        CredentialError,
        BuildError,
        ImmutableTagError,
        PublishError,
        PartialReleaseError,
        VerificationError,
        PolicyError,
        ToolError,
        CleanupError,
        DeadlineError,
        InterruptedBySignal,
    )
}


T = TypeVar("T")


def best_effort(
    step: Callable[[], T], tell: Callable[[str], None], lacking: str, otherwise: T
) -> T:
    """Give what a step gives; where it fails, tell what is `lacking` and why, and give `otherwise`.

    A stop is no failure: it is raised.
    """
    try:
        return step()
    except PodbuildError as error:
        if error.is_stop:
            raise
        tell(f"{lacking}: {error.message}{f' ({error.hint})' if error.hint else ''}")
    except OSError as error:
        tell(f"{lacking}: {error}")
    return otherwise
