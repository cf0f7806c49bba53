"""The manual page and the shells' completions, from what the code declares.

scripts/reference.py writes them to share/, from where the wheel takes them. No command loads this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from podbuild.cli import cli
from podbuild.errors import EXIT_CODES

COMPLETIONS = {
    "bash": "bash-completion/completions/podbuild",
    "zsh": "zsh/site-functions/_podbuild",
    "fish": "fish/vendor_completions.d/podbuild.fish",
}


def manual(commands: dict[str, click.Command], shared: list[click.Option]) -> str:
    """Give podbuild(1), in the macros of man(7); no date, so that it changes with its text only."""
    return "\n".join(_lines(commands, shared)) + "\n"


def completion(shell: str) -> str:
    """Give a shell's completion script."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # the shells are click's own
    return kind(cli, {}, "podbuild", "_PODBUILD_COMPLETE").source().rstrip() + "\n"


def _lines(commands: dict[str, click.Command], shared: list[click.Option]) -> Iterator[str]:
    yield '.TH PODBUILD 1 "" "podbuild" "User Commands"'
    yield from (".SH NAME", r"podbuild \- " + _plain(_first(cli.help or "")))
    yield from (
        ".SH SYNOPSIS",
        r".B podbuild",
        ".I COMMAND",
        r"[\fIOPTION\fR]... [\fIARGUMENT\fR]...",
    )
    yield from (".SH DESCRIPTION", *_paragraphs(cli.help or ""))
    yield from (".SH OPTIONS OF EVERY COMMAND", *_options(shared))
    yield ".SH COMMANDS"
    context = click.Context(cli, info_name="podbuild")
    names = {each.name for each in shared}
    for name, command in commands.items():
        arguments = [
            each.make_metavar(context)
            for each in command.params
            if isinstance(each, click.Argument)
        ]
        yield f".SS podbuild {_plain(' '.join((name, *arguments)))}"
        yield from _paragraphs(command.help or "")
        own = [each for each in command.params if isinstance(each, click.Option)]
        yield from _options([each for each in own if each.name not in names])
        yield from _examples(command.epilog or "")
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from (".TP", f".B {code}", _plain(meaning))
    yield from (".SH FILES", ".TP", ".I podbuild.toml", "What is built and where it goes.")
    yield from (".TP", ".I dist/", "What a release leaves; see docs/outputs.md.")
    yield from (".SH ENVIRONMENT", "Every option is also a variable: PODBUILD_ and its long name.")
    yield from (".SH SEE ALSO", ".BR buildah (1),", ".BR podman (1),", ".BR skopeo (1)")


def _options(listed: list[click.Option]) -> Iterator[str]:
    for option in listed:
        spelled = ", ".join((*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
        yield from (".TP", f".B {_plain(spelled + value)}", _plain(option.help or ""))


def _examples(epilog: str) -> Iterator[str]:
    lines = [line.strip() for line in epilog.replace("\b", "").splitlines() if line.strip()]
    if lines:
        yield from (".P", "Examples:", ".nf", *(f"  {_plain(line)}" for line in lines[1:]), ".fi")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "")):
        if paragraph.strip():
            yield from (".P", _plain(" ".join(paragraph.split())))


def _first(text: str) -> str:
    return " ".join(text.split()).partition(".")[0]


def _plain(text: str) -> str:
    r"""Give text that roff shows as it is.

    >>> _plain(".a-b")
    '\\&.a\\-b'
    """
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
