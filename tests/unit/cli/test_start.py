from __future__ import annotations

import atexit
import gc

import pytest

from podbuild.cli import main


def test_what_is_loaded_is_not_looked_through_again_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    before = gc.get_threshold()
    try:
        gc.set_threshold(700)
        assert main(["--version"]) == 0
        assert gc.get_threshold()[0] >= 10_000
    finally:
        gc.set_threshold(*before)
    assert gc.freeze in at_exit
    assert "podbuild" in capsys.readouterr().out
