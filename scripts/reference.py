"""Write docs/reference.md, docs/outputs.md, schemas and share/ from what the code declares.

The pipelines in README.md and docs/ci.md are those of the configuration in README.md.

A test compares them, so run this after changing an option, a key or an exit code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

from podbuild.cli import COMMANDS, cli
from podbuild.cli.manual import COMPLETIONS, completion, manual
from podbuild.commands.ci import pipeline_text
from podbuild.commands.pipeline.model import CiSystem
from podbuild.config.document import json_schema, reference
from podbuild.config.load import parse_config
from podbuild.errors import EXIT_CODES
from podbuild.report.contract import page, promised

DOCS = Path(__file__).parents[1] / "docs"
SHARE = DOCS.parent / "share"
README = DOCS.parent / "README.md"


def files() -> dict[Path, str]:
    """Give the generated files."""
    return {
        DOCS / "reference.md": "\n".join(lines()) + "\n",
        DOCS / "podbuild.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        DOCS / "outputs.md": page(),
        **shared_files(),
        **{
            DOCS / "schemas" / f"{each.name}.schema.json": json.dumps(each.schema(), indent=2)
            + "\n"
            for each in promised()
        },
        **{path: with_pipelines(path.read_text()) for path in (README, DOCS / "ci.md")},
    }


def shared_files() -> dict[Path, str]:
    """Give the manual page and the completions, which the wheel installs."""
    commands = dict(all_commands(click.Context(cli, info_name="podbuild")))
    return {
        SHARE / "man/man1/podbuild.1": manual(commands, common_options(commands)),
        **{SHARE / place: completion(shell) for shell, place in COMPLETIONS.items()},
    }


def with_pipelines(document: str) -> str:
    """Give a document with the pipelines that its comments ask for, without what they record."""
    block = re.search(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None  # noqa: S101  # a test watches it
    config = parse_config(block[1], Path("/project/podbuild.toml"), {})

    def written(found: re.Match[str]) -> str:
        text = pipeline_text(config, CiSystem(found[2])).split("\n", 3)[3]
        return f"{found[1]}```yaml\n{text}```"

    asked = r"(<!-- podbuild ci print (\w+) -->\n)```yaml\n.*?```"
    return re.sub(asked, written, document, flags=re.DOTALL)


def lines() -> Iterator[str]:
    """Give the reference: commands, exit codes, configuration."""
    yield from ("# Reference", "", "Written by `scripts/reference.py`; don't edit.", "")
    yield from ("## Commands", "", "Every command has:", "")
    context = click.Context(cli, info_name="podbuild")
    commands = dict(all_commands(context))
    shared = common_options(commands)
    yield from table(shared)
    for name, command in commands.items():
        yield from (f"### `{usage(name, command, context)}`", "", text(command.help or ""), "")
        own = [option for option in options(command) if option.name not in names(shared)]
        yield from table(own)
    yield from ("## Exit codes", "", "| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    yield from ("", "## `podbuild.toml`", "", reference().rstrip())


def all_commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Give every command by its full name, those of groups in place of the group."""
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None  # noqa: S101  # COMMANDS is what the group lists
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


def options(command: click.Command) -> list[click.Option]:
    """Give a command's options as declared."""
    return [each for each in command.params if isinstance(each, click.Option)]


def common_options(commands: dict[str, click.Command]) -> list[click.Option]:
    """Give the options that all commands have."""
    everywhere = set.intersection(*(names(options(command)) for command in commands.values()))
    return [each for each in options(commands["release"]) if each.name in everywhere]


def names(listed: list[click.Option]) -> set[str | None]:
    """Give the options' names."""
    return {each.name for each in listed}


def table(listed: list[click.Option]) -> Iterator[str]:
    """Give a table of options."""
    if not listed:
        return
    yield from ("| option | variable | meaning |", "|---|---|---|")
    for option in listed:
        spelled = ", ".join((*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
        variable = f"`{option.envvar}`" if option.envvar else ""
        cells = (f"`{spelled}{value}`", variable, text(option.help or ""))
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""


def usage(name: str, command: click.Command, context: click.Context) -> str:
    """Give a command's usage line without its options."""
    arguments = [
        each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)
    ]
    return " ".join(("podbuild", name, *arguments))


def text(help_text: str) -> str:
    """Give a help text as one paragraph per line, without click's marks."""
    paragraphs = re.split(r"\n\s*\n", help_text.replace("\b", ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def main() -> None:
    """Write the files."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
