"""What podbuild makes of the cases in tests/parity is what BuildKit made of them, as recorded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import PodbuildError
from podbuild.system.records import JSONValue
from tests.parity.cases import drawn_cases, written_cases
from tests.parity.made import RECORDED, check, made_of

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("parity")]

DRAWN = drawn_cases()  # `make soak` builds all of them, and everything with both engines
CASES = {case.name: case for case in (*written_cases(), DRAWN[2])}
SAMPLE = {name: CASES[name] for name in [*CASES][::10]}

Made = Mapping[EngineKind, Mapping[str, Mapping[str, JSONValue] | PodbuildError]]


def test_every_case_is_recorded() -> None:
    every = {*CASES, *(case.name for case in DRAWN)}
    assert RECORDED.keys() == every, "make parity"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Build every case with buildah, a sample with podman."""
    cases = {EngineKind.BUILDAH: CASES, EngineKind.PODMAN: SAMPLE}
    return {
        kind: made_of(tmp_path_factory.mktemp(kind), kind, chosen.values())
        for kind, chosen in cases.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_podbuild_makes_what_buildkit_made(name: str, made: Made) -> None:
    check(name, made[EngineKind.BUILDAH])


@pytest.mark.parametrize("name", SAMPLE)
def test_podman_makes_the_same(name: str, made: Made) -> None:
    check(name, made[EngineKind.PODMAN])
