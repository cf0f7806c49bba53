"""Whole builds with a real engine, from the text of a podbuild.toml to staged images."""

from __future__ import annotations

import functools
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from podbuild.build.assemble import Members, assemble
from podbuild.build.engine.namespace import open_namespace
from podbuild.build.engine.registries_conf import RegistriesConf, with_own
from podbuild.build.engine.session import Setup, Workplace, open_workplace
from podbuild.build.image import read_config
from podbuild.build.inputs.across import bases_of
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.build.inputs.secrets import find_secrets
from podbuild.build.job import Site
from podbuild.build.jobs import Work, build_all
from podbuild.build.model import Built
from podbuild.build.staging.area import Pool, StagedRepository, Staging, repository_name
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.find import Choice, find
from podbuild.build.toolchain.model import EngineKind, Toolchain
from podbuild.config.load import parse_config
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.console import Ui
from podbuild.system.console.look import Paint, PlainLook
from podbuild.system.console.screen import Streams, StreamScreen
from podbuild.system.folders import Folders
from podbuild.system.records import JSONValue
from podbuild.system.retry import Retry
from tests.toolchains import SYSTEM_PATH, own_folders, plain_runner

NATIVE = Platform("linux", native_architecture())
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LASTING = "--mount=type=cache,target=/turn"
WAITS = "rm -f /turn/heard; mkfifo /turn/heard; {}; read x </turn/heard"
_SCRIPTS = Path(__file__).parents[1] / "scripts"


@functools.cache
def busybox(architecture: str) -> Path:
    """Give a static busybox from Debian's packages, fetched once per user."""
    kept = own_folders().cache / "tests" / f"busybox-{architecture}"
    if not kept.exists():
        run = plain_runner()
        work = kept.with_suffix(f".{os.getpid()}")
        run(str(_SCRIPTS / "fetch-debs"), "trixie", architecture, str(work), "busybox-static")
        (package,) = work.glob("*.deb")
        run("dpkg", "-x", str(package), str(work / "root"))
        (work / "root/usr/bin/busybox").replace(kept)
        shutil.rmtree(work)
    return kept


@dataclass(kw_only=True)
class Bench:
    """A project in a folder, with an engine, storages and a staging area of its own."""

    folder: Path
    toolchain: Toolchain
    folders: Folders
    cancel: Cancel = field(default_factory=Cancel)
    environment: Mapping[str, str] = field(default_factory=dict)
    printed: io.StringIO = field(default_factory=io.StringIO)
    retry: Retry = field(default_factory=lambda: Retry(attempts=2, sleep=lambda _seconds: None))

    @property
    def project(self) -> Path:
        """Give the folder of podbuild.toml."""
        return self.folder / "project"

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_base(self, *platforms: Platform) -> str:
        """Write a context with a shell and give the table of the image `base` made from it."""
        for platform in platforms:
            target = self.project / "base" / f"busybox-{platform.architecture}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(busybox(platform.architecture), target)
        self.write(
            "base/Containerfile",
            "FROM scratch\nARG TARGETARCH\n"
            "COPY --chmod=755 busybox-$TARGETARCH /bin/busybox\n"
            'RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir /tmp"]\n',
        )
        return '[images.base]\ncontext = "base"\npublish = false\n'

    def plan(self, toml: str, version: str = "1.2.3") -> Plan:
        """Give the plan of a configuration."""
        text = f'[project]\nname = "shop"\n{toml}'
        config = parse_config(text, self.project / "podbuild.toml", self.environment)
        source = Commit(commit=COMMIT, created=CREATED, branch="main")
        request = Request(version=Version.parse(version))
        return make_plan(config, request, source, bases_of(config, NATIVE))

    def recipes(self, plan: Plan, pins: Mapping[str, str] | None = None) -> dict[Job, Recipe]:
        """Give the recipe of every job."""
        around = Surroundings(build=NATIVE, output=self.project / "dist", pins=pins or {})
        return {
            job: make_recipe(plan, plan.image(job.image), job.platform, around) for job in plan.jobs
        }

    @property
    def text(self) -> str:
        """Give everything that was printed."""
        return self.printed.getvalue()


@dataclass(frozen=True, kw_only=True)
class Open:
    """An open workplace with its staging registry."""

    bench: Bench
    workplace: Workplace
    registry: StagingRegistry

    def work(self, plan: Plan, *, pins: Mapping[str, str] | None = None) -> Work:
        """Give the order to build a whole plan."""
        streams = Streams(out=self.bench.printed, err=self.bench.printed)
        ui = Ui(StreamScreen(streams), PlainLook(Paint(active=False)))
        secrets = find_secrets(plan.images, self.bench.environment, on_value=ui.redactor.add)
        site = Site(
            workplace=self.workplace,
            staging=self.registry,
            contents=Contents(),
            secrets=secrets,
            ui=ui,
            logs=self.bench.project / "dist" / "logs",
            retry=self.bench.retry,
        )
        return Work(recipes=self.bench.recipes(plan, pins), site=site, workers=2)

    def build(self, toml: str, version: str = "1.2.3") -> Built:
        """Build a configuration; raises what failed."""
        built = build_all(self.work(self.bench.plan(toml, version)))
        built.check()
        return built

    def assemble(self, plan: Plan, built: Built) -> Mapping[str, Manifest]:
        """Assemble every image of a plan."""
        return assemble(self.workplace, self.registry, members(plan, built))

    def config(self, image: str, manifest: Manifest) -> dict[str, JSONValue]:
        """Give the config of a staged image."""
        return read_config(self.store(image), manifest)

    def store(self, image: str) -> StagedRepository:
        """Give the staged repository of an image."""
        return self.registry.staging.repository(repository_name(image))

    def files(self, image: str, manifest: Manifest) -> dict[str, bytes]:
        """Give the files in an image's layers, later layers winning."""
        found: dict[str, bytes] = {}
        for layer in manifest.layers:
            with self.store(image).blob(layer) as blob:
                data = b"".join(blob.chunks())
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for entry in archive:
                    content = archive.extractfile(entry) if entry.isreg() else None
                    if content:
                        found[entry.name] = content.read()
        return found


@contextmanager
def heard(line: str, log: Path, mounts: Path) -> Iterator[None]:
    """Let a RUN with `LASTING` and `WAITS` end when what it said is in the log.

    Engines hand on what a RUN says in a thread that nobody waits for: what it says right before
    its end may be lost. `mounts` is where cache mounts lie.
    """
    over = threading.Event()

    def hear() -> None:
        while not over.wait(0.02):
            if log.exists() and line in log.read_text(errors="replace").splitlines():
                break
        for fifo in mounts.rglob("heard"):
            opened = os.open(fifo, os.O_RDWR)  # which waits for nobody
            os.write(opened, b"\n")
            over.wait()
            os.close(opened)

    hearing = threading.Thread(target=hear)
    hearing.start()
    try:
        yield
    finally:
        over.set()
        hearing.join()


def members(plan: Plan, built: Built) -> Iterator[Members]:
    """Give what is assembled of each published image."""
    for image in plan.images:
        if image.published:
            children = {
                platform: built.images[Job(image.name, platform)].manifest
                for platform in image.platforms
            }
            yield Members(image=image, children=children, texts=image.release_annotations)


@contextmanager
def opened(
    bench: Bench,
    *platforms: Platform,
    registries: RegistriesConf | None = None,
) -> Iterator[Open]:
    """Open a workplace as a release does."""
    pool = Pool(bench.folders.cache / "blobs")
    with StagingRegistry(Staging(pool)) as registry:
        place = Setup(
            runner=replace(plain_runner(), cancel=bench.cancel),
            folders=bench.folders,
            toolchain=bench.toolchain,
            environment={
                "PATH": SYSTEM_PATH,
                "HOME": os.environ.get("HOME", "/"),
                **bench.environment,
            },
            project=bench.project,
            platforms=platforms or (NATIVE,),
            registries=registries or with_own(RegistriesConf(), mirrors={}, insecure=()),
            logins={},
            staging=registry.login.host,
        )
        with open_workplace(place) as workplace:
            yield Open(bench=bench, workplace=workplace, registry=registry)
    pool.close()


@functools.cache
def toolchain(kind: EngineKind) -> Toolchain:
    """Give the private toolchain with one of the engines."""
    return find(plain_runner(), own_folders(), choice=Choice.PRIVATE, kind=kind)


def new_bench(folder: Path, kind: EngineKind) -> Bench:
    """Give an empty project with storages of its own."""
    (folder / "project").mkdir(parents=True)
    folders = Folders(cache=folder / "cache", state=folder / "state", runtime=folder / "runtime")
    for path in (folders.cache, folders.state, folders.runtime):
        path.mkdir(mode=0o700)
    return Bench(folder=folder, toolchain=toolchain(kind), folders=folders)


def remove_bench(bench: Bench) -> None:
    """Remove the storages, whose files belong to other ids and to folders without a w."""
    with open_namespace(plain_runner(), bench.folders, {}) as namespace:
        folders = (str(bench.folders.cache / name) for name in ("engines", "mounts"))
        namespace.inside(plain_runner())("rm", "-rf", "--", *folders)
