"""Argument lists, generated configuration and environment of the engines."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import stat
import tomllib
from pathlib import Path

import pytest

from podbuild.build.engine.argv import BuildOrder, CommandLine
from podbuild.build.engine.files import (
    EngineFiles,
    engine_environment,
    storage_conf,
    storage_environment,
    user_policy,
    write_certificates,
    write_files,
    write_storage,
)
from podbuild.build.engine.registries_conf import RegistriesConf
from podbuild.build.engine.storage import DriverName, Storage, StorageDriver
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.build.toolchain.model import Engine, EngineKind, Toolchain, ToolVersion
from podbuild.config.choices import Compression, Isolation, RunNetwork
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request

ARM64, AMD64 = Platform("linux", "arm64"), Platform("linux", "amd64")
TOML = """\
[project]
name = "shop"
[images.base]
context = "base"
[images.web]
context = "web"
target = "runtime"
contexts = { base = "image:base", extra = "extra" }
build-args = { B = "2", A = "x y" }
secrets = [{ id = "npm", env = "NPM_TOKEN" }]
ssh = ["default"]
labels = { z = "last", a = "first" }
annotations = { note = "one" }
"""


def command(kind: EngineKind) -> CommandLine:
    engine = Engine(kind=kind, path=Path(f"/opt/{kind}"), version=ToolVersion.parse("9.9"))
    return CommandLine(engine=engine, registries=Path("/run/r.conf"), policy=Path("/run/p.json"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for name, text in (
        ("base", "FROM scratch\n"),
        ("web", "FROM base AS runtime\nCOPY --from=debian:trixie / /\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Containerfile").write_text(text)
    plan = make_plan(
        parse_config(TOML, tmp_path / "podbuild.toml", {}), Request(), Commit(branch="main")
    )
    around = Surroundings(
        build=AMD64,
        output=tmp_path / "dist",
        pins={"debian:trixie": f"docker.io/library/debian@sha256:{'1' * 64}"},
    )
    return make_recipe(plan, plan.image("web"), ARM64, around)


DROP_INS = {
    EngineKind.BUILDAH: ("--registries-conf-dir=/run/r.conf.d",),  # nothing is there
    EngineKind.PODMAN: (),
}


@pytest.mark.parametrize("kind", list(EngineKind))
def test_a_build_says_everything_explicitly(recipe: Recipe, kind: EngineKind) -> None:
    order = BuildOrder(
        recipe=recipe,
        ignorefile=Path("/run/ignore"),
        bases={"base": "f00d"},
        folders={"extra": recipe.extras["extra"].folder},
        secrets={"npm": "env=PODBUILD_BUILD_SECRET_0"},
        destination="docker://127.0.0.1:5000/web:linux-arm64",
    )
    root = recipe.context.parent
    assert command(kind).build(order) == (
        f"/opt/{kind}",
        "--registries-conf=/run/r.conf",
        *DROP_INS[kind],
        "build",
        "--signature-policy=/run/p.json",
        f"--file={root}/web/Containerfile",
        "--platform=linux/arm64",
        "--format=docker",
        "--layers=true",
        "--timestamp=946684800",
        "--identity-label=false",
        "--no-hostname",
        "--isolation=chroot",
        "--network=host",
        "--pull=missing",
        "--retry=0",
        "--ignorefile=/run/ignore",
        "--target=runtime",
        "--build-arg=A=x y",
        "--build-arg=B=2",
        "--build-context=base=docker-image://f00d",
        f"--build-context=debian:trixie=docker-image://docker.io/library/debian@sha256:{'1' * 64}",
        f"--build-context=extra={root}/extra",
        "--secret=id=npm,env=PODBUILD_BUILD_SECRET_0",
        "--ssh=default",
        "--tag=docker://127.0.0.1:5000/web:linux-arm64",
        f"{root}/web",
    )


def built(recipe: Recipe, **changes: object) -> tuple[str, ...]:
    changed = dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]
    order = BuildOrder(recipe=changed, ignorefile=Path("/i"), iidfile=Path("/iid"), no_cache=True)
    return command(EngineKind.BUILDAH).build(order)


@pytest.mark.parametrize("folder", ["acme, inc", 'the "best"', "two\nlines", "plain dir"])
def test_a_containerfile_is_one_file_whatever_its_path(recipe: Recipe, folder: str) -> None:
    path = recipe.context.parent / folder / "Containerfile"
    (word,) = [w for w in built(recipe, containerfile=path) if w.startswith("--file=")]
    (fields,) = csv.reader(io.StringIO(word.removeprefix("--file="), newline=""))
    assert fields == [str(path)]


def test_layers_can_be_one_and_caches_be_left(recipe: Recipe) -> None:
    argv = built(recipe, layers=False)
    assert {"--layers=false", "--no-cache", "--iidfile=/iid"} <= set(argv)
    assert not [word for word in argv if word.startswith("--tag")]


@pytest.mark.parametrize(
    ("isolation", "network", "told"),
    [
        (Isolation.CHROOT, RunNetwork.NONE, "host"),  # the engine refuses any other
        (Isolation.CHROOT, RunNetwork.PRIVATE, "host"),
        (Isolation.OCI, RunNetwork.NONE, "none"),
    ],
)
def test_where_no_run_asks_chroot_isolation_has_the_engine_s_network(
    recipe: Recipe, isolation: Isolation, network: RunNetwork, told: str
) -> None:
    argv = built(recipe, isolation=isolation, network=network)
    assert [word for word in argv if word.startswith("--network")] == [f"--network={told}"]


def test_only_zstd_names_a_compression() -> None:
    line = command(EngineKind.BUILDAH)
    assert line.push("f00d", "docker://h/web:t", Compression.ZSTD)[3:] == (
        "push",
        "--quiet",
        "--retry=0",
        "--signature-policy=/run/p.json",
        "--format=oci",
        "--compression-format=zstd",
        "--compression-level=3",
        "f00d",
        "docker://h/web:t",
    )
    gzip = line.push("f00d", "docker://h/web:t", Compression.GZIP)
    assert not [word for word in gzip if "compression" in word]


def test_a_list_is_made_with_members_and_annotations_in_one_call() -> None:
    line = command(EngineKind.PODMAN)
    assert line.create_list("l", ("docker://h/a@d", "docker://h/b@d"), {"z": "1", "a": "2"}) == (
        "/opt/podman",
        "--registries-conf=/run/r.conf",
        *("manifest", "create", "--annotation=a=2", "--annotation=z=1"),
        *("l", "docker://h/a@d", "docker://h/b@d"),
    )


def test_annotations_of_a_list_are_literal_whatever_reads_them() -> None:
    """buildah 1.43 reads the flag as a line of CSV, podman as it stands."""
    text = 'a "b", $c\nd'
    argv = command(EngineKind.BUILDAH).create_list("l", (), {"k": text})
    (word,) = [word for word in argv if "annotation" in word]
    (fields,) = csv.reader(io.StringIO(word.removeprefix("--annotation="), newline=""))
    assert fields == [f"k={text}"]
    assert f"--annotation=k={text}" in command(EngineKind.PODMAN).create_list("l", (), {"k": text})


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (EngineKind.BUILDAH, ("--signature-policy=/run/p.json", "--retry=0")),
        (EngineKind.PODMAN, ()),
    ],
)
def test_a_list_is_delivered_alone(kind: EngineKind, own: tuple[str, ...]) -> None:
    assert command(kind).push_list("l", "docker://h/web:index")[2:] == (
        *DROP_INS[kind],
        *("manifest", "push", "--all=false", "--rm", *own, "l", "docker://h/web:index"),
    )


@pytest.fixture
def toolchain() -> Toolchain:
    engine = Engine(
        kind=EngineKind.PODMAN, path=Path("/opt/bin/podman"), version=ToolVersion.parse("5.8")
    )
    return Toolchain(
        engine=engine,
        engines=(engine,),
        origin="debian",
        path=(Path("/opt/bin"),),
        helper_dirs=(Path('/opt/a "b"'),),
        conmon=Path("/opt/bin/conmon"),
        crun=Path("/opt/bin/crun"),
        firewall_driver="iptables",
    )


def test_the_generated_files_are_what_was_asked_for(tmp_path: Path, toolchain: Toolchain) -> None:
    files = EngineFiles(folder=tmp_path / "run")
    auth = {"auths": {"127.0.0.1:5000": {"auth": "c2VjcmV0"}}}
    write_files(
        files,
        registries=RegistriesConf(search=("docker.io",)),
        policy=None,
        auth=auth,  # type: ignore[arg-type]
        toolchain=toolchain,
    )
    assert json.loads(files.auth.read_text()) == auth
    assert stat.S_IMODE(files.auth.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    assert json.loads(files.policy.read_text())["default"][0]["type"] == "insecureAcceptAnything"
    engine = tomllib.loads(files.containers.read_text())["engine"]
    assert engine["helper_binaries_dir"] == ['/opt/a "b"']
    assert engine["runtimes"] == {"crun": ["/opt/bin/crun"]}
    assert tomllib.loads(files.registries.read_text()) == {
        "unqualified-search-registries": ["docker.io"]
    }


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (StorageDriver(DriverName.OVERLAY), {"driver": "overlay"}),
        (
            StorageDriver(DriverName.OVERLAY, Path("/f")),
            {"driver": "overlay", "options": {"overlay": {"mount_program": "/f"}}},
        ),
        (StorageDriver(DriverName.VFS), {"driver": "vfs"}),
    ],
)
def test_a_storage_says_its_folders_and_driver(
    driver: StorageDriver, expected: dict[str, object], tmp_path: Path
) -> None:
    storage = Storage(graph=Path("/c/graph"), run=Path("/c/run"), driver=driver)
    assert tomllib.loads(storage_conf(storage))["storage"] == {
        **expected,
        "graphroot": "/c/graph",
        "runroot": "/c/run",
    }
    files = EngineFiles(folder=tmp_path)
    write_storage(files, "x", storage)
    found = storage_environment(files, "x", Path("/data"))
    override = tomllib.loads(Path(found["CONTAINERS_CONF_OVERRIDE"]).read_text())
    assert override == {"engine": {"tmp_dir": "/c/libpod"}}
    assert Path(found["CONTAINERS_STORAGE_CONF"]).read_text() == storage_conf(storage)


def test_the_environment_is_an_allow_list(tmp_path: Path, toolchain: Toolchain) -> None:
    (tmp_path / ".config").mkdir()
    files = EngineFiles(folder=tmp_path / "run")
    user = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin",
        "https_proxy": "http://proxy",
        "NPM_TOKEN": "secret",
        "GITHUB_TOKEN": "secret",
        "BUILDAH_ISOLATION": "oci",
        "STORAGE_DRIVER": "vfs",
        "container": "podman",
    }
    assert engine_environment(user, toolchain, files) == {
        "HOME": str(tmp_path),
        "PATH": "/opt/bin:/usr/bin",
        "https_proxy": "http://proxy",
        "XDG_RUNTIME_DIR": str(files.runtime),
        "REGISTRY_AUTH_FILE": str(files.auth),
        "CONTAINERS_CONF": str(files.containers),
        "CONTAINERS_REGISTRIES_CONF": str(files.registries),
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
    }


def test_engines_make_no_folder_for_configuration_in_a_home(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    files = EngineFiles(folder=tmp_path / "run")
    home = {"HOME": str(tmp_path)}
    instead = engine_environment(home, toolchain, files)
    assert instead["HOME"] == str(tmp_path)
    assert instead["XDG_CONFIG_HOME"] == str(files.home / ".config")
    named = engine_environment({**home, "XDG_CONFIG_HOME": "/etc/mine"}, toolchain, files)
    assert named["XDG_CONFIG_HOME"] == "/etc/mine"


@pytest.mark.parametrize("home", ["", "/nonexistent"])
def test_a_home_that_is_not_there_is_replaced(
    tmp_path: Path, toolchain: Toolchain, home: str
) -> None:
    files = EngineFiles(folder=tmp_path / "run")
    assert engine_environment({"HOME": home}, toolchain, files)["HOME"] == str(files.home)


def test_the_users_policy_comes_before_the_machines(tmp_path: Path) -> None:
    machine, home = tmp_path / "etc", tmp_path / "home"
    assert user_policy({}, machine) is None
    for folder, text in ((machine / "containers", "1"), (home / ".config/containers", "2")):
        folder.mkdir(parents=True)
        (folder / "policy.json").write_text(text)
    assert user_policy({}, machine) == "1"
    assert user_policy({"HOME": str(home)}, machine) == "2"


def test_cas_are_handed_to_what_fetches_bases_and_to_nothing_else(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    authority = tmp_path / "ours.pem"
    authority.write_text("a certificate")
    files = EngineFiles(folder=tmp_path)
    write_certificates(files, [authority])
    assert [path.read_text() for path in files.certificates.glob("*.crt")] == ["a certificate"]
    trusting = CommandLine(
        engine=toolchain.engine,
        registries=files.registries,
        policy=files.policy,
        certificates=files.certificates,
    )
    option = f"--cert-dir={files.certificates}"
    assert option in trusting.pull("registry.example.com/base")
    assert option not in trusting.push("image", "staging", Compression.GZIP)
    with pytest.raises(ConfigError, match="can't read the CA"):
        write_certificates(EngineFiles(folder=tmp_path / "certs"), [tmp_path / "none.pem"])


def test_a_policy_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    policy = tmp_path / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"policy\.json: can't be read: not UTF-8"):
        user_policy({"HOME": str(tmp_path)})
