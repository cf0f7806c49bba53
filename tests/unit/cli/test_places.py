"""What --from takes, on the command line and in its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.cli.options import Place
from podbuild.cli.session import read_request

ONE, TWO = "oci:ghcr.io/acme/x:7-linux-amd64", "oci:127.0.0.1:5000/acme/x:7-linux-arm64"


@pytest.mark.parametrize(
    ("variable", "places"),
    [
        ("a:b c", ["a", "b c"]),
        ("legs/amd64", ["legs/amd64"]),
        (f"{ONE} {TWO}", [ONE, TWO]),
        (f" {ONE}\n legs/arm64 ", [ONE, "legs/arm64"]),
    ],
)
def test_a_variable_lists_folders_with_colons_and_references_with_spaces(
    variable: str, places: list[str]
) -> None:
    assert Place().split_envvar_value(variable) == places


def test_folders_are_those_of_the_command_and_references_stay(tmp_path: Path) -> None:
    request = read_request({"handed_over": ["legs/a", ONE]}, tmp_path)
    assert [*map(str, request.handed_over)] == [f"{tmp_path}/legs/a", ONE.removeprefix("oci:")]
