"""Why an engine failed: from its last lines to an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from podbuild.errors import BuildError, CredentialError, DeadlineError, PodbuildError
from podbuild.system.process import CommandError, CommandTimeoutError, describe_code

SHOWN = 20  # last lines of a job's output
_KILLED = (-9, 137)
_IN_RUN = re.compile(r'building at STEP "RUN')
_STEP = re.compile(r'building at STEP "(?P<step>.*?)": ')
_GO_VALUE = re.compile(r" &\w+\.\w+\{.*$")  # buildah shows its own structures
_RUN_CODE = re.compile(r"exit status (\d+)")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_REFUSED = re.compile(
    r"unauthorized|authentication required|denied: requested access|403 \(?Forbidden",
    re.IGNORECASE,
)
_REGISTER = re.compile(r"\w+ +0x[0-9a-f]+")  # the last line that a Go program leaves at a crash
_STORAGE = re.compile(r"/(overlay|vfs)-(images|layers|containers)/\w+\.json")
_NO_PLATFORM = re.compile(r"no image found in (image index|manifest list)")
# buildah mounts such a script, and chroot isolation shows the machine's /dev (buildah#6331).
_SCRIPT = re.compile(r"/dev/pipes/buildahheredoc\d+'?: (\[Errno 2\] )?No such file")
_TRANSIENT = re.compile(
    r"layer not known"
    r"|connection re(set|fused)|broken pipe|unexpected EOF|i/o timeout|TLS handshake timeout"
    r"|Temporary failure in name resolution|server misbehaving|context deadline exceeded"
    r"|(HTTP status|status code|StatusCode)\D{0,12}5\d\d|50[0-4] \w+|toomanyrequests"
    r"|Client\.Timeout exceeded",
    re.IGNORECASE,
)


def is_transient(error: CommandError) -> bool:
    """Tell whether trying again may help: the network, a server, or a race in the storage.

    What a RUN's own command says is its own affair.
    """
    if isinstance(error, CommandTimeoutError):
        return False
    reason = _reason(error.finished.tail)
    return not _IN_RUN.search(reason) and bool(_TRANSIENT.search(reason))


def failed_by_cache(error: CommandError) -> bool:
    """Tell whether the engine failed because it could not write to its --cache-to."""
    return last_words(error).startswith("failed pushing cache to ")


def last_words(error: CommandError) -> str:
    """Give what an engine itself said at its end."""
    return _reason(error.finished.tail)


def explain(
    what: str, error: CommandError, full: PodbuildError | None = None, *, log: str = "its log"
) -> PodbuildError:
    """Give the error for people; `what` names image and platform, `log` the whole output.

    `full` is why staging could take no more.
    """
    tail = error.finished.tail[-SHOWN:]
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
    return _failed(what, error, tail, log)


def _failed(what: str, error: CommandError, tail: Sequence[str], log: str) -> BuildError:
    reason = _reason(tail)
    step = _STEP.search(reason)
    code = _RUN_CODE.search(reason) if _IN_RUN.search(reason) else None
    if step and code:
        message = f"{what}: {_shortened(step['step'])} ended with code {code[1]}"
    elif step:
        said = _GO_VALUE.sub("", reason[step.end() :])
        message = f"{what}: {_shortened(step['step'])} failed: {said}"
    elif _REGISTER.fullmatch(reason):
        message = f"{what}: the engine crashed"
    else:
        message = f"{what}: {reason or describe_code(error.finished.code)}"
    return BuildError(
        message,
        hint=_hint(reason, tail, log),
        details=tail,
        run_code=int(code[1]) if code else None,
    )


def _hint(reason: str, tail: Sequence[str], log: str) -> str:
    if _REGISTER.fullmatch(reason):
        return f"too little memory or too few processes (ulimit -u, pids.max)? {log} says why"
    if _NO_PLATFORM.search(reason):
        return "one of its bases has no image for this platform"
    if _STORAGE.search(reason) and not _IN_RUN.search(reason):
        return "a power cut may have damaged the engine's storage: `podbuild clean --keep 0`"
    if any(_SCRIPT.search(line) for line in tail):
        return (
            "a heredoc can't begin with #! under chroot isolation: write RUN <<EOF PROGRAM, "
            'or isolation = "oci"'
        )
    return f"{log} has the whole output"


def _reason(tail: Sequence[str]) -> str:
    """Give the engine's own last word."""
    for line in reversed(tail):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
    return next((line for line in reversed(tail) if line.strip()), "")


def _shortened(step: str) -> str:
    return step if len(step) <= SHOWN * 4 else f"{step[: SHOWN * 4 - 3]}..."
