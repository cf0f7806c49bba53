"""What `podbuild toolchain` answers."""

from __future__ import annotations

from podbuild.build.toolchain.find import SLOW_START, Starts
from podbuild.build.toolchain.model import FLOORS, Engine, Installation, Toolchain
from podbuild.system.console.text import table
from podbuild.system.records import JSONValue


def record_text(record: Installation) -> str:
    """Give what was installed, and where."""
    rows = [("source", record.source), ("from", record.origin), ("folder", str(record.folder))]
    rows += sorted(record.versions.items())
    rows += [("note", note) for note in record.notes]
    return "\n".join(table(("private toolchain", ""), rows))


def record_json(record: Installation) -> JSONValue:
    """Give what was installed as JSON, without the list of every file."""
    content = record.to_json()
    del content["files"]
    return content


def toolchain_text(
    toolchain: Toolchain, record: Installation | None, starts: Starts, width: int | None = None
) -> str:
    """Give the engine in use, what its start costs and its helpers, and the engines beside it.

    `width` is that of the terminal that shows it, in columns.
    """
    engine = toolchain.engine
    others = (other for other in starts.costs if other != engine)
    rows = [
        (engine.kind.value, f"{engine.version} (at least {FLOORS[engine.kind]}), {engine.path}"),
        ("origin", toolchain.origin),
        ("start", f"{_milliseconds(starts.cost)}, {_judgement(toolchain, starts)}"),
        *((other.kind.value, _beside(other, starts)) for other in others),
        *((f"qemu {name}", str(path)) for name, path in sorted(toolchain.qemu.items())),
        ("skopeo", str(toolchain.skopeo or "none")),
        ("fuse-overlayfs", str(toolchain.fuse_overlayfs or "none")),
        ("private", f"{record.source} in {record.folder}" if record else "not installed"),
    ]
    return "\n".join(table(("toolchain", ""), rows, width=width))


def toolchain_json(toolchain: Toolchain, record: Installation | None, starts: Starts) -> JSONValue:
    """Give the toolchain in use as JSON; times in CPU seconds."""
    return {
        "schema": 1,
        "engine": toolchain.engine.kind.value,
        "version": str(toolchain.engine.version),
        "path": str(toolchain.engine.path),
        "origin": toolchain.origin,
        "start_cpu_seconds": round(starts.cost, 4),
        "engines": [
            {
                "engine": each.kind.value,
                "version": str(each.version),
                "path": str(each.path),
                "start_cpu_seconds": round(cost, 4),
            }
            for each, cost in starts.costs.items()
        ],
        "faster": str(starts.faster.path) if starts.faster else None,
        "qemu": {name: str(path) for name, path in sorted(toolchain.qemu.items())},
        "skopeo": str(toolchain.skopeo) if toolchain.skopeo else None,
        "fuse_overlayfs": str(toolchain.fuse_overlayfs) if toolchain.fuse_overlayfs else None,
        "private": record_json(record) if record else None,
    }


def _judgement(toolchain: Toolchain, starts: Starts) -> str:
    if starts.advice:
        return starts.advice
    if starts.cost < SLOW_START or toolchain.origin == "podman-static":
        return "dozens of times per build"
    return "dozens of times per build; podman-static's starts faster (toolchain install)"


def _beside(engine: Engine, starts: Starts) -> str:
    return f"{engine.version}, {engine.path}, a start {_milliseconds(starts.costs[engine])}"


def _milliseconds(cost: float) -> str:
    return f"{cost * 1000:.0f} ms of CPU"
