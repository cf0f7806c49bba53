"""A project to stand in, whose state and cache are its own."""

from __future__ import annotations

from pathlib import Path

import pytest


def enter_project(folder: Path, configuration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a project that is never built, and go there until the test ends."""
    (folder / "podbuild.toml").write_text(configuration)
    (folder / "Containerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
