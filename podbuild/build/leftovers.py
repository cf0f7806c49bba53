"""Working containers of builds that were killed: found by files alone, removed by their engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from podbuild.build.containers import container_ids
from podbuild.build.engine.registries_conf import RegistriesConf
from podbuild.build.engine.session import Setup, open_workplace
from podbuild.build.toolchain.model import Engine, Toolchain
from podbuild.system.folders import Folders
from podbuild.system.locks import LEASE, try_lock
from podbuild.system.process import Runner

_NOWHERE = "127.0.0.1:1"  # nothing is delivered


def remove_leftovers(
    runner: Runner,
    folders: Folders,
    toolchain: Toolchain,
    environment: Mapping[str, str],
) -> None:
    """Remove what killed builds left in storages that nobody uses; an engine starts only then.

    Whichever platform or engine they were for: a run that has nothing to build tidies up too.
    """
    for engine in toolchain.engines:
        storages = tuple(_abandoned(folders, engine))
        if not storages:
            continue
        setup = Setup(
            runner=runner,
            folders=folders,
            toolchain=replace(toolchain, engine=engine),
            environment=environment,
            project=folders.cache,
            platforms=(),
            registries=RegistriesConf(),
            logins={},
            staging=_NOWHERE,
        )
        with open_workplace(setup) as workplace:
            for storage in storages:
                workplace.storage(storage.name)  # removes them before anything else


def _abandoned(folders: Folders, engine: Engine) -> Iterator[Path]:
    for graph in sorted((folders.cache / "engines" / engine.identity).glob("*/graph")):
        if container_ids(graph):
            with (graph.parent / LEASE).open("ab") as lease:
                if try_lock(lease):
                    yield graph.parent
