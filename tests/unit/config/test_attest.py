"""[attest] and [attest.sign]: what they take, and what they refuse in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.config.attest import Signing
from podbuild.config.load import load_config
from podbuild.config.template import Placeholders, Template
from podbuild.errors import ConfigError

HEAD = '[project]\nname = "shop"\n\n[images.web]\n\n'
IDENTITY = "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/v{version}"
ISSUER = 'issuer = "https://token.actions.githubusercontent.com"\n'


def signing(folder: Path, text: str) -> Signing:
    (folder / "Containerfile").write_text("FROM scratch\n")
    path = folder / "podbuild.toml"
    path.write_text(f"{HEAD}[attest.sign]\n{text}")
    attest = load_config(path, {"HOST": "git.example.com"}).attest
    assert attest is not None
    assert attest.sign is not None
    return attest.sign


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("env:COSIGN_PRIVATE_KEY", None),
        ("file:keys/release.pem", "keys/release.pem"),
        ("cosign.key", "cosign.key"),
        ("awskms:///alias/release", None),
        ("hashivault://release", None),
        ("k8s://builds/release", None),
    ],
)
def test_where_a_key_is(tmp_path: Path, key: str, file: str | None) -> None:
    found = signing(tmp_path, f'key = "{key}"\n').file(tmp_path)
    assert found == (tmp_path / file if file else None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keyless = false\n", "key is missing"),
        ("keyless = true\n", "identity is missing"),
        (f'keyless = true\nidentity = "{IDENTITY}"\n', "belong together"),
        (f'keyless = true\nkey = "env:K"\nidentity = "{IDENTITY}"\n{ISSUER}', "can't be both"),
        (f'keyless = true\nidentity = "{IDENTITY}"\n{ISSUER}podman = true\n', "needs a key"),
        (f'key = "env:K"\n{ISSUER}', "belong together"),
        ('key = "env:K"\ntrust = "sigstore.json"\n', "keyless signing alone"),
        (f'keyless = true\nidentity = "https://e.x/{{sha}}"\n{ISSUER}', "{sha} can't stand"),
        (f"keyless = true\nidentity = []\n{ISSUER}", "must not be empty"),
        ('key = "env:"\n', "names no key"),
        ('key = "env:A-B"\n', "is no variable's name"),
        ('key = """-----BEGIN PRIVATE KEY-----\nMIGH\n"""\n', "where everybody reads it"),
        ('key = "env:K"\nidentiy = "x"\n', "unknown key"),
    ],
)
def test_what_can_not_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        signing(tmp_path, text)
    assert caught.value.hint
    assert "podbuild.toml:" in caught.value.message


@pytest.mark.parametrize(
    ("identity", "version", "accepted"),
    [
        (IDENTITY.replace("{version}", "1.2.3"), "1.2.3", True),
        (IDENTITY.replace("{version}", "1.2.3"), "", True),
        (IDENTITY.replace("{version}", "1.2.3"), "1.2.4", False),
        (IDENTITY.replace("{version}", "1.2.3-rc.1"), "1.2.3-rc.1", True),
        (IDENTITY.replace("{version}", "1.2.30"), "1.2.3", False),
        (IDENTITY.replace("{version}", "1.2.3").replace(".yml", "xyml"), "", False),
        (IDENTITY.replace("{version}", "1/../../x"), "", False),
        (IDENTITY.replace("{version}", "main"), "", False),
        ("https://git.example.com/acme/shop//.gitlab-ci.yml@refs/heads/main", "1.2.3", True),
        ("https://git.example.com/acme/shop//.gitlab-ci.yml@refs/heads/main\n", "", False),
    ],
)
def test_an_identity_is_pinned(identity: str, version: str, accepted: bool) -> None:
    main = "https://{env.HOST}/acme/{project}//.gitlab-ci.yml@refs/heads/main"
    found = Signing(keyless=True, identity=(Template(IDENTITY), Template(main)))
    values = Placeholders(project="shop", env={"HOST": "git.example.com"})
    assert found.accepts(identity, version, values) == accepted


def test_the_whole_table_loads(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    path = tmp_path / "podbuild.toml"
    path.write_text(
        HEAD
        + f"""\
[attest]
sbom = "auto"
provenance = true
placement = "referrers"
vex = "vex/{{image}}.json"

[attest.sign]
key = "env:COSIGN_PRIVATE_KEY"
keyless = false
public-key = "cosign.pub"
identity = "{IDENTITY}"
{ISSUER}podman = true
"""
    )
    attest = load_config(path, {}).attest
    assert attest is not None
    assert attest.sign is not None
    assert attest.sign.podman
    assert attest.sign.identity == (Template(IDENTITY),)


def test_docker_lists_hold_no_attestations(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    path = tmp_path / "podbuild.toml"
    path.write_text(f'{HEAD}format = "docker"\n\n[attest]\nplacement = "index"\n')
    with pytest.raises(ConfigError, match="docker format") as caught:
        load_config(path, {})
    assert caught.value.hint
