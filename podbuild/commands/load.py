"""`build --load`: tag what was built in the storage that the user's own podman or buildah has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from podbuild.build.engine.argv import CommandLine
from podbuild.build.engine.files import (
    EngineFiles,
    engine_environment,
    storage_conf,
    user_policy,
    write_files,
)
from podbuild.build.engine.namespace import open_namespace
from podbuild.build.engine.registries_conf import RegistriesConf
from podbuild.build.engine.storage import Storage, StorageDriver, prove_storage_driver
from podbuild.build.staging.area import repository_name
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import Toolchain
from podbuild.errors import BuildError
from podbuild.oci.layout import LayoutStore, named_index_bytes
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import Store, copy_image
from podbuild.plan.model import Job, Plan
from podbuild.system.files import write_whole
from podbuild.system.process import CommandError
from podbuild.workspace import Services

# What decides where containers/storage keeps images (containers-storage.conf(5)).
_STORAGE = ("XDG_DATA_HOME", "XDG_RUNTIME_DIR", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER")
_MACHINE = (Path("/etc/containers/storage.conf"), Path("/usr/share/containers/storage.conf"))


def load_images(
    services: Services,
    plan: Plan,
    toolchain: Toolchain,
    images: Mapping[Job, Manifest],
    source: Callable[[str], Store],
) -> None:
    """Put each image for this machine's platform into the user's storage: localhost/NAME:TAG.

    TAG is the version, or latest. Where an image has another platform alone, that one is taken.
    Raises BuildError when the engine refuses, ToolError without a user namespace.
    """
    with (
        TemporaryDirectory(dir=services.folders.cache, prefix="load-") as folder,
        open_namespace(services.runner, services.folders, {}) as namespace,
    ):
        files = EngineFiles(folder=Path(folder))
        write_files(
            files,
            registries=RegistriesConf(),
            policy=user_policy(services.environment),
            auth={},
            toolchain=toolchain,
        )
        environment = _environment(services.environment, toolchain, files)
        if os.getuid() == 0 and "CONTAINERS_STORAGE_CONF" not in environment:
            driver = prove_storage_driver(
                services.runner, namespace, services.folders.cache, toolchain.fuse_overlayfs
            )
            environment["CONTAINERS_STORAGE_CONF"] = str(_storage_of_root(files, driver))
        run = namespace.inside(services.runner).extended(environment)
        for job, manifest in _chosen(services, plan, images):
            name = f"localhost/{repository_name(job.image)}:{_tag(plan)}"
            layout = files.folder / job.slug
            _lay_out(source(job.image), manifest, layout, name)
            with _telling_of(job):
                run(*_command(toolchain, files).pull(f"oci:{layout}:{name}"))
            services.ui.info(f"loaded {job} as {name}")


def _command(toolchain: Toolchain, files: EngineFiles) -> CommandLine:
    return CommandLine(engine=toolchain.engine, registries=files.registries, policy=files.policy)


@contextmanager
def _telling_of(job: Job) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise BuildError(
            f"{job} could not be loaded: {error.message}",
            hint="does `podman images` work for this user?",
        ) from error


def _storage_of_root(files: EngineFiles, driver: StorageDriver) -> Path:
    """Give the machine's storage.conf: inside the namespace an engine would take root's HOME."""
    for path in _MACHINE:
        if path.is_file():
            return path
    graph, run = Path("/var/lib/containers/storage"), Path("/run/containers/storage")
    own = files.storage("root")
    own.write_text(storage_conf(Storage(graph=graph, run=run, driver=driver)))
    return own


def _chosen(
    services: Services, plan: Plan, images: Mapping[Job, Manifest]
) -> Iterator[tuple[Job, Manifest]]:
    native = Platform("linux", native_architecture())
    for image in plan.images:
        found = {job.platform: job for job in images if job.image == image.name}
        wanted = image.published or image.name in plan.request.images
        if not found or not wanted:
            continue
        if native not in found and len(found) > 1:
            services.ui.warn(f"{image.name} is not loaded: it is not built for {native}")
            continue
        job = found.get(native) or next(iter(found.values()))
        yield job, images[job]


def _lay_out(source: Store, manifest: Manifest, folder: Path, name: str) -> None:
    """Write a layout whose entry has the full name: engines take it from there."""
    layout = LayoutStore(folder)
    copy_image(source, layout, manifest)
    write_whole(folder / "index.json", [named_index_bytes(manifest.descriptor, name)])


def _tag(plan: Plan) -> str:
    version = plan.version
    return str(version).replace("+", "-") if version else "latest"


def _environment(
    user: Mapping[str, str], toolchain: Toolchain, files: EngineFiles
) -> dict[str, str]:
    """Give the engine's usual environment, but with the user's own storage."""
    found = {**engine_environment(user, toolchain, files), "TMPDIR": str(files.folder)}
    if not user.get("XDG_RUNTIME_DIR") and os.getuid() != 0:
        found.pop("XDG_RUNTIME_DIR")
    return found | {name: user[name] for name in _STORAGE if user.get(name)}
