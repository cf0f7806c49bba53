"""Where the engines of one run work: namespace, configuration, storages, temporary folders.

Storages and cache mounts last in podbuild's cache folder; everything else belongs to this run
and goes with it, or is removed first thing by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO

from podbuild.build.engine.argv import CommandLine
from podbuild.build.engine.containers_conf import user_containers_conf
from podbuild.build.engine.files import (
    EngineFiles,
    engine_environment,
    storage_environment,
    user_policy,
    write_certificates,
    write_files,
    write_private,
    write_storage,
)
from podbuild.build.engine.namespace import Namespace, open_namespace, outside_user
from podbuild.build.engine.registries_conf import RegistriesConf, with_own
from podbuild.build.engine.sockets import ShortNames
from podbuild.build.engine.storage import DriverName, Storage, StorageDriver, prove_storage_driver
from podbuild.build.inputs.contents import Views
from podbuild.build.staging.rights import Login
from podbuild.build.toolchain.model import Toolchain
from podbuild.config.choices import Compression
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from podbuild.system.folders import Folders, project_id
from podbuild.system.locks import LEASE, leased_folder, lock, try_lock
from podbuild.system.process import Runner
from podbuild.system.records import JSONValue

TIDY = 60.0  # seconds for one removal
_PRIVATE = "mode=0700,nosuid,nodev,size=80%"  # of memory; layers pass there in jobs with secrets
LISTS = "lists"  # the storage that manifest lists are made in


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a workplace is set up from.

    `registries` is the finished registries.conf but for the staging registry; `logins` an auth
    file's content with the hosts that bases come from, `authorities` their CAs.
    """

    runner: Runner
    folders: Folders
    toolchain: Toolchain
    environment: Mapping[str, str] = field(repr=False)  # the user's
    project: Path  # the folder of podbuild.toml
    platforms: tuple[Platform, ...]
    registries: RegistriesConf
    logins: Mapping[str, JSONValue] = field(repr=False)
    staging: str  # its host with port
    authorities: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Own:
    """What belongs to one run alone; `inside` has the namespace and the engines' environment."""

    run: Path  # configuration and logins; in memory, in the namespace alone
    root: Path  # of the namespace's file system
    scratch: Path  # TMPDIR of jobs
    inside: Runner
    confined: Runner  # the same, for what runs the steps of others
    remove: Callable[[Path], None]
    driver: Callable[[], StorageDriver]  # proved when it is first asked for
    stack: ExitStack
    processes: bool = True  # `confined` has a pid namespace of their own


class Workplace:
    """Gives runners for engines. Safe to share between threads."""

    def __init__(self, setup: Setup, own: Own) -> None:
        self.setup = setup
        self.files = EngineFiles(folder=own.run, root=own.root)
        self.command = CommandLine(
            engine=setup.toolchain.engine,
            registries=self.files.registries,
            policy=self.files.policy,
            certificates=self.files.certificates if setup.authorities else None,
        )
        self.name = f"podbuild-{own.run.name}"  # unique per run
        self.views = Views(own.scratch / "views")
        self._own = own
        self.short_names = ShortNames(setup.folders, own.stack)
        self._storages: dict[str, tuple[Storage, IO[bytes]]] = {}
        self._lock = threading.Lock()

    @property
    def storages(self) -> Path:
        """Give the folder of all storages of this engine and version."""
        return self.setup.folders.cache / "engines" / self.setup.toolchain.identity

    def builder(self, storage: str) -> Runner:
        """Give a runner whose engine builds in one storage."""
        self.storage(storage)
        return self._using(self._own.confined, storage, Compression.GZIP)

    def carrier(self, storage: str, compression: Compression = Compression.GZIP) -> Runner:
        """Give a runner whose engine uses one storage and runs nothing that is in an image.

        It has blob records of one compression.
        """
        self.storage(storage)
        return self._using(self._own.inside, storage, compression)

    @contextmanager
    def logged_in(
        self, runner: Runner, login: Login, *, for_lists: bool = False
    ) -> Iterator[Runner]:
        """Give a runner whose engine knows one login of staging, while the block runs.

        `manifest create` looks for it in XDG_RUNTIME_DIR alone, so it gets one of its own.
        """
        runtime = self.files.folder / f"login-{secrets.token_hex(6)}"
        path = runtime / "containers" / "auth.json"
        self.files.here(path.parent).mkdir(mode=0o700, parents=True)
        write_private(self.files.here(path), json.dumps(_with_login(self.setup.logins, login)))
        own = {"XDG_RUNTIME_DIR": str(runtime)} if for_lists else {}
        try:
            yield runner.extended({"REGISTRY_AUTH_FILE": str(path), **own})
        finally:
            self._own.remove(self.files.here(runtime))

    def list_runner(self) -> Runner:
        """Give a runner for manifest lists; podman finds its policy only under HOME."""
        own = {"HOME": str(self.files.home), "TMPDIR": str(self._own.scratch)}
        return self.carrier(LISTS).extended(own)

    @contextmanager
    def temporary(self, job: Job) -> Iterator[Path]:
        """Give a job's TMPDIR while the block runs; its cache mounts alone last."""
        # engines' names of sockets have no room for ours (unix(7))
        folder = self._own.scratch / hashlib.sha256(job.slug.encode()).hexdigest()[:8]
        folder.mkdir(mode=0o700)
        # buildah-build(1), cache mounts: $TMPDIR/buildah-cache-<id of the user outside>
        (folder / f"buildah-cache-{outside_user()}").symlink_to(self.mounts(job))
        try:
            yield folder
        finally:
            self._own.remove(folder)

    @contextmanager
    def in_memory(self, job: Job) -> Iterator[Path]:
        """Give a TMPDIR for a job with secrets: engines copy these there (getSecretMount).

        It lies in the run's own tmpfs, so that no disk has them, whenever the run is killed.
        """
        folder = self.files.folder / hashlib.sha256(job.slug.encode()).hexdigest()[:8]
        here = self.files.here(folder)
        here.mkdir(mode=0o700)
        (here / f"buildah-cache-{outside_user()}").symlink_to(self.mounts(job))
        try:
            yield folder
        finally:
            self._own.remove(folder)

    @property
    def inside(self) -> Runner:
        """Give a runner for commands inside the namespace that are no engines."""
        return self._own.inside

    @property
    def apart(self) -> Runner:
        """Give a runner for programs of images: what they start ends with them (`confined`).

        They get no variable of an engine's or of the user's.
        """
        path = self._own.confined.env.get("PATH", os.defpath)
        return replace(self._own.confined, env={"PATH": path, "LC_ALL": "C.UTF-8"})

    @property
    def has_processes(self) -> bool:
        """Tell whether what runs `apart` has a pid namespace of its own."""
        return self._own.processes

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Give a new folder of this run, gone after the block whoever its files belong to."""
        folder = self._own.scratch / secrets.token_hex(6)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            self._own.remove(folder)

    @contextmanager
    def aside(self, job: Job) -> Iterator[Path]:
        """Give a folder of this run, gone after the block whoever its files belong to."""
        folder = self._own.scratch / f"{job.slug}-aside"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            self._own.remove(folder)

    def scratch(self, name: str) -> Path:
        """Give where a file of this run may be; it goes with the run."""
        return self._own.scratch / name

    def mounts(self, job: Job) -> Path:
        """Give the folder of a job's cache mounts, which lasts; on the file system of `aside`."""
        project = project_id(self.setup.project)
        folder = self.setup.folders.cache / "mounts" / project / job.slug
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def storage(self, name: str) -> Storage:
        """Give a storage: driver proved, lock held, what dead runs left removed."""
        with self._lock:
            if name not in self._storages:
                self._storages[name] = self._open(name)
            return self._storages[name][0]

    def sweep(self) -> None:
        """Remove the working containers that stopped builds left, where no other run works."""
        for name, (storage, lease) in self._storages.items():
            self._sweep(name, storage, lease)

    def _open(self, name: str) -> tuple[Storage, IO[bytes]]:
        if name == LISTS:  # nothing to keep, no layers: it goes with the run, any driver will do
            folder, driver = self._own.scratch / name, StorageDriver(DriverName.VFS)
        else:
            folder, driver = self.storages / name, self._own.driver()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage = Storage(graph=folder / "graph", run=folder / "run", driver=driver)
        write_storage(self.files, name, storage)
        lease = self._own.stack.enter_context((folder / LEASE).open("ab"))
        self._sweep(name, storage, lease)
        lock(lease, shared=True)
        return storage, lease

    def _sweep(self, name: str, storage: Storage, lease: IO[bytes]) -> None:
        """Work alone or not at all: another run's containers look the same."""
        if try_lock(lease) and (left := storage.containers):
            own = self._using(self._own.inside, name, Compression.GZIP)
            tidier = replace(own, cancel=Cancel())
            # One that died while it was made can't be removed by buildah, and hurts nobody.
            tidier(*self.command.remove_containers(left), timeout=TIDY, ok=range(256))

    def _using(self, runner: Runner, storage: str, compression: Compression) -> Runner:
        data = self.storages / f"blobs-{compression}"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return runner.extended(storage_environment(self.files, storage, data))


@contextmanager
def open_workplace(setup: Setup) -> Iterator[Workplace]:
    """Give a workplace while the block runs.

    Raises ToolError where this machine can't run one of the platforms or has no user namespaces.
    """
    folders, toolchain = setup.folders, setup.toolchain
    with ExitStack() as stack:
        namespace = stack.enter_context(
            open_namespace(
                setup.runner,
                folders,
                toolchain.qemu,
                emulate=setup.platforms,
                programs=toolchain.programs,
                needed=(setup.project, Path(setup.environment.get("HOME", "/"))),
            )
        )
        workplace = Workplace(setup, _own(setup, namespace, stack))
        try:
            yield workplace
        finally:
            workplace.sweep()


def _own(setup: Setup, namespace: Namespace, stack: ExitStack) -> Own:
    """Give the folders and runners of a workplace; they end with `stack`."""
    folders = setup.folders
    # Tidying goes on after Ctrl-C, so it has a Cancel of its own.
    tidier = replace(namespace.inside(setup.runner), cancel=Cancel())

    def remove(folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except OSError:  # it holds files of other ids
            tidier("rm", "-rf", "--", str(folder), timeout=TIDY)

    def prove() -> StorageDriver:
        fuse = setup.toolchain.fuse_overlayfs
        return prove_storage_driver(setup.runner, namespace, folders.cache, fuse)

    run = stack.enter_context(leased_folder(folders.runtime / "runs", remove))
    scratch = stack.enter_context(leased_folder(folders.cache / "runs", remove))
    # What is in there ends with the namespace, however that ends.
    tidier("mount", "-t", "tmpfs", "-o", _PRIVATE, "podbuild", str(run), timeout=TIDY)
    files = EngineFiles(folder=run, root=namespace.path(Path("/")))
    engines = replace(setup.runner, env=_configure(setup, files))
    return Own(
        run=run,
        root=files.root,
        scratch=scratch,
        inside=namespace.inside(engines),
        confined=namespace.confined(engines),
        remove=remove,
        driver=cache(prove),
        stack=stack,
        processes=namespace.processes,
    )


def _configure(setup: Setup, files: EngineFiles) -> Mapping[str, str]:
    """Write the engines' configuration and give the environment that names it."""
    write_files(
        files,
        registries=with_own(setup.registries, mirrors={}, insecure=[setup.staging]),
        policy=user_policy(setup.environment),
        auth=setup.logins,
        toolchain=setup.toolchain,
        user=user_containers_conf(setup.environment),
    )
    write_certificates(files, setup.authorities)
    return engine_environment(setup.environment, setup.toolchain, files)


def _with_login(logins: Mapping[str, JSONValue], staging: Login) -> Mapping[str, JSONValue]:
    auths = logins.get("auths")
    mine: JSONValue = {staging.host: {"auth": staging.basic}}
    both = {**auths, **mine} if isinstance(auths, dict) and isinstance(mine, dict) else mine
    return {**logins, "auths": both}
