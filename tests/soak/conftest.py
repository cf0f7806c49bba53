"""Registry servers that all trials share, and what a release gives when nothing disturbs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from podbuild.oci.names import Digest
from tests.registries import Server, registry_server
from tests.soak.trials import Trial

_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """How a release goes when nothing happens to it."""

    digests: dict[str, Digest]
    writes: int


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Server, Server]]:
    with registry_server() as one, registry_server() as two:
        yield one, two


@pytest.fixture
def make_trial(servers: tuple[Server, Server], tmp_path: Path) -> Callable[..., Trial]:
    """Give a function that makes a trial on repositories of its own."""

    def make(one: str = "", two: str = "", **extra: str) -> Trial:
        name = f"t{next(_numbers)}"
        trial = Trial(
            folder=tmp_path / name,
            name=name,
            servers=servers,
            one=one or servers[0].host,
            two=two or servers[1].host,
            extra=extra,
        )
        trial.prepare()
        return trial

    return make


@pytest.fixture(scope="session")
def undisturbed(
    servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    trial = Trial(
        folder=tmp_path_factory.mktemp("undisturbed"),
        name="undisturbed",
        servers=servers,
        one=servers[0].host,
        two=servers[1].host,
    )
    trial.prepare()
    ended = trial.release()
    assert ended.code == 0, ended.said
    return Undisturbed(digests=trial.check_finished(), writes=trial.writes())
