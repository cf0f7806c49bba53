from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from podbuild.build.engine.registries_conf import (
    Mirror,
    RegistriesConf,
    RegistryEntry,
    read_registries_conf,
    render,
    user_registries_conf,
    with_own,
)
from podbuild.errors import ConfigError
from podbuild.oci.names import Repository

FULL = """\
unqualified-search-registries = ["quay.io", "docker.io"]
short-name-mode = "enforcing"
credential-helpers = ["containers-auth.json", "secretservice"]

[[registry]]
prefix = "docker.io"
location = "internal.example.com/hub"
mirror-by-digest-only = true
[[registry.mirror]]
location = "one.example.com"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
location = "evil.example.com"
blocked = true

[aliases]
"debian" = "docker.io/library/debian"
"""


def read(text: str) -> RegistriesConf:
    return read_registries_conf(text, where="registries.conf")


def test_what_is_read_is_written_again() -> None:
    conf = read(FULL)
    assert read(render(conf)) == conf
    assert tomllib.loads(render(conf)) == {
        **tomllib.loads(FULL),
        "registry": [
            *tomllib.loads(FULL)["registry"][:1],
            {"prefix": "evil.example.com", "location": "evil.example.com", "blocked": True},
        ],
    }


def test_the_older_version_is_read_too() -> None:
    text = '[registries.search]\nregistries = ["docker.io"]\n'
    text += '[registries.insecure]\nregistries = ["old.example.com"]\n'
    text += '[registries.block]\nregistries = ["evil.example.com"]\n'
    assert read(text) == RegistriesConf(
        search=("docker.io",),
        entries=(
            RegistryEntry(prefix="old.example.com", location="old.example.com", insecure=True),
            RegistryEntry(prefix="evil.example.com", location="evil.example.com", blocked=True),
        ),
    )


def test_a_broken_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"registries\.conf: "):
        read("[[")


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("debian:trixie", ("docker.io/library/debian:trixie",)),
        ("alpine", ("quay.io/alpine", "docker.io/library/alpine")),
        ("acme/web:1", ("quay.io/acme/web:1", "docker.io/acme/web:1")),
        ("docker.io/alpine", ("docker.io/library/alpine",)),
        ("localhost:5000/web:1", ("localhost:5000/web:1",)),
        ("ghcr.io/a/b:1@sha256:0", ("ghcr.io/a/b@sha256:0",)),
    ],
)
def test_short_names_are_looked_up_as_the_engines_do(
    name: str, candidates: tuple[str, ...]
) -> None:
    assert read(FULL).candidates(name) == candidates


def test_docker_hub_is_searched_where_nothing_else_is() -> None:
    assert RegistriesConf().candidates("alpine") == ("docker.io/library/alpine",)
    assert with_own(RegistriesConf(), mirrors={}, insecure=()).search == ("docker.io",)


def test_mirrors_of_the_project_come_before_the_users() -> None:
    conf = with_own(
        read(FULL),
        mirrors={"docker.io": ["near.example.com/hub"], "ghcr.io": ["127.0.0.1:5000/ghcr"]},
        insecure=["127.0.0.1:5000"],
    )
    hub = conf.sources(Repository.parse("docker.io/debian"))
    assert hub == (
        Mirror(location="near.example.com/hub/library/debian"),
        Mirror(location="one.example.com/library/debian", insecure=True, pull_from="digest-only"),
        Mirror(location="internal.example.com/hub/library/debian"),
    )
    assert conf.sources(Repository.parse("ghcr.io/acme/web")) == (
        Mirror(location="127.0.0.1:5000/ghcr/acme/web", insecure=True),
        Mirror(location="ghcr.io/acme/web"),
    )
    assert conf.sources(Repository.parse("127.0.0.1:5000/web"))[0].insecure


def test_the_longest_prefix_decides() -> None:
    conf = RegistriesConf(
        entries=(
            RegistryEntry(prefix="*.example.com", insecure=True),
            RegistryEntry(prefix="r.example.com/acme", location="other.example.com/a"),
        )
    )
    assert conf.sources(Repository.parse("r.example.com/acme/web")) == (
        Mirror(location="other.example.com/a/web"),
    )
    assert conf.sources(Repository.parse("r.example.com/acme2/web")) == (
        Mirror(location="r.example.com/acme2/web", insecure=True),
    )


def test_a_blocked_registry_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"blocks evil\.example\.com/web"):
        read(FULL).sources(Repository.parse("evil.example.com/web"))


def test_the_users_files_are_read_in_the_engines_order(tmp_path: Path) -> None:
    machine, user = tmp_path / "etc/containers", tmp_path / "home/.config/containers"
    for folder, name in ((machine, "machine"), (user, "user")):
        (folder / "registries.conf.d").mkdir(parents=True)
        (folder / "registries.conf.d" / "1.conf").write_text(
            f'[[registry]]\nlocation = "r.example.com"\n[[registry.mirror]]\nlocation = "{name}"\n'
        )
    (machine / "registries.conf").write_text('unqualified-search-registries = ["machine"]\n')
    (machine / "registries.conf.d" / "2.conf").write_text('[aliases]\n"a" = "machine/a"\n')
    environment = {"HOME": str(tmp_path / "home")}

    def found() -> tuple[tuple[str, ...], str, bool]:
        conf = user_registries_conf(environment, tmp_path / "etc")
        mirror = conf.entries[0].mirrors[0].location if conf.entries else ""
        return conf.search, mirror, "a" in conf.aliases

    assert found() == (("machine",), "user", True)
    (user / "registries.conf").write_text('unqualified-search-registries = ["user"]\n')
    assert found() == (("user",), "user", False)
    named = tmp_path / "named.conf"
    named.write_text('unqualified-search-registries = ["named"]\n')
    environment["CONTAINERS_REGISTRIES_CONF"] = str(named)
    assert found() == (("named",), "", False)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "registries.conf"
    broken.write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError, match=r"registries\.conf: can't be read: not UTF-8"):
        user_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(broken)})
