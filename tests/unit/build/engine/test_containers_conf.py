"""What of the user's containers.conf reaches the generated one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from podbuild.build.engine.containers_conf import UserContainers, lines, user_containers_conf
from podbuild.build.toolchain.model import Engine, EngineKind, Toolchain, ToolVersion
from podbuild.errors import ConfigError


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[engine]\n{text}\n")
    return file


def toolchain(program: Path, origin: str = "system", **own: Path) -> Toolchain:
    version = ToolVersion.parse("1.43.2")
    engine = Engine(kind=EngineKind.BUILDAH, path=program, version=version)
    helpers = (own["helpers"],) if "helpers" in own else ()
    return Toolchain(
        engine=engine,
        engines=(engine,),
        origin=origin,
        helper_dirs=helpers,
        conmon=own.get("conmon"),
        crun=own.get("crun"),
    )


def engine_table(tools: Toolchain, user: UserContainers) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads("\n".join(("[engine]", *lines(tools, user))))
    return dict(found["engine"]) if isinstance(found["engine"], dict) else {}


APPEND = {"append": True}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), None),
        (('helper_binaries_dir = ["/a"]',), ["/a"]),
        (('helper_binaries_dir = ["/a", {append=true}]',), ["/a", APPEND]),
        (('helper_binaries_dir = ["/a"]', 'helper_binaries_dir = ["/b"]'), ["/b"]),
        (
            ('helper_binaries_dir = ["/a"]', 'helper_binaries_dir = ["/b", {append=true}]'),
            ["/a", "/b"],
        ),
        (
            ('helper_binaries_dir = ["/a", {append=true}]', 'helper_binaries_dir = ["/b"]'),
            ["/a", "/b", APPEND],
        ),
        (("helper_binaries_dir = 3", ""), None),
    ],
)
def test_helper_folders_are_merged_as_engines_do(
    tmp_path: Path, texts: tuple[str, ...], expected: list[object] | None
) -> None:
    places = ("usr/share/containers/containers.conf", "etc/containers/containers.conf.d/1.conf")
    for place, text in zip(places, texts, strict=False):
        write(tmp_path / place, text)
    user = user_containers_conf({}, tmp_path)
    found = engine_table(toolchain(tmp_path / "bin/buildah"), user)
    assert found.get("helper_binaries_dir") == expected


def test_the_files_count_in_the_engines_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(tmp_path / "etc/containers/containers.conf", 'runtime = "runc"')
    write(home / ".config/containers/containers.conf", 'runtimes.mine = ["/mine"]')
    write(home / ".config/containers/containers.conf.d/1.conf", 'runtimes.other = ["/other"]')
    user = user_containers_conf({"HOME": str(home)}, tmp_path)
    assert (user.runtime, dict(user.runtimes)) == (
        "runc",
        {"mine": ("/mine",), "other": ("/other",)},
    )
    named = write(tmp_path / "named", 'runtime = "named"')
    last = write(tmp_path / "last", 'runtimes.last = ["/last"]')
    environment = {"HOME": str(home), "CONTAINERS_CONF": str(named)}
    user = user_containers_conf({**environment, "CONTAINERS_CONF_OVERRIDE": str(last)}, tmp_path)
    assert (user.runtime, dict(user.runtimes)) == ("named", {"last": ("/last",)})
    named.write_text("[")
    with pytest.raises(ConfigError, match="/named: "):
        user_containers_conf(environment, tmp_path)


@pytest.mark.parametrize("place", ["libexec/podman", "lib/podman", "libexec"])
def test_helpers_are_found_beside_the_engines_own_program(tmp_path: Path, place: str) -> None:
    cellar, linked = tmp_path / "cellar/buildah/1.43", tmp_path / "prefix/bin"
    (cellar / place).mkdir(parents=True)
    (cellar / "bin").mkdir()
    linked.mkdir(parents=True)
    for name in ("buildah", "conmon"):
        (cellar / "bin" / name).touch()
    (linked / "buildah").symlink_to(cellar / "bin/buildah")
    found = engine_table(toolchain(linked / "buildah"), UserContainers())
    helpers, conmon = found["helper_binaries_dir"], found["conmon_path"]
    assert isinstance(helpers, list)
    assert str(cellar / place) in helpers
    assert helpers[-1] == APPEND  # where the engine looks anyway comes first
    assert conmon == [str(cellar / "bin/conmon"), APPEND]


def test_a_private_toolchains_own_come_before_the_users(tmp_path: Path) -> None:
    user = user_containers_conf(
        {
            "CONTAINERS_CONF": str(
                write(
                    tmp_path / "c",
                    'helper_binaries_dir = ["/users"]\nconmon_path = ["/users/conmon"]\n'
                    'runtime = "runc"\nruntimes.crun = ["/a"]\nruntimes.kata = ["/kata"]',
                )
            )
        }
    )
    own = {name: Path("/own", name) for name in ("helpers", "conmon", "crun")}
    assert engine_table(toolchain(tmp_path / "bin/buildah", "debian", **own), user) == {
        "helper_binaries_dir": ["/own/helpers", "/users"],
        "conmon_path": ["/own/conmon"],
        "runtime": "crun",
        "runtimes": {"crun": ["/own/crun"], "kata": ["/kata"]},
    }
