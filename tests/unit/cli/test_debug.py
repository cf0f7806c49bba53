"""What PODBUILD_DEBUG shows of a fault of ours."""

from __future__ import annotations

import click
import pytest

import podbuild.cli
import podbuild.cli.session

TOKEN = "ghp_Secret42Secret42Secret42Secret42"


def test_a_traceback_shows_where_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def faulty() -> None:
        raise KeyError(f"Authorization: {TOKEN}")

    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("PODBUILD_DEBUG", "1")
    monkeypatch.setattr(podbuild.cli, "cli", faulty)
    monkeypatch.setattr(podbuild.cli.session, "_chosen", [])  # what another test has begun
    assert podbuild.cli.main([]) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "in faulty" in shown
    assert "Secret42" not in shown
