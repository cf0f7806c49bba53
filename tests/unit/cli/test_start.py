from __future__ import annotations

import gc

import pytest

from podbuild.cli import main


def test_what_is_loaded_is_not_looked_through_again_and_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(700)
        assert main(["--version"]) == 0
        assert gc.get_threshold()[0] >= 10_000
    finally:
        gc.set_threshold(*before)
    assert "podbuild" in capsys.readouterr().out
