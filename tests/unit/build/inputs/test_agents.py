"""Agents and keys for RUN --mount=type=ssh, before any engine."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from podbuild.build.inputs.agents import check_agents
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError, CredentialError
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, PlannedImage, Request


def images(folder: Path, ssh: str) -> tuple[PlannedImage, ...]:
    text = f'[project]\nname = "shop"\n[images.web]\nssh = {ssh}\n'
    config = parse_config(text, folder / "podbuild.toml", {})
    return make_plan(config, Request(), Commit()).images


def check(folder: Path, ssh: str, **environment: str) -> None:
    check_agents(images(folder, ssh), environment)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Give the environment of an agent that answers."""
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("dead")
    with socket.socket(socket.AF_UNIX) as live:
        live.bind("live")
        live.listen()
        yield {"SSH_AUTH_SOCK": "live"}


def pem(kind: str, body: bytes, *headers: str) -> str:
    """Give what ssh-keygen and openssl write, as far as anyone can see without a passphrase."""
    text = "\n".join((*headers, "", "") if headers else ()) + base64.encodebytes(body).decode()
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{text}-----END {kind}PRIVATE KEY-----\n"


def openssh(cipher: bytes) -> bytes:
    return b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + b"\0\0\0\4none" * 9


@pytest.mark.parametrize("ssh", ['["default"]', '["deploy"]', '["default", "other"]'])
def test_an_entry_without_a_path_needs_the_users_agent(
    tmp_path: Path, agent: Mapping[str, str], ssh: str
) -> None:
    check(tmp_path, ssh, **agent)
    for environment in ({}, {"SSH_AUTH_SOCK": ""}):
        with pytest.raises(CredentialError, match="SSH_AUTH_SOCK is not set") as raised:
            check(tmp_path, ssh, **environment)
        assert raised.value.exit_code == 4
        assert "ssh-add" in raised.value.hint


@pytest.mark.parametrize("where", ["dead", "missing/agent", "podbuild.toml", "."])
def test_an_agent_that_does_not_answer_is_named(
    tmp_path: Path, agent: Mapping[str, str], where: str
) -> None:
    (tmp_path / "podbuild.toml").touch()
    with pytest.raises(CredentialError, match=f"image 'web'.* no agent answers at {where}: "):
        check(tmp_path, '["default"]', **{**agent, "SSH_AUTH_SOCK": where})


@pytest.mark.usefixtures("agent")
def test_a_socket_of_its_own_needs_no_variable(tmp_path: Path) -> None:
    check(tmp_path, '["deploy=live"]')
    with pytest.raises(CredentialError, match="no agent answers"):
        check(tmp_path, '["deploy=dead"]')
    with pytest.raises(CredentialError, match="stands alone"):
        check(tmp_path, '["deploy=live,key"]')


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        (pem("OPENSSH ", openssh(b"none")), False),
        (pem("OPENSSH ", openssh(b"aes256-ctr")), True),
        (pem("RSA ", b"key" * 99), False),
        (pem("RSA ", b"key" * 99, "Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,00"), True),
        (pem("", b"key" * 99), False),
        (pem("ENCRYPTED ", b"key" * 99), True),
    ],
)
def test_a_key_is_taken_unless_it_has_a_passphrase(
    tmp_path: Path, text: str, *, closed: bool
) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(CredentialError, match="key has a passphrase") if closed else nullcontext():
        check(tmp_path, '["deploy=key"]')


def test_a_public_key_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAAC3Nz me@example.com\n")
    with pytest.raises(CredentialError, match=r"key\.pub is no private key"):
        check(tmp_path, '["deploy=key.pub"]')


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_key_that_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CredentialError, match=r"'deploy' of image 'web': can't read /.*: "):
        check(tmp_path, f'["deploy={name}"]')


@pytest.mark.parametrize("entry", ["=key", "deploy=", "deploy=a,,b", "a b", "a,b=key"])
def test_an_entry_that_says_nothing_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match="is no agent"):
        images(tmp_path, f'["{entry}"]')
