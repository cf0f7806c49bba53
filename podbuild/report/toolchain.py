"""What `podbuild toolchain` answers."""

from __future__ import annotations

from podbuild.build.toolchain.find import SLOW_START
from podbuild.build.toolchain.model import FLOORS, Toolchain
from podbuild.build.toolchain.record import Installation
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


def toolchain_text(toolchain: Toolchain, record: Installation | None, cost: float) -> str:
    """Give the engine in use, its start cost (CPU seconds) and helpers."""
    slow = "; the private toolchain starts faster" if _is_slow(toolchain, cost) else ""
    engine = toolchain.engine
    rows = [
        (engine.kind.value, f"{engine.version} (at least {FLOORS[engine.kind]}), {engine.path}"),
        ("origin", toolchain.origin),
        ("start", f"{cost * 1000:.0f} ms of CPU{slow}"),
        *((other.kind.value, f"{other.version}, {other.path}") for other in toolchain.engines[1:]),
        *((f"qemu {name}", str(path)) for name, path in sorted(toolchain.qemu.items())),
        ("skopeo", str(toolchain.skopeo or "none")),
        ("fuse-overlayfs", str(toolchain.fuse_overlayfs or "none")),
        ("private", f"{record.source} in {record.folder}" if record else "not installed"),
    ]
    return "\n".join(table(("toolchain", ""), rows))


def toolchain_json(toolchain: Toolchain, record: Installation | None, cost: float) -> JSONValue:
    """Give the toolchain in use as JSON; times in CPU seconds."""
    return {
        "schema": 1,
        "engine": toolchain.engine.kind.value,
        "version": str(toolchain.engine.version),
        "path": str(toolchain.engine.path),
        "origin": toolchain.origin,
        "start_cpu_seconds": round(cost, 4),
        "qemu": {name: str(path) for name, path in sorted(toolchain.qemu.items())},
        "skopeo": str(toolchain.skopeo) if toolchain.skopeo else None,
        "fuse_overlayfs": str(toolchain.fuse_overlayfs) if toolchain.fuse_overlayfs else None,
        "private": record_json(record) if record else None,
    }


def _is_slow(toolchain: Toolchain, cost: float) -> bool:
    return cost >= SLOW_START and toolchain.origin == "system"
