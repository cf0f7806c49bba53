"""The engines: find them, install them privately, say what they are.

`find` gives the Toolchain that a run uses, `install` puts a private one into podbuild's own
folder. Nothing else fetches an engine.
"""

from __future__ import annotations

from podbuild.toolchain.find import Choice, find
from podbuild.toolchain.install import Request, Source, install
from podbuild.toolchain.model import (
    FLOORS,
    Engine,
    EngineKind,
    Toolchain,
    ToolVersion,
)
from podbuild.toolchain.record import Record, read_record
from podbuild.toolchain.start import start_cost
from podbuild.toolchain.workshop import Workshop

__all__ = [
    "FLOORS",
    "Choice",
    "Engine",
    "EngineKind",
    "Record",
    "Request",
    "Source",
    "ToolVersion",
    "Toolchain",
    "Workshop",
    "find",
    "install",
    "read_record",
    "start_cost",
]
