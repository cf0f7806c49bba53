"""Families of images from one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.errors import ConfigError
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request
from podbuild.semver import Version

FAMILY = """\
[project]
name = "php"

[defaults]
platforms = ["linux/amd64", "linux/arm64"]

[images."base-{matrix.os}"]
matrix = { os = ["debian", "alpine", "wolfi"] }
containerfile = "base/{matrix.os}.Containerfile"
publish = false

[images."{matrix.php}-{matrix.os}-{matrix.kind}"]
matrix = { php = ["8.2", "8.3", "8.4"], os = ["debian", "alpine", "wolfi"], kind = ["cli", "fpm"] }
containerfile = "Containerfile"
target = "{matrix.kind}"
contexts = { base = "image:base-{matrix.os}" }
build-args = { PHP = "{matrix.php}" }
tags = ["{version}-php{matrix.php}-{matrix.os}-{matrix.kind}"]

[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/acme/php"
"""


def test_three_by_three_by_two_in_less_than_thirty_lines(tmp_path: Path) -> None:
    assert FAMILY.count("\n") < 30
    config = parse_config(FAMILY, tmp_path / "podbuild.toml", {})
    assert len(config.images) == 3 + 18
    image = config.image("8.3-alpine-fpm")
    assert image.target == "fpm"
    assert image.inner == {"base": "base-alpine"}
    assert str(image.build_args["PHP"]) == "8.3"
    plan = make_plan(config, Request(version=Version.parse("1.2.3")), Commit(commit="c" * 40))
    assert len(plan.jobs) == 2 * 21
    tags = {str(move) for target in plan.targets for move in target.tags}
    assert len(tags) == 18
    assert "1.2.3-php8.4-wolfi-cli" in tags


def test_what_names_nothing_of_the_matrix_is_as_it_was(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\n[images."a-{matrix.n}"]\nmatrix = { n = ["1"] }\n[images.b]\n'
    config = parse_config(text, tmp_path / "podbuild.toml", {})
    assert [image.name for image in config.images] == ["a-1", "b"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[images.web]\nmatrix = { n = ["1", "2"] }', "4: images.web.matrix: several images"),
        ('[images."w-{matrix.m}"]\nmatrix = { n = ["1"] }', "4: .*there is no such axis"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = [1] }', "4: .*expected a string, not an integer"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = [] }', "4: .*expected an array with values"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = ["1", "1"] }', "4: .*a value is there twice"),
        ('[images."w-{matrix.n}"]\nmatrix = []', "4: .*expected a table of arrays"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = ["1"] }\nlayers = 3', "5: .*layers"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = ["1"] }\nlayerz = 3', "5: .*unknown key"),
        ('[images."w-{matrix.n}"]\nmatrix = { n = ["/"] }', "is not a name"),
        ('[images.a]\n[images."{matrix.n}"]\nmatrix = { n = ["a"] }', "several images would be"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, table: str, said: str) -> None:
    text = f'[project]\nname = "x"\n{table}\n'
    with pytest.raises(ConfigError) as caught:
        parse_config(text, tmp_path / "podbuild.toml", {})
    assert re.search(said, caught.value.message), caught.value.message
