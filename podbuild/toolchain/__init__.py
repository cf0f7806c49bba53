"""The engines: find them, install them privately, say what they are.

`find` gives the Toolchain that a run uses; `install.install`, which releases don't load, puts a
private one into podbuild's own folder. Nothing else fetches an engine.
"""

from __future__ import annotations

from podbuild.toolchain.find import Choice, find
from podbuild.toolchain.model import (
    FLOORS,
    Engine,
    EngineKind,
    Toolchain,
    ToolVersion,
)
from podbuild.toolchain.record import Record, read_record
from podbuild.toolchain.start import start_cost

__all__ = [
    "FLOORS",
    "Choice",
    "Engine",
    "EngineKind",
    "Record",
    "ToolVersion",
    "Toolchain",
    "find",
    "read_record",
    "start_cost",
]
