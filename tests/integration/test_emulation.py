"""A RUN of a foreign program, by real engines of the private toolchain, without root or daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.engine.namespace import open_namespace
from podbuild.build.engine.storage import prove_storage_driver
from podbuild.build.toolchain.emulation import EXIT_PROOF, guest_for, native_architecture
from podbuild.build.toolchain.find import find
from podbuild.build.toolchain.model import EngineKind, Toolchain
from podbuild.oci.names import Platform
from podbuild.system.folders import Folders
from podbuild.system.process import CommandError, Runner
from tests.toolchains import SYSTEM_PATH, own_folders, plain_runner, private_toolchain

pytestmark = pytest.mark.integration

FOREIGN = next(
    Platform("linux", name) for name in ("arm64", "amd64") if name != native_architecture()
)


def configured(toolchain: Toolchain, folder: Path, driver: str) -> Runner:
    """Give a runner whose engine has a store and settings of its own."""
    for name in ("home/.config/containers", "run", "tmp"):
        (folder / name).mkdir(parents=True, mode=0o700)
    policy = '{"default": [{"type": "insecureAcceptAnything"}]}'
    (folder / "home/.config/containers/policy.json").write_text(policy)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "{driver}"\n'
        f'graphroot = "{folder}/graph"\nrunroot = "{folder}/runroot"\n'
    )
    (folder / "containers.conf").write_text(
        f'[engine]\nhelper_binaries_dir = ["{toolchain.helper_dirs[0]}"]\n'
        f'conmon_path = ["{toolchain.conmon}"]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\n'
        f'[engine.runtimes]\ncrun = ["{toolchain.crun}"]\n'
    )
    return Runner(
        env={
            "PATH": SYSTEM_PATH,
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "TMPDIR": str(folder / "tmp"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }
    )


@pytest.mark.parametrize("kind", EngineKind)
def test_a_foreign_program_runs_in_a_build(kind: EngineKind, tmp_path: Path) -> None:
    toolchain = find(plain_runner(), own_folders(), kind=kind)
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    context = tmp_path / "context"
    context.mkdir()
    (context / "program").write_bytes(guest_for(FOREIGN).program())
    (context / "program").chmod(0o755)
    (context / "Containerfile").write_text('FROM scratch\nCOPY program /\nRUN ["/program"]\n')
    plain = plain_runner()
    with open_namespace(plain, folders, toolchain.qemu, emulate=[FOREIGN]) as namespace:
        driver = prove_storage_driver(plain, namespace, tmp_path, None).name
        engine = namespace.inside(configured(toolchain, tmp_path / "engine", driver))
        options = ("--isolation=chroot", "--network=host", f"--platform={FOREIGN}")
        with pytest.raises(CommandError) as caught:
            engine(str(toolchain.engine.path), "build", *options, str(context))
    with open_namespace(plain, folders, {}) as namespace:  # what the engine mounted is gone now
        # Files of other ids: only a namespace can remove them.
        namespace.inside(plain)("rm", "-rf", "--", str(tmp_path / "engine"))
    # The engine passes on how the program ended, so it has run.
    told = "\n".join(caught.value.details)
    assert f"exit status {EXIT_PROOF}" in told


def test_the_toolchain_has_a_static_qemu_for_the_other_architecture() -> None:
    assert private_toolchain().qemu[FOREIGN.architecture].is_file()
