"""One connection to a builder, by the system's ssh: the script there, and forwards both ways.

The system's ssh reads ~/.ssh/config, asks agents, jumps hosts and refuses hosts that it does not
know; none of that is done again here. BuilderFacts: ssh(1), ssh_config(5).
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.remote.script import BEAT, SILENCE
from podbuild.errors import BuildError, CredentialError, PodbuildError, ToolError
from podbuild.system.process import CommandError, Process, Runner

_CONNECT_SECONDS = 60.0  # with a service's first start on a slow disk
_FORWARD_SECONDS = 30.0
_POLL = 0.2
_SAID = 20  # last lines of ssh's own
_UNKNOWN_KEY = re.compile(r"host key verification failed|IDENTIFICATION HAS CHANGED", re.IGNORECASE)
_FULL = re.compile(r"no space left|disk quota exceeded|disk is full", re.IGNORECASE)
_REFUSED = re.compile(r"permission denied|too many authentication failures", re.IGNORECASE)
_OPTIONS = (
    "-T", "-a", "-x",
    "-o", "BatchMode=yes",
    "-o", "ControlMaster=yes",
    "-o", "ControlPersist=no",
    "-o", "ServerAliveInterval=10",
    "-o", "ServerAliveCountMax=3",
    "-o", "StreamLocalBindUnlink=yes",
    "-o", "StreamLocalBindMask=0177",
    "-o", "ClearAllForwardings=yes",
    "-o", "ConnectTimeout=15",
    "-o", "RemoteCommand=none",
    "-o", "PermitLocalCommand=no",
)  # fmt: skip


class UnfitBuilderError(ToolError):
    """A builder can't be used now; another way may be taken."""


class FullBuilderError(BuildError, UnfitBuilderError):
    """A builder has no space left for what a run needs first."""


class LostBuilderError(BuildError):
    """A builder is gone in the middle of something."""


@dataclass(frozen=True, kw_only=True)
class BuilderFacts:
    """What a builder is: versions, its architecture as platforms write it, how many CPUs."""

    podman: str
    buildah: str
    architecture: str
    cpus: int
    driver: str
    stored: int = 0  # bytes that last there, as the last run left them

    @classmethod
    def parse(cls, line: str) -> BuilderFacts:
        """Read the script's answer; raises UnfitBuilderError for what is none."""
        try:
            podman, driver, buildah, architecture, cpus, *stored = line.split()
            return cls(
                podman=podman,
                buildah=buildah,
                architecture=architecture,
                cpus=int(cpus),
                driver=driver,
                stored=int(*stored) * 1024,
            )
        except (TypeError, ValueError):
            raise UnfitBuilderError(f"podman answered {line!r}") from None

    @property
    def line(self) -> str:
        """Give what `parse` reads."""
        return f"{self.podman} {self.driver} {self.buildah} {self.architecture} {self.cpus}"


class Connection:
    """An open connection whose script obeys. Safe to share between threads."""

    def __init__(
        self, runner: Runner, host: str, folder: Path, mark: str, process: Process, telling: int
    ) -> None:
        self.host = host
        self.lost = threading.Event()
        self._runner = runner
        self._folder = folder
        self._mark = mark
        self._process = process
        self._telling = telling
        self._answers: defaultdict[str, queue.SimpleQueue[str]] = defaultdict(queue.SimpleQueue)
        self._heard = 0.0  # monotonic clock
        self._lock = threading.Lock()
        self._said: deque[str] = deque(maxlen=_SAID)

    def hear(self, line: str) -> None:
        """Take a line of the script's or of ssh's own."""
        mark, _, rest = line.partition(" ")
        if mark != self._mark:
            self._said.append(line)
            return
        self._heard = time.monotonic()
        word, _, answer = rest.partition(" ")
        if word == "beat":
            return
        self._answers[word].put(answer)

    def tell(self, *words: str) -> None:
        """Send a line to the script; a lost one is noticed by who waits for the answer."""
        with self._lock, suppress(OSError):
            os.write(self._telling, (" ".join(words) + "\n").encode())

    def expect(self, word: str, *, failure: str = "failed", seconds: float) -> str:
        """Wait for an answer; raises UnfitBuilderError where it is `failure`, or none comes.

        Raises LostBuilderError where the connection ends, and what Cancel.check does.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._runner.cancel.check()
            gone = self.ended
            for each in (word, failure):
                with suppress(queue.Empty):
                    answer = self._answers[each].get(timeout=_POLL / 2)
                    if each == word:
                        return answer
                    raise _unfit(self.host, answer)
            if gone:
                raise self.failure()
        raise UnfitBuilderError(f"{self.host}: no answer within {seconds:.0f} s")

    def failure(self) -> PodbuildError:
        """Say why the connection ended, by what ssh said last."""
        said = "\n".join(self._said)
        last = next((line for line in reversed(self._said) if line.strip()), "the connection ended")
        if _UNKNOWN_KEY.search(said):
            changed = "IDENTIFICATION HAS CHANGED" in said
            return CredentialError(
                f"{self.host}: its host key {'has changed' if changed else 'is not known'}",
                hint=f"ssh {self.host}, once and by hand, to see that it is the right one",
                details=tuple(self._said),
            )
        if _REFUSED.search(said):
            return CredentialError(
                f"{self.host}: {last.strip()}",
                hint=f"let `ssh -o BatchMode=yes {self.host}` work without a question",
            )
        if self._heard:
            return LostBuilderError(
                f"{self.host}: the builder is lost ({last.strip()})",
                hint="the same command continues; --no-builders builds here",
            )
        return UnfitBuilderError(
            f"{self.host}: {last.strip()}", hint=f"`ssh {self.host}` must work from here"
        )

    @property
    def ended(self) -> bool:
        """Tell whether nothing can be asked of it any more."""
        return self.lost.is_set() or self._process.done.is_set()

    def settle(self, word: str, seconds: float) -> None:
        """Wait for an answer without which all can go on."""
        with suppress(PodbuildError):
            self.expect(word, failure="", seconds=seconds)

    def closed(self) -> PodbuildError:
        """Say why a socket that leads there can't be used."""
        return self.failure() if self.ended else self._forbidden("the service does not answer")

    def forward(self, socket: Path, there: str) -> None:
        """Let a socket here lead to one there; raises UnfitBuilderError."""
        socket.unlink(missing_ok=True)
        self._control("-L", f"{socket}:{there}")

    def forward_back(self, port: int) -> int:
        """Let a port of the builder's loopback lead to one here; gives it."""
        said = self._control("-R", f"127.0.0.1:0:127.0.0.1:{port}")
        try:
            return int(said.split()[-1])
        except (IndexError, ValueError):
            raise self._forbidden(said) from None

    def give_up(self) -> None:
        """End it at once: what waits for an answer there hears that it is lost."""
        self.lost.set()
        self._process.kill()

    def watch(self, ended: threading.Event) -> None:
        """Say every now and then that we live, and end what does not answer any more."""
        while not ended.wait(BEAT):
            if self._process.done.is_set():
                self.lost.set()
                return
            self.tell("beat")
            if time.monotonic() - self._heard > SILENCE:
                self._said.append(f"no answer for {SILENCE} s")
                self.give_up()
                return

    def _control(self, *arguments: str) -> str:
        argv = ("ssh", "-o", f"ControlPath={self._folder / 'cm'}", "-O", "forward", *arguments)
        try:
            return self._runner(*argv, "--", self.host, timeout=_FORWARD_SECONDS).out
        except CommandError as error:
            if self.ended:
                raise self.failure() from None
            raise self._forbidden(" ".join(error.finished.tail)) from None

    def _forbidden(self, said: str) -> UnfitBuilderError:
        return UnfitBuilderError(
            f"{self.host}: its sshd forbids forwards ({said.strip()[:200]})",
            hint="it needs AllowTcpForwarding yes and AllowStreamLocalForwarding yes",
        )


def _argv(host: str, folder: Path, command: str) -> tuple[str, ...]:
    return ("ssh", *_OPTIONS, "-o", f"ControlPath={folder / 'cm'}", "--", host, command)


@contextmanager
def connect(
    runner: Runner, host: str, folder: Path, text: str, mark: str
) -> Iterator[tuple[Connection, BuilderFacts]]:
    """Connect and start the script while the block runs; `folder` holds this run's sockets.

    Raises CredentialError where the host's key is not known, or no login works; UnfitBuilderError
    where the machine can't be reached or can't build.
    """
    listening, telling = os.pipe()
    os.set_blocking(telling, False)  # nobody waits for a network that is frozen
    held: list[Connection] = []
    early: list[str] = []

    def hear(line: str) -> None:
        held[0].hear(line) if held else early.append(line)

    data = text.encode()
    argv = _argv(host, folder, f"exec sh -c 'eval \"$(head -c {len(data)})\"'")
    try:
        with runner.background(*argv, stdin=listening, on_line=hear) as process:
            connection = Connection(runner, host, folder, mark, process, telling)
            held.append(connection)
            for line in early:
                connection.hear(line)
            os.write(telling, data)
            ended = threading.Event()
            watch = threading.Thread(target=connection.watch, args=(ended,), daemon=True)
            try:
                facts = BuilderFacts.parse(connection.expect("facts", seconds=_CONNECT_SECONDS))
                watch.start()
                yield connection, facts
            finally:
                ended.set()
                os.close(telling)  # the script ends, and everything there with it
                if not connection.lost.is_set() and not runner.cancel.requested:
                    process.done.wait(_FORWARD_SECONDS)
    finally:
        os.close(listening)


def _unfit(host: str, answer: str) -> UnfitBuilderError:
    """Say for people what the script could not do."""
    if _FULL.search(answer):
        return FullBuilderError(f"{host}: no space left there")
    what, _, rest = answer.partition(" ")
    texts = {
        "old": (f"podman {rest} is too old", "podman 5.6 or newer, or podbuild's own toolchain"),
        "missing": (
            f"{rest} is missing there",
            "`podbuild toolchain install` there",
        ),
        "ids": (
            f"too few ids for rootless builds there ({rest})",
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, there",
        ),
        "folder": (f"can't write {rest} there", "free some space there, or make it writable"),
        "name": (f"its folders have names that can't be used ({rest})", "another user there"),
        "lock": (f"{rest} stays locked there", "does another run begin or end there?"),
    }
    said, hint = texts.get(what, (f"podman does not work there: {rest}", f"try it: ssh {host}"))
    return UnfitBuilderError(f"{host}: {said}", hint=hint)
