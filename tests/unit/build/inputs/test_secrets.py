from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.secrets import BuildSecrets, find_secrets
from podbuild.config.load import parse_config
from podbuild.errors import CredentialError
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, PlannedImage, Request

NPM = 'secrets = [{ id = "npm", env = "NPM_TOKEN" }, { id = "key", file = "key" }]'


@pytest.fixture
def images(tmp_path: Path) -> tuple[PlannedImage, ...]:
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    text = f'[project]\nname = "shop"\n[images.web]\n{NPM}\n[images.api]\n{NPM}\n'
    config = parse_config(text, tmp_path / "podbuild.toml", {})
    return make_plan(config, Request(), Commit(branch="main")).images


def found(images: tuple[PlannedImage, ...], heard: list[str] | None = None) -> BuildSecrets:
    listener = [] if heard is None else heard
    return find_secrets(images, {"NPM_TOKEN": "s3cret"}, on_value=listener.append)


def test_values_go_into_the_environment_and_no_argument(
    images: tuple[PlannedImage, ...], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"line one\nline two\xff\n")
    heard: list[str] = []
    secrets = found(images, heard)
    wanted = images[0].image.secrets
    assert secrets.options(wanted) == {
        "npm": "env=PODBUILD_BUILD_SECRET_0",
        "key": "env=PODBUILD_BUILD_SECRET_1",
    }
    assert secrets.environment(wanted) == {
        "PODBUILD_BUILD_SECRET_0": "s3cret",
        "PODBUILD_BUILD_SECRET_1": "line one\nline two\udcff\n",
    }
    assert heard == ["s3cret", "line one\nline two\udcff\n"]
    assert "s3cret" not in repr(secrets)


@pytest.mark.parametrize("data", [b"a\0b", b"x" * 200_000], ids=["NUL", "long"])
def test_what_no_variable_can_hold_stays_in_its_file(
    images: tuple[PlannedImage, ...], tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "key").write_bytes(data)
    secrets = found(images)
    (key,) = (secret for secret in images[0].image.secrets if secret.id == "key")
    assert secrets.options([key]) == {"key": f"src={tmp_path / 'key'}"}
    assert secrets.environment([key]) == {}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "'npm' of image .*: NPM_TOKEN is not set"),
        ({"NPM_TOKEN": ""}, "NPM_TOKEN is empty"),
        ({"NPM_TOKEN": "x"}, "'key' of image .*: can't read .*key: No such file"),
    ],
)
def test_what_is_missing_is_named(
    images: tuple[PlannedImage, ...], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(CredentialError, match=message):
        find_secrets(images, environment, on_value=lambda _value: None)
