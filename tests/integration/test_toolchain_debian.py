"""Debian's packages as an ordinary user, from the mirror that this machine reaches."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from podbuild.build.toolchain.debian import fetch_packages
from podbuild.build.toolchain.emulation import interpreter
from podbuild.build.toolchain.install import InstallRequest, ToolchainSource, install
from podbuild.build.toolchain.model import ToolVersion, read_record
from podbuild.build.toolchain.workshop import Workshop
from podbuild.errors import ToolError
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from tests.toolchains import SYSTEM_PATH, own_folders, plain_runner

pytestmark = pytest.mark.integration


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Give a workshop that installs elsewhere, and fetches what is not there yet."""
    folders = Folders(cache=own_folders().cache, state=tmp_path, runtime=tmp_path)
    return Workshop(runner=plain_runner(), folders=folders, note=lambda _text: None)


def test_it_is_installed_whole_in_a_folder_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    record = install(workshop, InstallRequest(source=ToolchainSource.DEBIAN))
    assert record == read_record(workshop.folders)
    assert record.folder.is_relative_to(tmp_path)
    for program in ("buildah", "podman", "skopeo", "crun", "conmon"):
        path = record.folder / "bin" / program
        assert interpreter(path) == str(next((record.folder / "lib").glob("ld-linux*")))
        assert record.versions[program] in workshop.runner(str(path), "--version").out
    assert ToolVersion.parse(record.versions["buildah"]) >= ToolVersion((1, 41))
    assert (record.folder / "helpers" / "netavark").is_file()
    for name, digest in record.downloads.items():
        (archive,) = workshop.downloads.glob(f"apt/*/archives/{name}")
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == digest
    assert install(workshop, InstallRequest(source=ToolchainSource.DEBIAN)) == record
    assert sorted(path.name for path in (tmp_path / "toolchain").iterdir()) == sorted(
        [".lock", "current", record.name]
    )


def test_a_damaged_package_is_fetched_again(tmp_path: Path) -> None:
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    workshop = Workshop(runner=plain_runner(), folders=folders, note=lambda _text: None)
    first = fetch_packages(workshop, ("libmd0",))
    archive = next(path for path in first.archives if path.name.startswith("libmd0_"))
    archive.write_bytes(b"\0" * archive.stat().st_size)
    assert fetch_packages(workshop, ("libmd0",)) == first
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == first.digests[archive.name]


def test_without_apt_the_error_names_the_other_ways(workshop: Workshop, tmp_path: Path) -> None:
    lonely = Workshop(
        runner=Runner(env={"PATH": str(tmp_path)}), folders=workshop.folders, note=workshop.note
    )
    with pytest.raises(ToolError, match="apt-get is missing") as caught:
        install(lonely, InstallRequest(source=ToolchainSource.DEBIAN))
    assert "--source podman-static" in caught.value.hint
    assert caught.value.exit_code == 11


def test_an_unreachable_mirror_is_one_line_with_a_hint(tmp_path: Path) -> None:
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    # The machine's own network settings of apt reach the private one.
    config = tmp_path / "apt.conf"
    config.write_text('Acquire::http::Proxy "http://127.0.0.1:1";\nAcquire::Retries "0";\n')
    runner = Runner(env={"PATH": SYSTEM_PATH, "APT_CONFIG": str(config)})
    workshop = Workshop(runner=runner, folders=folders, note=lambda _text: None)
    with pytest.raises(ToolError, match="Debian's packages can't be fetched") as caught:
        install(workshop, InstallRequest(source=ToolchainSource.DEBIAN))
    assert "network" in caught.value.hint
    assert "forky" in caught.value.details[0]
    assert read_record(folders) is None
