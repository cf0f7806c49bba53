"""The pages that people follow: their configurations are valid, their commands exist as written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from podbuild.cli import cli
from podbuild.config.load import parse_config

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    "tutorial.md",
    "how-to.md",
    "migration.md",
    "following.md",
    "metadata-action.md",
    "operating.md",
)
HEAD = '[project]\nname = "shop"\n\n'
IMAGES = '\n[images.web]\ncontainerfile = "Containerfile"\n'


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for name in PAGES:
        text = (DOCS / name).read_text()
        for found in re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL):
            yield f"{name}:{text.count(chr(10), 0, found.start()) + 1}", found[1]


def commands() -> Iterator[tuple[str, str]]:
    """Give each command of podbuild: those to type, and those within sentences."""
    for place, block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("$ podbuild "):
                yield place, line.removeprefix("$ podbuild ").partition("#")[0].strip()
    for name in PAGES:
        for found in re.finditer(r"`podbuild ([a-z][^`]*)`", (DOCS / name).read_text()):
            if not re.search(r"[A-Z]{3}", found[1]):  # FILE and the like stand for something
                yield name, " ".join(found[1].split())


@pytest.mark.parametrize(("place", "block"), tuple(blocks("toml")), ids=lambda each: each[:40])
def test_every_configuration_is_valid(tmp_path: Path, place: str, block: str) -> None:
    text = block if block.startswith("[project]") else HEAD + block
    text = text if "\n[images." in text else text + IMAGES
    (tmp_path / "ca.pem").touch()
    assert parse_config(text, tmp_path / "podbuild.toml", {}).images, place


@pytest.mark.parametrize(("place", "line"), tuple(dict.fromkeys(commands())), ids=str)
def test_every_command_exists_as_it_is_written(place: str, line: str) -> None:
    words = shlex.split(line)
    here: click.Command = cli
    context = click.Context(cli, info_name="podbuild")
    while isinstance(here, click.Group):
        parser = here.make_parser(context)
        _, words, _ = parser.parse_args(args=list(words))
        assert words, f"{place}: {line}"
        name, found, words = here.resolve_command(context, list(words))
        assert found is not None
        here, context = found, click.Context(found, info_name=name, parent=context)
    complete = len(line.split()) > 1 or not any(
        isinstance(each, click.Argument) and each.required for each in here.params
    )
    if complete and line.rsplit(maxsplit=1)[-1] != "--from":
        here.make_context(str(here.name), words, parent=context.parent)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (DOCS / name).read_text())
    assert [link for link in links if not (DOCS / link).exists()] == []
