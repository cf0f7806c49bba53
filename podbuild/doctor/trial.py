"""The smallest build that proves an engine: copy one program into nothing, and run it there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from podbuild.emulation import EXIT_PROOF, guest_for, native_architecture
from podbuild.engine import (
    EngineFiles,
    RegistriesConf,
    Storage,
    engine_environment,
    storage_environment,
    user_policy,
    with_own,
    write_files,
    write_storage,
)
from podbuild.errors import BuildError
from podbuild.folders import Folders
from podbuild.leases import leased_folder
from podbuild.model import Platform
from podbuild.namespace import Namespace
from podbuild.run import CommandError, Runner
from podbuild.storage_driver import StorageDriver, prove_storage_driver
from podbuild.toolchain import Toolchain
from podbuild.ui.amounts import duration

_SECONDS = 300.0
_NAME = "trial"
_CONTAINERFILE = 'FROM scratch\nCOPY probe /probe\nRUN ["/probe"]\n'


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a build is tried with. `environment` is the user's."""

    runner: Runner
    folders: Folders
    environment: Mapping[str, str]

    def build(self, toolchain: Toolchain, namespace: Namespace) -> str:
        """Say what worked: the storage driver and the seconds. Raises BuildError."""
        driver = prove_storage_driver(
            self.runner, namespace, self.folders.cache, toolchain.fuse_overlayfs
        )
        with self._work(namespace) as work:
            files = self._configure(work, toolchain, driver)
            environment = {
                **engine_environment(self.environment, toolchain, files),
                **storage_environment(files, _NAME, work / "data"),
                "TMPDIR": str(work),
            }
            inside = namespace.inside(replace(self.runner, env=environment))
            seconds = _run(inside, _argv(toolchain, files, _context(work)))
        return f"a RUN ran on {driver}, {duration(seconds)}"

    @contextmanager
    def _work(self, namespace: Namespace) -> Iterator[Path]:
        """Give a folder of this trial's own; it will hold files of other ids."""
        inside = namespace.inside(self.runner)

        def remove(folder: Path) -> None:
            inside("rm", "-rf", "--", str(folder))

        with leased_folder(self.folders.cache / "trials", remove) as work:
            yield work

    def _configure(self, work: Path, toolchain: Toolchain, driver: StorageDriver) -> EngineFiles:
        files = EngineFiles(folder=work / "engine")
        write_files(
            files,
            registries=with_own(RegistriesConf(), mirrors={}, insecure=()),
            policy=user_policy(self.environment),
            auth={"auths": {}},
            toolchain=toolchain,
        )
        storage = Storage(graph=work / "graph", run=work / "run", driver=driver)
        write_storage(files, _NAME, storage)
        return files


def _context(work: Path) -> Path:
    context = work / "context"
    context.mkdir()
    (context / "Containerfile").write_text(_CONTAINERFILE)
    program = context / "probe"
    program.write_bytes(guest_for(Platform("linux", native_architecture())).program())
    program.chmod(0o755)
    return context


def _argv(toolchain: Toolchain, files: EngineFiles, context: Path) -> tuple[str, ...]:
    return (
        str(toolchain.engine.path),
        f"--registries-conf={files.registries}",
        "build",
        f"--signature-policy={files.policy}",
        "--isolation=chroot",
        "--network=host",
        "--pull=never",
        "--layers=false",
        f"--file={context / 'Containerfile'}",
        str(context),
    )


def _run(inside: Runner, argv: tuple[str, ...]) -> float:
    """Give the seconds; the program ends the RUN, and so the build, with its own code."""
    try:
        finished = inside(*argv, timeout=_SECONDS, ok=(EXIT_PROOF,))
    except CommandError as error:
        raise BuildError(
            f"a build of one step fails: {error.message}",
            details=error.details,
            hint="if the storage is refused, point XDG_CACHE_HOME to a local disk",
        ) from None
    return finished.seconds
