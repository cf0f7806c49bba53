"""Counts what work costs without a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


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
