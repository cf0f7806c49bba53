"""Where lines go: whole pieces at a time, and never a failure because a reader went away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from io import UnsupportedOperation
from typing import Protocol, TextIO

from podbuild.errors import unwritable
from podbuild.system.later import dataclass


class ActivityKind(Enum):
    """What an activity is."""

    STEP = "step"
    JOB = "job"
    TRANSFER = "transfer"


class Activity:
    """Something under way: for how long, and how many bytes of how many. Thread-safe."""

    def __init__(
        self, kind: ActivityKind, title: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.kind = kind
        self.title = title
        self.doing = ""
        self._clock = clock
        self._began = self._latest = clock()
        self._lock = threading.Lock()
        self._moved = 0
        self._total = 0

    def advance(self, count: int) -> None:
        """Count bytes that went out; negative ones have to go again."""
        with self._lock:
            self._moved += count
            self._latest = self._clock()

    def expect(self, count: int) -> None:
        """Count bytes that will have to go out as well."""
        with self._lock:
            self._total += count

    @property
    def moved(self) -> int:
        """Give the bytes that went out."""
        return self._moved

    @property
    def total(self) -> int:
        """Give the bytes expected in all; 0 where that is not known."""
        return self._total

    @property
    def busy(self) -> float:
        """Give the seconds from the start to the last bytes."""
        return self._latest - self._began

    @property
    def seconds(self) -> float:
        """Give the seconds since the start."""
        return self._clock() - self._began


class Screen(Protocol):
    """Prints whole pieces, from any thread."""

    @property
    def is_live(self) -> bool:
        """Tell whether a reader sees what is under way."""

    def say(self, lines: Iterable[str]) -> None:
        """Print lines together on stderr."""

    def answer(self, text: str) -> None:
        """Print an answer on stdout; raises PodbuildError where it can't be written."""

    def show(self, activity: Activity) -> None:
        """Begin to show something under way."""

    def hide(self, activity: Activity) -> None:
        """Stop to show it."""


@dataclass(frozen=True)
class Streams:
    """stdout and stderr."""

    out: TextIO
    err: TextIO


class StreamScreen:
    """Prints lines; what is under way is not shown."""

    is_live = False

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._lock = threading.RLock()

    def say(self, lines: Iterable[str]) -> None:
        """Print lines together on stderr; where nobody listens, nothing is lost."""
        text = "".join(f"{line}\n" for line in lines)
        with self._lock:
            try:
                _write(self._streams.err, text)
            except (OSError, ValueError):
                _silence(self._streams.err)
            except RuntimeError:  # a signal handler speaks in the middle of a write
                return

    def answer(self, text: str) -> None:
        """Print an answer on stdout; a closed pipe is the reader's good right."""
        ended = text if not text or text.endswith("\n") else f"{text}\n"
        with self._lock:
            try:
                _write(self._streams.out, ended)
            except (BrokenPipeError, ValueError):
                _silence(self._streams.out)
            except OSError as error:
                _silence(self._streams.out)
                raise unwritable(error) from error

    def show(self, activity: Activity) -> None:
        """Show nothing."""

    def hide(self, activity: Activity) -> None:
        """Show nothing."""


@contextmanager
def shown(screen: Screen, activity: Activity) -> Iterator[Activity]:
    """Show an activity while the block runs."""
    screen.show(activity)
    try:
        yield activity
    finally:
        screen.hide(activity)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _silence(stream: TextIO) -> None:
    """Let later writes, and the interpreter's flush at its end, go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, UnsupportedOperation):
        return
