"""Real helper programs, as docker and podman call them."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.errors import CredentialError
from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.auth.files import CredentialKind
from podbuild.oci.names import Repository
from podbuild.system.process import Runner

pytestmark = pytest.mark.integration

HELPER = """#!/bin/sh
[ "$1" = get ] || exit 9
read -r server
echo "$server" >> "$ASKED"
case "$server" in
    ghcr.io) echo '{"ServerURL":"ghcr.io","Username":"ann","Secret":"kept"}' ;;
    https://index.docker.io/v1/) echo '{"Username":"<token>","Secret":"identity"}' ;;
    broken.example) echo 'this is no JSON' ;;
    locked.example) echo 'the keychain is locked' >&2; exit 1 ;;
    *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


def keyring(folder: Path, **settings: object) -> Keyring:
    program = folder / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    file = folder / "config.json"
    file.write_text(json.dumps(settings))
    environment = {
        "PATH": f"{folder}:{os.defpath}",
        "DOCKER_CONFIG": str(folder),
        "ASKED": str(folder / "asked"),
    }
    return Keyring(environment=environment, runner=Runner(env=environment))


def test_a_hosts_own_helper_is_asked_once(tmp_path: Path) -> None:
    ring = keyring(tmp_path, credHelpers={"ghcr.io": "test"})
    for path in ("acme/web", "acme/api"):
        found = ring.find(Repository("ghcr.io", path))
        assert found is not None
        assert (found.username, found.secret) == ("ann", "kept")
    assert (tmp_path / "asked").read_text() == "ghcr.io\n"
    assert ring.find(Repository("other.example", "acme/web")) is None


def test_the_default_helper_keeps_docker_hubs_login_under_its_old_name(tmp_path: Path) -> None:
    ring = keyring(tmp_path, credsStore="test", auths={"https://index.docker.io/v1/": {}})
    found = ring.find(Repository("docker.io", "acme/web"))
    assert found is not None
    assert (found.secret, found.kind) == ("identity", CredentialKind.IDENTITY_TOKEN)


def test_no_login_is_no_error(tmp_path: Path) -> None:
    ring = keyring(tmp_path, credsStore="test")
    assert ring.find(Repository("r.example:5000", "acme/web")) is None


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("broken.example", "the answer for broken.example can't be read"),
        ("locked.example", "no login for locked.example: the keychain is locked"),
    ],
)
def test_a_helper_that_fails_is_told(tmp_path: Path, host: str, message: str) -> None:
    ring = keyring(tmp_path, credsStore="test")
    with pytest.raises(CredentialError, match=message):
        ring.find(Repository(host, "acme/web"))


def test_the_engine_asks_the_helper_itself(tmp_path: Path) -> None:
    ring = keyring(tmp_path, credsStore="test", credHelpers={"ghcr.io": "test"})
    bases = [Repository("ghcr.io", "acme/base"), Repository("r.example", "acme/base")]
    assert ring.entries(bases) == {"auths": {}, "credHelpers": {"ghcr.io": "test"}}


@pytest.mark.parametrize(
    ("helpers", "user"),
    [
        (("containers-auth.json",), "file"),
        (("test", "containers-auth.json"), "ann"),
        (("containers-auth.json", "test"), "file"),
        (("test",), "ann"),
        (("missing", "test"), "ann"),  # one that fails counts only where no other has a login
    ],
)
def test_the_helpers_of_registries_conf_are_asked_in_their_order(
    tmp_path: Path, helpers: tuple[str, ...], user: str
) -> None:
    login = base64.b64encode(b"file:secret").decode()
    ring = replace(keyring(tmp_path, auths={"ghcr.io": {"auth": login}}), helpers=lambda: helpers)
    found = ring.find(Repository("ghcr.io", "acme/web"))
    assert found is not None
    assert found.username == user
    entries = ring.entries([Repository("ghcr.io", "acme/web")])
    kept = {"credHelpers": {"ghcr.io": "test"}, "auths": {}}
    assert entries == (kept if user == "ann" else {"auths": {"ghcr.io/acme/web": {"auth": login}}})


def test_a_helper_that_fails_is_told_where_nobody_else_knows(tmp_path: Path) -> None:
    ring = replace(keyring(tmp_path), helpers=lambda: ("missing", "test"))
    with pytest.raises(CredentialError, match="docker-credential-missing, which is not on PATH"):
        ring.find(Repository("r.example", "acme/web"))
