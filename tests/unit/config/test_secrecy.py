"""Secrets that a configuration would publish."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.config.load import parse_config
from podbuild.config.model import Config
from podbuild.config.secrecy import refuse_secret_arguments
from podbuild.errors import ConfigError

HEAD = '[project]\nname = "shop"\ndescription = "see {env.NPM_TOKEN}"\n'
WEB = "[images.web]\n"
# Every place that takes a text with placeholders; VARIABLE is replaced.
PLACES = {
    "repository": WEB + '[registries.a]\nrepository = "ghcr.io/{env.VARIABLE}/{image}"\n',
    "host": WEB + '[registries.a]\nrepository = "{env.VARIABLE}/a/{image}"\n',
    "path": WEB + '[registries.a]\nkind = "layout"\npath = "dist/{env.VARIABLE}"\n',
    "tags": WEB + '[tags]\nrelease = ["{version}", "x-{env.VARIABLE}"]\n',
    "branches": WEB + '[tags.branches]\nmain = ["{env.VARIABLE}"]\n',
    "own tags": WEB + 'tags = ["{version}-{env.VARIABLE}"]\n',
    "own branches": WEB + '[images.web.tags.branches]\nmain = ["{env.VARIABLE}"]\n',
    "default tags": WEB + '[defaults]\ntags = ["{version}-{env.VARIABLE}"]\n',
    "labels": WEB + 'labels = { a = "x{env.VARIABLE}" }\n',
    "default labels": WEB + '[defaults.labels]\na = "{env.VARIABLE}"\n',
    "annotations": WEB + 'annotations = { a = "{env.VARIABLE}" }\n',
    "build-args": WEB + 'build-args = { A = "{env.VARIABLE}" }\n',
    "default build-args": WEB + '[defaults]\nbuild-args = { A = "{env.VARIABLE}" }\n',
    "contexts": WEB + 'contexts = { a = "docker-image://a.b/{env.VARIABLE}" }\n',
    "cache": WEB + '[cache]\nrepository = "a.b/{env.VARIABLE}/{image}"\n',
    "escaped beside it": WEB + 'labels = { a = "{{env.A}} {env.VARIABLE}" }\n',
}
SECRET_NAMES = (
    *(
        "NPM_TOKEN",
        "TOKENS",
        "npm_token",
        "MY_SECRET",
        "SECRETS",
        "DB_PASSWORD",
        "PASSWD",
        "passwd",
    ),
    *("FTP_PASS", "GH_PAT", "gh_pat", "BASIC_AUTH", "DOCKER_AUTH_CONFIG", "SIGN_KEY", "API_KEY"),
    *("CI_JOB_JWT", "CI_JOB_JWT_V2", "SESSION_COOKIE", "SSH_PRIVATE", "TLS_PEM"),
    *("passwd", "APIKEY", "AWS_CREDENTIALS", "MYSQL_PWD", "PASS", "KEY", "Github_Token"),
)
ORDINARY_NAMES = ("PATH", "PATTERN", "KEYBOARD", "COMPASS", "PASSAGE", "OWNER", "PWD", "MONKEY")
VALUE = "kN8x-2fQz-77Lm-w0Pd"


def read(text: str, environment: Mapping[str, str], *logins: str) -> Config:
    return parse_config(HEAD + text, Path("/p/podbuild.toml"), environment, lambda: logins)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["NPM_TOKEN", "GITHUB_TOKEN", "gh_pat"])
def test_variable_with_a_secret_s_name_is_refused_everywhere(place: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is a secret and would be readable") as caught:
        read(PLACES[place].replace("VARIABLE", name), {name: "x"})
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("/p/podbuild.toml:")


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is a secret"):
        read(PLACES["labels"].replace("VARIABLE", name), {})


@pytest.mark.parametrize("place", [each for each in PLACES if each != "host"])
@pytest.mark.parametrize("name", ORDINARY_NAMES)
def test_other_names_are_taken(place: str, name: str) -> None:
    read(PLACES[place].replace("VARIABLE", name), {name: "x"})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value",
    [VALUE, f"user:{VALUE}@host", base64.b64encode(f"u:{VALUE}".encode()).decode(), "hunter"],
)
def test_variable_whose_value_is_secret_is_refused(place: str, value: str) -> None:
    environment = {"PLAIN": value, "CI_JOB_TOKEN": VALUE, "DB_PASSWORD": "hunter\n"}
    with pytest.raises(ConfigError, match="PLAIN is a secret"):
        read(PLACES[place].replace("VARIABLE", "PLAIN"), environment)


@pytest.mark.parametrize(
    "value",
    [
        f"ghp_{'aB3d' * 9}",
        f"github_pat_{'aB3d' * 9}",
        f"glpat-{'aB3d' * 5}",
        f"dckr_pat_{'aB3d' * 7}",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
    ],
)
def test_variable_with_the_form_of_a_token_is_refused_whatever_its_name(value: str) -> None:
    with pytest.raises(ConfigError, match="SIGNING is a secret"):
        read(PLACES["labels"].replace("VARIABLE", "SIGNING"), {"SIGNING": value})


@pytest.mark.parametrize("place", PLACES)
def test_variable_of_a_build_secret_or_a_login_is_refused(place: str) -> None:
    text = PLACES[place].replace("VARIABLE", "PLAIN")
    other = "[images.other]\nsecrets = [{ id = 'a', env = 'PLAIN' }]\n"
    with pytest.raises(ConfigError, match="PLAIN is a secret"):
        read(text + other, {})
    with pytest.raises(ConfigError, match="PLAIN is a secret"):
        read(text, {"PLAIN": VALUE}, VALUE)


def test_secret_that_was_pasted_into_the_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r":5: images\.web\.labels\.a: a secret stands here"):
        read(WEB + f'labels = {{ a = "x{VALUE}" }}\n', {"CI_JOB_TOKEN": VALUE})


def test_short_passwords_and_names_of_people_make_nothing_secret() -> None:
    environment = {"DB_PASSWORD": "example", "GIT_AUTHOR_NAME": "alice", "ACTOR": "alice"}
    read(PLACES["host"].replace("VARIABLE", "HOST"), {**environment, "HOST": "a.example.com"})
    read(PLACES["labels"].replace("VARIABLE", "ACTOR"), environment)
    read(WEB + 'build-args = { DB = "example" }\n', environment)


def test_secret_as_a_build_argument_of_the_command_line_is_refused() -> None:
    config = read(WEB, {})
    with pytest.raises(ConfigError, match="--build-arg A"):
        refuse_secret_arguments(config, {"NPM_TOKEN": VALUE}, {"A": f"x{VALUE}"})
    refuse_secret_arguments(config, {"NPM_TOKEN": VALUE}, {"A": "b"})


@pytest.mark.parametrize("words", [["check"], ["plan", "v1.0.0", "--offline"], ["prune"]])
def test_login_in_a_file_is_known_by_every_command(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    login = base64.b64encode(f"ann:{VALUE}".encode()).decode()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": login}}}))
    (tmp_path / "podbuild.toml").write_text(HEAD + PLACES["tags"].replace("VARIABLE", "PLAIN"))
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("PLAIN", VALUE)
    assert main([*words, "-C", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "tags.release[1]: PLAIN is a secret" in error
    assert "hint: " in error
    assert VALUE not in error
