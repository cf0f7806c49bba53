import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.errors import CredentialError
from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.auth.files import Credential, CredentialKind, read_auth_file
from podbuild.oci.names import Repository
from podbuild.system.process import Runner

WEB = Repository("ghcr.io", "acme/web")
HUB = Repository("docker.io", "acme/web")
OTHER = Repository("r.example:5000", "acme/web")


def keyring(**environment: str) -> Keyring:
    return Keyring(environment=environment, runner=Runner(env={"PATH": "/nowhere"}))


def auth(user: str, secret: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def at(place: str, **content: object) -> Path:
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    return at


def found(ring: Keyring, repository: Repository, registry: str = "") -> tuple[str, str] | None:
    credential = ring.find(repository, registry)
    return (credential.username, credential.secret) if credential else None


def test_a_registrys_own_variables_come_first() -> None:
    ring = keyring(
        PODBUILD_MY_HUB_USERNAME="ann",
        PODBUILD_MY_HUB_TOKEN="own",
        DOCKERHUB_USERNAME="bob",
        DOCKERHUB_TOKEN="hub",
    )
    assert found(ring, HUB, "my-hub") == ("ann", "own")
    assert found(ring, HUB, "second") == ("bob", "hub")
    assert found(ring, OTHER, "my-hub") == ("ann", "own")


@pytest.mark.parametrize("host", ["r.example:5000", "ghcr.io", "docker.io.evil.example"])
def test_docker_hubs_token_goes_to_no_other_host(host: str) -> None:
    ring = keyring(DOCKERHUB_USERNAME="bob", DOCKERHUB_TOKEN="hub")
    assert ring.find(Repository(host, "acme/web"), "dockerhub") is None
    assert ring.find_token(host, "dockerhub") is None


@pytest.mark.parametrize("host", ["r.example:5000", "docker.io", "ghcr.io.evil.example"])
def test_githubs_token_goes_to_no_other_host(host: str) -> None:
    ring = keyring(GITHUB_ACTOR="bob", GITHUB_TOKEN="gh")
    assert ring.find(Repository(host, "acme/web"), "ghcr") is None


@pytest.mark.parametrize(
    ("host", "login"),
    [
        ("hub.docker.com", ("bob", "hub")),
        ("registry-1.docker.io", ("bob", "hub")),
        ("api.github.com", ("cat", "gh")),
        ("ghcr.io", ("cat", "gh")),
    ],
)
def test_the_apis_of_a_host_get_its_token(host: str, login: tuple[str, str]) -> None:
    ring = keyring(
        DOCKERHUB_USERNAME="bob", DOCKERHUB_TOKEN="hub", GITHUB_ACTOR="cat", GITHUB_TOKEN="gh"
    )
    credential = ring.find_token(host)
    assert credential is not None
    assert (credential.username, credential.secret) == login


def test_github_needs_no_user_name() -> None:
    assert found(keyring(GITHUB_TOKEN="gh"), WEB) == ("podbuild", "gh")
    assert found(keyring(PODBUILD_X_TOKEN="gh"), WEB, "x") == ("podbuild", "gh")


def test_a_token_without_its_user_is_named() -> None:
    with pytest.raises(CredentialError, match="DOCKERHUB_TOKEN is set, but DOCKERHUB_USERNAME"):
        keyring(DOCKERHUB_TOKEN="hub").find(HUB)


def test_an_empty_secret_is_named() -> None:
    with pytest.raises(CredentialError, match="PODBUILD_EXAMPLE_TOKEN is set but empty"):
        keyring(PODBUILD_EXAMPLE_USERNAME="ann", PODBUILD_EXAMPLE_TOKEN="").find(OTHER, "example")
    with pytest.raises(CredentialError, match="GITHUB_TOKEN is set but empty"):
        keyring(GITHUB_TOKEN=" ").find(WEB)


def test_an_empty_secret_does_not_hide_a_login_of_podman(write: Writer) -> None:
    file = write("auth.json", auths={"docker.io": auth("ann", "file")})
    ring = keyring(DOCKERHUB_USERNAME="", DOCKERHUB_TOKEN="", REGISTRY_AUTH_FILE=str(file))
    assert found(ring, HUB) == ("ann", "file")


def test_the_most_specific_key_wins(write: Writer) -> None:
    file = write(
        "auth.json",
        auths={
            "ghcr.io": auth("host", "1"),
            "ghcr.io/acme": auth("group", "2"),
            "ghcr.io/acme/web": auth("repository", "3"),
            "ghcr.io/acme/we": auth("wrong", "4"),
        },
    )
    ring = keyring(REGISTRY_AUTH_FILE=str(file))
    assert found(ring, WEB) == ("repository", "3")
    assert found(ring, Repository("ghcr.io", "acme/api")) == ("group", "2")
    assert found(ring, Repository("ghcr.io", "else/api")) == ("host", "1")


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "http://docker.io"]
)
def test_docker_hubs_keys_are_one_host(write: Writer, key: str) -> None:
    file = write("config.json", auths={key: auth("ann", "s:e:c")})
    assert found(keyring(DOCKER_CONFIG=str(file.parent)), HUB) == ("ann", "s:e:c")


def test_a_namespace_key_is_no_login_for_the_whole_host(write: Writer) -> None:
    file = write("auth.json", auths={"ghcr.io/other": auth("ann", "secret")})
    assert found(keyring(REGISTRY_AUTH_FILE=str(file)), WEB) is None


def test_files_are_asked_in_the_order_of_podman(tmp_path: Path, write: Writer) -> None:
    places = {
        "run/containers/auth.json": ("runtime", "1"),
        "config/containers/auth.json": ("config", "2"),
        "home/.docker/config.json": ("docker", "3"),
    }
    for place, login in places.items():
        write(place, auths={"ghcr.io": auth(*login)})
    write("home/.dockercfg", **{"https://ghcr.io/v1/": auth("old", "4")})
    ring = keyring(
        XDG_RUNTIME_DIR=str(tmp_path / "run"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
        HOME=str(tmp_path / "home"),
    )
    for place, login in places.items():
        assert found(ring, WEB) == login
        (tmp_path / place).unlink()
    assert found(ring, WEB) == ("old", "4")


def test_docker_config_hides_the_other_files(tmp_path: Path, write: Writer) -> None:
    write("run/containers/auth.json", auths={"ghcr.io": auth("ann", "1")})
    ring = keyring(DOCKER_CONFIG=str(tmp_path / "none"), XDG_RUNTIME_DIR=str(tmp_path / "run"))
    assert found(ring, WEB) is None


def test_a_named_auth_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="REGISTRY_AUTH_FILE names"):
        keyring(REGISTRY_AUTH_FILE=str(tmp_path / "none.json")).find(WEB)


@pytest.mark.parametrize("text", ["{", "[]", '{"auths":{"ghcr.io":{"auth":"!!"}}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text(text)
    with pytest.raises(CredentialError, match=str(file)):
        keyring(REGISTRY_AUTH_FILE=str(file)).find(WEB)


def test_an_empty_file_is_no_login(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text("")
    assert keyring(REGISTRY_AUTH_FILE=str(file)).find(WEB) is None


def test_an_identity_token_is_told_apart(write: Writer) -> None:
    file = write("auth.json", auths={"ghcr.io": {**auth("ann", ""), "identitytoken": "idt"}})
    credential = keyring(REGISTRY_AUTH_FILE=str(file)).find(WEB)
    assert credential is not None
    assert (credential.kind, credential.secret) == (CredentialKind.IDENTITY_TOKEN, "idt")


def test_a_missing_helper_is_named(write: Writer) -> None:
    file = write("auth.json", credHelpers={"ghcr.io": "vault"})
    with pytest.raises(CredentialError, match="docker-credential-vault"):
        keyring(REGISTRY_AUTH_FILE=str(file)).find(WEB)


def test_a_secret_never_shows() -> None:
    ring = keyring(GITHUB_TOKEN="very-secret")
    credential = ring.find(WEB)
    assert "very-secret" not in repr(credential) + repr(ring)
    assert credential is not None
    assert "GITHUB_TOKEN" in repr(credential)


def test_the_engine_gets_the_logins_of_its_bases_alone(write: Writer) -> None:
    file = write(
        "auth.json",
        auths={"r.example:5000": auth("ann", "1"), "unused.example": auth("bob", "2")},
        credHelpers={"ecr.example": "ecr-login"},
    )
    ring = keyring(REGISTRY_AUTH_FILE=str(file), GITHUB_TOKEN="gh")
    wanted = (WEB, OTHER, HUB, Repository("ecr.example", "base"))
    assert ring.entries(wanted) == {
        "auths": {
            "ghcr.io/acme/web": auth("podbuild", "gh"),
            "r.example:5000/acme/web": auth("ann", "1"),
        },
        "credHelpers": {"ecr.example": "ecr-login"},
    }


def test_bases_in_a_configured_registry_are_read_with_its_own_variables() -> None:
    ring = keyring(PODBUILD_PRIVATE_USERNAME="ann", PODBUILD_PRIVATE_TOKEN="own")
    assert ring.entries([OTHER, HUB], {OTHER.host: "private"}) == {
        "auths": {str(OTHER): auth("ann", "own")}
    }
    assert ring.entries([OTHER, HUB]) == {"auths": {}}


def test_basic_is_user_and_secret() -> None:
    login = Credential(username="ann", secret="pä:ss", source="here")
    assert base64.b64decode(login.basic).decode() == "ann:pä:ss"


def test_a_folder_that_belongs_to_somebody_else_holds_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as /run/containers where root has run podman; root itself may read everything."""
    closed = tmp_path / "closed"
    closed.mkdir()

    def refuse(path: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", str(path), encoding)

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != closed)
    assert read_auth_file(closed / "auth.json") is None
    with pytest.raises(CredentialError, match="can't be read"):
        read_auth_file(tmp_path / "auth.json")
