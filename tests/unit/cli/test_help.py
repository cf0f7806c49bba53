from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import podbuild.cli
from podbuild.cli import COMMANDS, cli
from podbuild.cli.options import _COMMON
from podbuild.cli.session import read_platforms
from podbuild.errors import EXIT_CODES

WRITTEN = [name for name in COMMANDS if importlib.util.find_spec(f"podbuild.cli.{name}")]


def leaves(name: str) -> Iterator[tuple[str, click.Command]]:
    """Give a command, or the commands below it."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    inner = command.commands if isinstance(command, click.Group) else {}
    yield from ((f"{name} {below}", inner[below]) for below in inner)
    if not inner:
        yield name, command


LEAVES = dict(found for name in WRITTEN for found in leaves(name))


def help_of(name: str) -> str:
    result = CliRunner().invoke(cli, [*name.split(), "--help"], prog_name="podbuild")
    assert result.exit_code == 0, result.output
    return result.output


def test_help_lists_every_command_and_exit_code() -> None:
    text = CliRunner().invoke(cli, ["--help"], prog_name="podbuild").output
    assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in COMMANDS)
    assert all(re.search(rf"^ +{code} ", text, re.MULTILINE) for code in EXIT_CODES)


@pytest.mark.parametrize("name", ["", "toolchain"])
def test_a_list_of_commands_cuts_no_line_off(name: str) -> None:
    lines = help_of(name).partition("Commands:")[2].splitlines()
    assert [line for line in lines if line.endswith("...")] == []


@pytest.mark.parametrize("name", [*LEAVES, *WRITTEN])
def test_every_help_shows_an_example(name: str) -> None:
    text = help_of(name)
    examples = text.partition("Example")[2]
    assert f"podbuild {name}" in examples


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_the_common_options(name: str) -> None:
    names = {each for option in LEAVES[name].params for each in option.opts}
    assert {"--file", "-f", "-C", "-q", "-v", "--json", "--no-progress", "--allow-outside"} <= names
    assert len(_COMMON) == 6


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_an_environment_variable_of_its_name(name: str) -> None:
    for option in LEAVES[name].params:
        if isinstance(option, click.Option) and option.name != "help":
            long = next(each for each in option.opts if each.startswith("--"))
            assert option.envvar == "PODBUILD_" + long[2:].replace("-", "_").upper()


def test_one_variable_means_the_same_for_every_command() -> None:
    """A variable that is a flag here and takes a value there would break one of the two."""
    kinds: dict[str, set[tuple[bool, bool]]] = {}
    for command in LEAVES.values():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(option.envvar, str):
                kinds.setdefault(option.envvar, set()).add((option.is_flag, option.multiple))
    assert {variable: kind for variable, kind in kinds.items() if len(kind) > 1} == {}


def test_unknown_command_names_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["relase"], prog_name="podbuild")
    assert result.exit_code == 2
    assert "did you mean 'release'?" in result.output


def test_platforms_may_stand_in_one_option_with_commas() -> None:
    read = read_platforms(["linux/amd64,linux/arm64", "linux/amd64"])
    assert [str(each) for each in read] == ["linux/amd64", "linux/arm64"]


# What commands may load before they are called: --help and completion wait for it.
LIGHT = (
    "podbuild.__version__",
    "podbuild.cli",
    "podbuild.errors",
    "podbuild.semver",
    "podbuild.system.console",
    "podbuild.system.later",
)
HOME = Path(podbuild.cli.__file__).parent


def loads(module: str, names: list[str]) -> Iterator[str]:
    """Give what an import loads at once; a package's modules come late (system/later.py)."""
    package = HOME.parents[1] / module.replace(".", "/")
    late = package.is_dir() and "late_modules" in (package / "__init__.py").read_text()
    for name in names:
        if not (late and ((package / f"{name}.py").exists() or (package / name).is_dir())):
            yield f"{module}.{name}"


@pytest.mark.parametrize("path", sorted(HOME.glob("*.py")), ids=lambda path: path.stem)
def test_a_command_loads_little_before_it_is_called(path: Path) -> None:
    found = {
        each
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("podbuild")
        for each in loads(node.module or "", [alias.name for alias in node.names])
    }
    assert not [each for each in found if not each.startswith(LIGHT)]


def test_options_load_no_more_than_click() -> None:
    tree = ast.parse((Path(podbuild.cli.__file__).parent / "options.py").read_text())
    loaded = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {each for each in loaded if each and each.startswith("podbuild")}
