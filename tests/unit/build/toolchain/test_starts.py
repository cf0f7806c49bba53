"""What a start of each engine costs, and which of them is to be preferred."""

from __future__ import annotations

from pathlib import Path

from podbuild.build.toolchain.find import Starts
from podbuild.build.toolchain.model import Engine, EngineKind, Toolchain, ToolVersion
from podbuild.report.toolchain import toolchain_json, toolchain_text

SLOW = Engine(kind=EngineKind.BUILDAH, path=Path("/b/buildah"), version=ToolVersion((1, 43)))
FAST = Engine(kind=EngineKind.PODMAN, path=Path("/p/podman"), version=ToolVersion((5, 8)))
TOOLCHAIN = Toolchain(engine=SLOW, engines=(SLOW,), origin="system")


def test_an_engine_that_starts_in_less_than_half_is_named() -> None:
    starts = Starts(chosen=SLOW, costs={SLOW: 0.040, FAST: 0.008})
    assert starts.faster == FAST
    shown = toolchain_text(TOOLCHAIN, None, starts)
    assert "40 ms of CPU, podman 5.8 at /p/podman takes 8 ms: PODBUILD_ENGINE" in shown
    assert "5.8, /p/podman, a start 8 ms of CPU" in shown
    answer = toolchain_json(TOOLCHAIN, None, starts)
    assert isinstance(answer, dict)
    assert answer["faster"] == "/p/podman"


def test_what_is_about_as_fast_is_no_reason_to_change() -> None:
    starts = Starts(chosen=SLOW, costs={SLOW: 0.040, FAST: 0.025})
    assert starts.faster is None
    assert "podman-static's starts faster" in toolchain_text(TOOLCHAIN, None, starts)
    quick = Starts(chosen=FAST, costs={SLOW: 0.040, FAST: 0.008})
    assert (quick.faster, quick.advice) == (None, "")
