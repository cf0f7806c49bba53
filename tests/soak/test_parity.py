"""Every case of the parity suite, with both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from tests.parity.cases import drawn_cases, written_cases
from tests.parity.made import check, made_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("engine", EngineKind)
def test_each_engine_makes_what_buildkit_made(engine: EngineKind, tmp_path: Path) -> None:
    cases = (*written_cases(), *drawn_cases())
    made = made_of(tmp_path / "bench", engine, cases)
    for case in cases:
        check(case.name, made)
