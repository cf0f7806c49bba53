"""Counts what work costs without a clock."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import TypeVar

T = TypeVar("T")


def calls(work: Callable[[int], object], count: int) -> int:
    """Give how many Python functions are called for so many of something."""
    called = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(note)
    try:
        work(count)
    finally:
        sys.setprofile(None)
    return called


def arguments(
    function: Callable[..., object], name: str, work: Callable[[], object]
) -> Counter[object]:
    """Give what a function is called with while some work is done, by the name of a parameter."""
    assert isinstance(function, FunctionType)
    code = function.__code__
    found: Counter[object] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is code:
            found[frame.f_locals[name]] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


class Walked(tuple[T, ...]):  # noqa: SLOT001  # each counts for itself
    """A tuple that counts how often somebody goes through it."""

    times = 0

    def __iter__(self) -> Iterator[T]:
        self.times += 1
        return super().__iter__()
