"""Secrets and agents that a RUN can't do without, before any engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.recipe import Surroundings, make_recipe
from podbuild.build.inputs.required import check_required
from podbuild.config.load import parse_config
from podbuild.errors import CredentialError
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request

LINUX = Platform("linux", "amd64")


def check(folder: Path, mount: str, configured: str = "") -> None:
    text = f'[project]\nname = "shop"\n[images.web]\nplatforms = ["{LINUX}"]\n{configured}'
    plan = make_plan(parse_config(text, folder / "podbuild.toml", {}), Request(), Commit())
    (folder / "Containerfile").write_text(f"FROM scratch\nRUN --mount=type={mount} x\n")
    around = Surroundings(build=LINUX, output=folder / "dist")
    check_required(make_recipe(plan, plan.image("web"), LINUX, around))


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("secret,id=npm,required", "the build secret 'npm' is required and not there"),
        ("secret,id=npm,required=TRUE,env=T", "the build secret 'npm' is required"),
        ("secret,target=/a/npm,required", "the build secret 'npm' is required"),
        ("secret,env=NPM,required", "the build secret 'NPM' is required"),
        ("ssh,required", "the SSH agent 'default' is required"),
        ("ssh,id=git,required=true", "the SSH agent 'git' is required"),
    ],
)
def test_what_is_required_must_be_there(tmp_path: Path, mount: str, message: str) -> None:
    with pytest.raises(CredentialError) as raised:
        check(tmp_path, mount)
    assert f"Containerfile:2: {message}" in str(raised.value)


@pytest.mark.parametrize(
    "mount", ["secret,id=npm", "secret,id=npm,required=false", "ssh", "secret,id=$X,required"]
)
def test_what_is_not_required_may_be_missing(tmp_path: Path, mount: str) -> None:
    check(tmp_path, mount)


def test_what_the_configuration_names_is_there(tmp_path: Path) -> None:
    named = 'secrets = [{ id = "npm", env = "NPM" }]\nssh = ["git=key"]\n'
    check(tmp_path, "secret,id=npm,required", named)
    check(tmp_path, "ssh,id=git,required", named)
