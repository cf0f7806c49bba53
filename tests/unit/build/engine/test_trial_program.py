"""What the program that tries images says of one that never was content."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from podbuild.build.engine.programs import trial


def test_the_last_asking_cut_short_hides_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    now, until = [0.0], 3.0
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def health() -> None:
        now[0] += 1
        late = now[0] >= until
        raise trial.Over("it had no end in time" if late else "it ended with code 1")

    program = SimpleNamespace(
        run=lambda _number: None,
        order={"ask": "health"},
        health=health,
        http=None,
        said=None,
        code=None,
        pid=1,
        ended=lambda _pid: None,
        until=until,
        began=until,
        pause=lambda: None,
    )
    with pytest.raises(trial.Over, match="it ended with code 1, after"):
        trial.Attempt.service(program)  # type: ignore[arg-type]
