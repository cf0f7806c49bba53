"""Why an engine failed: from its last lines to an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from podbuild.errors import BuildError, CredentialError, DeadlineError, PodbuildError
from podbuild.system.console.text import shortened
from podbuild.system.process import CommandError, CommandTimeoutError, describe_code

SHOWN = 20  # last lines of a job's output
_AT_STEP = re.compile(r'building at STEP "|resolving step |creating build container')
_OF_ENGINE = re.compile(
    r"(\[\d+/\d+\] )?STEP \d+/\d+|Error: |(sub)?process exited|time=\"|-->|COMMIT|Trying to pull|"
    r"Getting image|Copying (blob|config)|Writing manifest|\[Warning\]|Resolving "
)
_STORAGE_PATH = re.compile(
    r"[^\s\"':]*(?:/(?:overlay|vfs)(?:-\w+)?/(?:l/|dir/)?\w{26,64}(?:/(?:merged|diff|work|empty))?"
    r"|/buildah\d+/mnt/\w+|/buildahheredoc\d+)"
)
_CONTAINER = re.compile(r'container "?[0-9a-f]{64}"?')
_KILLED = (-9, 137)
_IN_RUN = re.compile(r'building at STEP "RUN')
_STEP = re.compile(r'building at STEP "(?P<step>.*?)": ')
_GO_VALUE = re.compile(r" &\w+\.\w+\{.*$")  # buildah shows its own structures
_RUN_CODE = re.compile(r"exit status (\d+)")
_FULL = re.compile(r"no space left on device|disk quota exceeded|disk is full", re.IGNORECASE)
_REFUSED = re.compile(
    r"unauthorized|authentication required|denied: requested access|403 \(?Forbidden",
    re.IGNORECASE,
)
_REGISTER = re.compile(r"\w+ +0x[0-9a-f]+")  # the last line that a Go program leaves at a crash
_STORAGE = re.compile(r"/(overlay|vfs)-(images|layers|containers)/\w+\.json")
_NO_SOURCE = re.compile(r"copier: stat: \[|no items matching glob")
_NO_PLATFORM = re.compile(r"no image found in (image index|manifest list)")
_TRANSIENT = re.compile(
    r"layer not known"
    r"|connection re(set|fused)|broken pipe|unexpected EOF|i/o timeout|TLS handshake timeout"
    r"|Temporary failure in name resolution|server misbehaving|context deadline exceeded"
    r"|(HTTP status|status code|StatusCode)\D{0,12}5\d\d|50[0-4] \w+|toomanyrequests"
    r"|Client\.Timeout exceeded",
    re.IGNORECASE,
)
# An engine that starts itself again from a sealed copy, and the kernel has a page of it pinned.
_UNSEALED = "sealing memfd copy: Device or resource busy"
_LAST = 3  # lines in which it says so, before its own "Error:"


def is_transient(error: CommandError) -> bool:
    """Tell whether trying again may help: the network, a server, or a race in the storage.

    What a RUN's own command says is its own affair.
    """
    if isinstance(error, CommandTimeoutError):
        return False
    tail = error.finished.tail
    if any(line.endswith(_UNSEALED) for line in tail[-_LAST:]):
        return True
    reason = _reason(tail)
    return not _IN_RUN.search(reason) and bool(_TRANSIENT.search(reason))


def failed_by_cache(error: CommandError) -> bool:
    """Tell whether the engine failed because it could not write to its --cache-to."""
    return last_words(error).startswith("failed pushing cache to ")


def last_words(error: CommandError) -> str:
    """Give what an engine itself said at its end."""
    return _reason(error.finished.tail)


@dataclass(frozen=True)
class FailedStep:
    """The instruction that an engine was at: file and line, and its text."""

    place: str
    text: str


def explain(
    what: str,
    error: CommandError,
    full: PodbuildError | None = None,
    *,
    log: str = "its log",
    step: FailedStep | None = None,
) -> PodbuildError:
    """Give the error for people; `what` names image and platform, `log` the whole output.

    `full` is why staging could take no more; `step` is the last one that began.
    """
    tail = [without_storage(line) for line in error.finished.tail[-SHOWN:]]
    text = "\n".join(tail)
    if full or _FULL.search(text):
        return BuildError(
            f"{what}: no space left on device",
            hint="free some space, or `podbuild clean`",
            details=tail,
        )
    if isinstance(error, CommandTimeoutError):
        return DeadlineError(
            f"{what}: not built within its timeout ({error.finished.seconds:.0f} s)",
            hint="raise the image's timeout",
            details=tail,
        )
    if error.finished.code in _KILLED and not _IN_RUN.search(text):
        return BuildError(
            f"{what}: the engine was killed",
            hint="out of memory? use fewer --jobs",
            details=tail,
        )
    reason = _reason(tail)
    if _REFUSED.search(reason) and not _IN_RUN.search(reason):
        return CredentialError(
            f"{what}: {reason}",
            hint="log in to the registry that the base comes from, such as podman login docker.io",
            details=tail,
        )
    return _failed(what, error, tail, log, step)


def without_storage(line: str) -> str:
    """Leave out of a line where the engine keeps its files, which tells nobody anything.

    >>> without_storage('open /c/graph/overlay/' + "a" * 64 + '/merged/x: no such file')
    'open /x: no such file'
    """
    return _CONTAINER.sub("the container", _STORAGE_PATH.sub("", line))


def _failed(
    what: str, error: CommandError, tail: Sequence[str], log: str, at: FailedStep | None
) -> BuildError:
    reason = _reason(tail)
    step = _STEP.search(reason)
    text = step["step"] if step else ""
    if at and _AT_STEP.search(reason):
        what, text = f"{at.place}: {what}", at.text
    code = _RUN_CODE.search(reason) if _IN_RUN.search(reason) else None
    if step and code:
        said = _last_output(tail)
        message = f"{what}: {shortened(text)} ended with code {code[1]}{said and f': {said}'}"
    elif step:
        said = _without_middle(_GO_VALUE.sub("", reason[step.end() :]))
        message = f"{what}: {shortened(text)} failed: {said}"
    elif _REGISTER.fullmatch(reason):
        message = f"{what}: the engine crashed"
    else:
        message = f"{what}: {reason or describe_code(error.finished.code)}"
    return BuildError(
        message,
        hint=_hint(reason, log),
        details=tail,
        run_code=int(code[1]) if code else None,
    )


def _hint(reason: str, log: str) -> str:
    if _REGISTER.fullmatch(reason):
        return f"too little memory or too few processes (ulimit -u, pids.max)? {log} says why"
    if _NO_SOURCE.search(reason) and not _IN_RUN.search(reason):
        return "nothing there has such a name: look at the steps that should make it"
    if _NO_PLATFORM.search(reason):
        return "one of its bases has no image for this platform"
    if _STORAGE.search(reason) and not _IN_RUN.search(reason):
        return "a power cut may have damaged the engine's storage: `podbuild clean --keep 0`"
    return f"{log} has the whole output"


def _reason(tail: Sequence[str]) -> str:
    """Give the engine's own last word."""
    for line in reversed(tail):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
    return next((line for line in reversed(tail) if line.strip()), "")


def _last_output(tail: Sequence[str]) -> str:
    """Give the last line that a RUN's own command printed, if any is left."""
    found = (line.strip() for line in reversed(tail) if not _OF_ENGINE.match(line))
    return shortened(next(filter(None, found), ""), most=200)


def _without_middle(said: str, most: int = SHOWN * 20) -> str:
    """Keep what an engine's long word begins with and, for the cause stands last, its end."""
    half = most // 2
    return said if len(said) <= most else f"{said[:half]}...{said[-half:]}"
