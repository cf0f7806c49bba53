from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.engine.registries_conf import (
    Mirror,
    RegistriesConf,
    RegistryEntry,
    render,
    with_own,
)
from podbuild.build.engine.registries_files import read_registries_conf, user_registries_conf
from podbuild.errors import ConfigError

ENTRY = '[[registry]]\nlocation = "a.test"\n'
MIRRORED = '[[registry.mirror]]\nlocation = "b.test"\n'
DIGEST = f"sha256:{0:064}"
FULL = """\
unqualified-search-registries = ["quay.io", "docker.io"]
short-name-mode = "permissive"
credential-helpers = ["containers-auth.json", "secretservice"]

[[registry]]
prefix = "docker.io"
location = "internal.example.com/hub"
[[registry.mirror]]
location = "one.example.com"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
location = "quay.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "two.example.com/quay"

[[registry]]
location = "evil.example.com"
blocked = true

[aliases]
"debian" = "docker.io/library/debian"
"""


def locations(conf: RegistriesConf, reference: str) -> list[str]:
    return [source.location for source in conf.sources(reference)]


def read(text: str) -> RegistriesConf:
    return read_registries_conf(text, where="registries.conf")


def test_what_is_read_is_written_again() -> None:
    conf = read(FULL)
    assert read(render(conf)) == conf
    assert tomllib.loads(render(conf)) == {
        **tomllib.loads(FULL),
        "registry": [
            tomllib.loads(FULL)["registry"][0],
            {"prefix": "quay.io", **tomllib.loads(FULL)["registry"][1]},
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
    hub = conf.sources(f"docker.io/library/debian@{DIGEST}")
    assert hub == (
        Mirror(location="near.example.com/hub/library/debian"),
        Mirror(location="one.example.com/library/debian", insecure=True, pull_from="digest-only"),
        Mirror(location="internal.example.com/hub/library/debian"),
    )
    assert conf.sources("ghcr.io/acme/web:1") == (
        Mirror(location="127.0.0.1:5000/ghcr/acme/web", insecure=True),
        Mirror(location="ghcr.io/acme/web"),
    )
    assert conf.sources("127.0.0.1:5000/web:1")[0].insecure


def test_the_longest_prefix_decides() -> None:
    conf = RegistriesConf(
        entries=(
            RegistryEntry(prefix="*.example.com", insecure=True),
            RegistryEntry(prefix="r.example.com/acme", location="other.example.com/a"),
        )
    )
    assert conf.sources("r.example.com/acme/web:1") == (Mirror(location="other.example.com/a/web"),)
    assert conf.sources("r.example.com/acme2/web:1") == (
        Mirror(location="r.example.com/acme2/web", insecure=True),
    )


@pytest.mark.parametrize(
    ("prefix", "reference", "place"),
    [
        # containers/image, pkg/sysregistriesv2: refMatchingPrefix and rewriteReference
        ("*.example.test", "a.example.test/web:1", "near.test/x/web"),
        ("*.example.test", "a.b.example.test/acme/web:1", "near.test/x/acme/web"),
        ("*.example.test", "a.example.test:5000/web:1", "near.test/x:5000/web"),
        ("*.example.test", "example.test/web:1", None),
        ("*.example.test", "a.example.test.org/web:1", None),
        ("*.example.test", "b.test/a.example.test/web:1", None),
        ("example.test", "example.test:5000/web:1", "near.test/x:5000/web"),
        ("example.test", "example.testing/web:1", None),
        ("example.test:5000", "example.test/web:1", None),
        ("example.test/acme", "example.test/acme/web:1", "near.test/x/web"),
        ("example.test/acme", "example.test/acme2/web:1", None),
        ("example.test/acme/web", "example.test/acme/web:1", "near.test/x"),
        ("example.test/acme/web:1", "example.test/acme/web:1", "near.test/x"),
        ("example.test/acme/web:1", "example.test/acme/web:12", None),
    ],
)
def test_a_prefix_covers_what_engines_let_it_cover(
    prefix: str, reference: str, place: str | None
) -> None:
    conf = read(f'[[registry]]\nprefix = "{prefix}"\nlocation = "near.test/x"\n')
    own = reference.rpartition(":")[0]
    assert locations(conf, reference) == [place or own]


@pytest.mark.parametrize(
    ("keys", "mirror", "tag", "digest"),
    [
        ("", "", True, True),
        ("", 'pull-from-mirror = "all"', True, True),
        ("", 'pull-from-mirror = "digest-only"', False, True),
        ("", 'pull-from-mirror = "tag-only"', True, False),
        ("mirror-by-digest-only = true", "", False, True),
    ],
)
def test_a_mirror_is_asked_for_what_it_may_answer(
    keys: str, mirror: str, tag: bool, digest: bool
) -> None:
    text = f'[[registry]]\nlocation = "a.test"\n{keys}\n[[registry.mirror]]\n'
    conf = read(f'{text}location = "m.test"\n{mirror}\n')
    assert ("m.test/x" in locations(conf, "a.test/x:1")) is tag
    assert ("m.test/x" in locations(conf, f"a.test/x@{DIGEST}")) is digest
    mine = with_own(conf, mirrors={"a.test": ["p.test"]}, insecure=())  # the project's serves all
    assert ("m.test/x" in locations(mine, "a.test/x:1")) is tag
    assert ("m.test/x" in locations(mine, f"a.test/x@{DIGEST}")) is digest
    assert (
        locations(mine, "a.test/x:1")[0] == locations(mine, f"a.test/x@{DIGEST}")[0] == "p.test/x"
    )


def test_what_the_user_says_holds_under_the_projects_own_entries() -> None:
    conf = read(
        '[[registry]]\nprefix = "*.a.test"\nlocation = "b.test/x"\n'
        '[[registry]]\nlocation = "docker.io/library"\n'
        '[[registry.mirror]]\nlocation = "m.test"\n'
        '[[registry]]\nprefix = "*.evil.test"\nblocked = true\n'
    )
    mirrors = {"reg.a.test": ["p.test"], "docker.io": ["hub.test"], "reg.evil.test": ["q.test"]}
    conf = with_own(conf, mirrors=mirrors, insecure=["plain.a.test"])
    assert locations(conf, "reg.a.test/web:1") == ["p.test/web", "b.test/x/web"]
    assert conf.sources("plain.a.test/web:1") == (Mirror(location="b.test/x/web", insecure=True),)
    hub = ["hub.test/library/debian", "m.test/debian", "docker.io/library/debian"]
    assert locations(conf, "docker.io/library/debian:1") == hub
    assert locations(conf, "docker.io/acme/web:1") == ["hub.test/acme/web", "docker.io/acme/web"]
    with pytest.raises(ConfigError, match="blocks"):
        conf.sources("reg.evil.test/web:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[registry]]\nprefix = "a.test"\n', "no location"),
        ("[[registry]]\ninsecure = true\n", "no location"),
        ('[[registry]]\nlocation = "https://a.test"\n', "without https://"),
        ('[[registry]]\nprefix = "*.a.test/x"\n', "a domain alone"),
        (
            f'{ENTRY}mirror-by-digest-only = true\n{MIRRORED}pull-from-mirror = "all"\n',
            "exclude each other",
        ),
        (f'{ENTRY}{MIRRORED}pull-from-mirror = "tags"\n', "pull-from-mirror 'tags'"),
    ],
)
def test_what_engines_refuse_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^registries.conf: .*{message}"):
        read(text)


def test_the_first_of_one_prefix_counts_in_a_file_and_the_last_file_of_all() -> None:
    text = '[[registry]]\nlocation = "a.test"\n' * 2
    assert read(f"{text}insecure = true\n").entries == (
        RegistryEntry(prefix="a.test", location="a.test"),
    )


def test_a_name_that_engines_would_ask_about_is_refused() -> None:
    conf = replace(read(FULL), short_names="enforcing")
    assert conf.candidates("debian:12") == ("docker.io/library/debian:12",)
    with pytest.raises(ConfigError, match=r"does not let alpine be looked for in quay\.io, d"):
        conf.candidates("alpine:3")


def test_what_the_user_answered_before_is_kept(tmp_path: Path) -> None:
    aliases = tmp_path / ".cache/containers/short-name-aliases.conf"
    aliases.parent.mkdir(parents=True)
    aliases.write_text('[aliases]\n"web" = "near.test/acme/web"\n')
    conf = user_registries_conf({"HOME": str(tmp_path)}, tmp_path)
    assert conf.candidates("web:1") == ("near.test/acme/web:1",)


def test_a_named_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="/nonexistent: no such file"):
        user_registries_conf({"CONTAINERS_REGISTRIES_CONF": "/nonexistent"})
    assert (
        user_registries_conf({"CONTAINERS_REGISTRIES_CONF": "/dev/null"}, Path("/x")).search is None
    )


def test_a_blocked_registry_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"blocks evil\.example\.com/web:1"):
        read(FULL).sources("evil.example.com/web:1")


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

    def found() -> tuple[tuple[str, ...] | None, str, bool]:
        conf = user_registries_conf(environment, tmp_path / "etc")
        mirror = conf.entries[0].mirrors[0].location if conf.entries else ""
        return conf.search, mirror, "a" in conf.aliases

    assert found() == (("machine",), "user", True)
    (user / "registries.conf").write_text('unqualified-search-registries = ["user"]\n')
    assert found() == (("user",), "user", False)
    named = tmp_path / "named.conf"
    named.write_text('unqualified-search-registries = ["named"]\n')
    environment["CONTAINERS_REGISTRIES_CONF"] = str(named)
    assert found() == (("named",), "user", True)  # drop-ins count beside a named file


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "registries.conf"
    broken.write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError, match=r"registries\.conf: can't be read: not UTF-8"):
        user_registries_conf({"CONTAINERS_REGISTRIES_CONF": str(broken)})
