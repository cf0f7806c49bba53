"""Try this machine for real: what a release needs, whether it is there, and how to mend it.

The smallest build that proves an engine: copy one program into nothing, and run it there.
"""

from __future__ import annotations

import os
import platform as machine
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from podbuild.build.engine.files import (
    EngineFiles,
    engine_environment,
    storage_environment,
    user_policy,
    write_files,
    write_storage,
)
from podbuild.build.engine.idmap import MIN_IDS, ids_command, subordinate_ranges, user_name
from podbuild.build.engine.namespace import Emulation, Namespace, open_namespace
from podbuild.build.engine.registries_conf import RegistriesConf, with_own
from podbuild.build.engine.storage import Storage, StorageDriver, prove_storage_driver
from podbuild.build.toolchain.emulation import (
    EXIT_PROOF,
    foreign_guests,
    guest_for,
    native_architecture,
)
from podbuild.build.toolchain.find import SLOW_START, start_costs
from podbuild.build.toolchain.model import Toolchain
from podbuild.commands.builders import BuilderState
from podbuild.errors import BuildError, PodbuildError, PublishError, ToolError
from podbuild.oci.names import Platform
from podbuild.oci.store import PushRight, Store
from podbuild.system.console.text import duration, fold, size, table
from podbuild.system.folders import Folders
from podbuild.system.locks import leased_folder
from podbuild.system.process import CommandError, Runner
from podbuild.system.records import JSONValue

LITTLE_SPACE = 5_000_000_000  # bytes; a base, two platforms, their layers and blobs
_FASTER = "`podbuild toolchain install --source podman-static`, if it can be fetched, starts faster"


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One check: what was found, and how to mend it. `exit_code` is that of its failure."""

    subject: str
    found: str
    state: State = State.OK
    fix: str = ""
    exit_code: int = 0

    def to_json(self) -> JSONValue:
        """Give the finding as JSON."""
        return {
            "check": self.subject,
            "state": self.state.value,
            "found": self.found,
            "fix": self.fix,
        }


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is examined. `build` tries a one-step build and gives what it proved."""

    runner: Runner
    folders: Folders
    toolchain: Callable[[], Toolchain]
    platforms: tuple[Platform, ...]
    stores: Mapping[str, Callable[[], Store]]  # by the name in reports, REGISTRY/IMAGE
    build: Callable[[Toolchain, Namespace], str]
    builders: Callable[[], Iterable[BuilderState]] = tuple
    signing: Callable[[], str] | None = None  # tries who signs, where somebody is to
    optional: frozenset[str] = frozenset()  # registries that a release does without


def examine(patient: Patient) -> Iterator[Examined]:
    """Give the findings one by one; what can't work without a failed one is left out."""
    yield _machine()
    yield _space(patient.folders)
    yield _try("git", partial(_version, patient.runner, "git"))
    found = list(_toolchain(patient))
    yield from (finding for finding, _ in found)
    yield from _ids(patient)
    toolchain = found[0][1]
    states = tuple(patient.builders())
    if toolchain is not None:
        served = {platform: each.name for each in states for platform in each.platforms}
        yield from _namespaces(patient, toolchain, served)
    for state in states:
        subject = f"builder {state.name}"
        if state.error is None:
            yield Examined(subject=subject, found=state.found)
        else:
            yield _failed(subject, state.error)
    yield from _registries(patient)
    if patient.signing:
        yield _try("statements", patient.signing)


def findings_text(findings: Sequence[Examined], width: int | None = None) -> str:
    """Give the findings as a table, each failure with its fix below; `width` as for tables."""
    rows = [(found.subject, found.state.value, found.found) for found in findings]
    head, *lines = table(("check", "state", "found"), rows)
    start = head.index("found")
    shown = [head]
    for line, found in zip(lines, findings, strict=True):
        room = width and width - start
        first, *more = fold(line[start:], room, "")
        fits = room is None or all(len(each) <= room for each in more)
        shown += [line[:start] + first, *(" " * (start if fits else 4) + each for each in more)]
        shown += fold(f"  fix: {found.fix}", width, "    ") if found.fix else ()
    return "\n".join(shown)


def findings_json(findings: Iterable[Examined]) -> JSONValue:
    """Give the findings as JSON."""
    return {"schema": 1, "checks": [found.to_json() for found in findings]}


def exit_code(findings: Iterable[Examined]) -> int:
    """Give the exit code of the first failure; 0 where there is none."""
    return next((found.exit_code for found in findings if found.state is State.FAILED), 0)


def _try(subject: str, action: Callable[[], str]) -> Examined:
    try:
        return Examined(subject=subject, found=action())
    except PodbuildError as error:
        return _failed(subject, error)


def _failed(subject: str, error: PodbuildError) -> Examined:
    last = f" ({error.details[-1].strip()})" if error.details else ""
    return Examined(
        subject=subject,
        state=State.FAILED,
        found=f"{error.message}{last}",
        fix=error.hint,
        exit_code=error.exit_code,
    )


def _machine() -> Examined:
    who = "root" if os.geteuid() == 0 else f"user {user_name()}"
    return Examined(
        subject="machine",
        found=f"{who}, Linux {machine.release()} {machine.machine()}, {os.cpu_count()} CPUs",
    )


def _space(folders: Folders) -> Examined:
    free = shutil.disk_usage(folders.cache).free
    enough = free >= LITTLE_SPACE
    return Examined(
        subject="disk",
        state=State.OK if enough else State.WARNING,
        found=f"{size(free)} free in {folders.cache}",
        fix="" if enough else "`podbuild clean`, or point XDG_CACHE_HOME to a larger disk",
    )


def _toolchain(patient: Patient) -> Iterator[tuple[Examined, Toolchain | None]]:
    try:
        toolchain = patient.toolchain()
    except PodbuildError as error:
        yield _failed("engine", error), None
        return
    engine = toolchain.engine
    yield (
        Examined(subject="engine", found=f"{engine} ({toolchain.origin}), {engine.path}"),
        toolchain,
    )
    starts = start_costs(patient.runner, patient.folders, engine)
    slow = starts.cost >= SLOW_START
    faster = starts.advice or (_FASTER if toolchain.origin != "podman-static" else "")
    yield (
        Examined(
            subject="engine start",
            state=State.WARNING if slow else State.OK,
            found=f"{starts.cost * 1000:.0f} ms of CPU, dozens of times per build",
            fix=faster if slow else "",
        ),
        None,
    )


def _ids(patient: Patient) -> Iterator[Examined]:
    if os.geteuid() == 0:
        return
    user = user_name()
    for kind in ("uid", "gid"):
        ids = sum(found.count for found in subordinate_ranges(user, kind))
        program = patient.runner.which(f"new{kind}map")
        good = program is not None and ids >= MIN_IDS
        yield Examined(
            subject=f"sub{kind}s",
            state=State.OK if good else State.FAILED,
            found=f"{ids} for {user}, new{kind}map {program or 'is missing'}",
            fix="" if good else ids_command(user),
            exit_code=0 if good else ToolError.exit_code,
        )


def _namespaces(
    patient: Patient, toolchain: Toolchain, served: Mapping[Platform, str]
) -> Iterator[Examined]:
    """Open a namespace, build in it, and run a program of each foreign architecture.

    What fails here is a warning where a builder serves the platform, as `served` names them.
    """
    try:
        with open_namespace(patient.runner, patient.folders, toolchain.qemu) as namespace:
            yield Examined(subject="user namespace", found=f"{namespace.ids} ids")
            yield _try("one-step build", partial(patient.build, toolchain, namespace))
    except PodbuildError as error:
        yield _failed("user namespace", error)
        return
    for platform in patient.platforms:
        tried = _try(str(platform), partial(_emulation, patient, toolchain, platform))
        if tried.state is State.FAILED and platform in served:
            found = f"built by {served[platform]}; not here: {tried.found}"
            tried = Examined(subject=tried.subject, state=State.WARNING, found=found, fix=tried.fix)
        yield tried


def _emulation(patient: Patient, toolchain: Toolchain, platform: Platform) -> str:
    if not foreign_guests((platform,)):
        return "this machine's own"
    with open_namespace(
        patient.runner, patient.folders, toolchain.qemu, emulate=(platform,)
    ) as namespace:
        if namespace.emulation is Emulation.HOST:
            return "a program ran by the host's handler"
        return f"a program ran by {toolchain.qemu[platform.architecture]}, private to podbuild"


def _registries(patient: Patient) -> Iterator[Examined]:
    """Ask for each image; a registry that can't be reached is asked, and told of, once."""
    silent: set[str] = set()
    for name, open_store in patient.stores.items():
        registry, _, _ = name.partition("/")
        if registry in silent:
            continue
        asked = _try(f"registry {name}", partial(_push, open_store))
        if asked.exit_code == PublishError.exit_code:
            silent.add(registry)
        if asked.state is State.FAILED and registry in patient.optional:
            asked = replace(
                asked, state=State.WARNING, found=f"optional: {asked.found}", exit_code=0
            )
        yield asked


def _version(runner: Runner, program: str) -> str:
    return runner(program, "--version", timeout=30).out.strip()


def _push(open_store: Callable[[], Store]) -> str:
    store = open_store()
    if store.check_push() is PushRight.ALLOWED:
        return f"{store.name}: may push"
    return f"{store.name}: answers; whether this login may push shows when pushing"


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
            inside = namespace.confined(replace(self.runner, env=environment))
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
