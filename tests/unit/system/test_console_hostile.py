"""Texts from registries and tools in every place where something is printed, as runners read."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator

import pytest

from podbuild.errors import BuildError
from podbuild.system.console import Streams, Ui, Verbosity
from podbuild.system.console.look import (
    GitHubLook,
    GitLabLook,
    Look,
    Paint,
    PlainLook,
    TerminalLook,
)
from podbuild.system.console.screen import StreamScreen

HOSTILE = (
    "::add-path::/tmp/evil",
    "  \u3000::set-env name=PATH::/tmp",
    "\x1b[0m::error::x",
    "\u200b::add-mask::a",
    "\u202e::stop-commands::x",
    "ok\r::save-state name=a::b",
    "ok\n::set-output name=a::b",
    "ok\u2028::set-output name=a::b",
    "ok\x85::set-output name=a::b",
    "denied: ##[add-path]/tmp/evil",
    "denied: ###[set-env name=A;]b",
    "#\u200b#[add-path]/tmp",
    "#\x1b[0m#[add-path]/tmp",
    "x ##vso[task.prependpath]/tmp/evil",
    "x ##VSO[task.setvariable variable=a]b",
    "##teamcity[buildStatus status='SUCCESS']",
    "##[section]Starting",
    "section_start:1700000000:evil\r\x1b[0Khidden",
    "\x1b[0Ksection_end:1700000000:podbuild_1_build\r\x1b[0K",
    "travis_fold:start:evil\r\x1b[0K",
    "\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b2J\x9d0;title\x9c\x90q\x9c",
    "\x1b]1337;File=inline=1:AAAA\x07\x1b_Gf=100;AAAA\x1b\\\x1b]52;c;ZXZpbA==\x07",
    "a\x08\x08\x7fb\x1bc\x1b[?1049h",
    "user\u202egnp.exe \u2066a\u2069 \u061c \u00ad \U000e0041",
)

LOOKS: tuple[Callable[[], Look], ...] = (
    PlainLook,
    lambda: PlainLook(whole_blocks=True),
    TerminalLook,
    GitHubLook,
    lambda: GitLabLook(Paint(active=False), clock=lambda: 5.0),
)


def said(look: Look, text: str) -> tuple[str, str]:
    """Give what is printed on stdout and stderr when a text comes by all ways."""
    out, err = io.StringIO(), io.StringIO()
    ui = Ui(StreamScreen(Streams(out, err)), look, verbosity=Verbosity.VERBOSE)
    with ui.step(text), ui.job(text) as doing:
        doing(text)
    with ui.transfer(text) as transfer:
        transfer.advance(1)
    ui.info(text)
    ui.detail(text)
    ui.note(text, file=text)
    ui.warn(text, file=text, line=3)
    ui.block(text, [text, f"a {text}"])
    ui.block(text, [text], failed=True)
    ui.fail(BuildError(text, hint=text, details=[text, f"{text} b"]))
    ui.answer(f"{text}\n{text}")
    ui.answer_json({text: [text]})
    return out.getvalue(), err.getvalue()


OWN = re.compile(r"::(?:group|endgroup|notice|warning|error)\b[^\r\n]*")


def github_commands(text: str) -> Iterator[str]:
    """Give the commands that GitHub's runner would take, our own folds and annotations apart."""
    stopped = ""
    for line in re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text):
        begins = line.strip().startswith("::")
        if stopped:
            stopped = "" if line.strip() == f"::{stopped}::" else stopped
        elif line.startswith("::stop-commands::podbuild-"):
            stopped = line.removeprefix("::stop-commands::")
        elif (begins and not OWN.fullmatch(line)) or (not begins and "##[" in line):
            yield line


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_runner_and_no_terminal_obeys(look: Callable[[], Look], text: str) -> None:
    out, err = said(look(), text)
    assert not tuple(github_commands(out + err))
    if isinstance(look(), GitHubLook):  # what it shows between its stops is as it was
        err = re.sub(r"(?s)::stop-commands::(\S+)\n.*?::\1::", "", err)
    for stream in (out, err):
        assert not re.search(r"##\w*\[", stream)
        assert not re.search(r"travis_\w+:\w", stream)
        # what GitLab's runner and we mean by a section
        rest = re.sub(
            r"\x1b\[0Ksection_(?:start|end):5:podbuild_[0-9]+_[a-z0-9_.-]*"
            r"(?:\[collapsed=(?:true|false)\])?\r\x1b\[0K",
            "",
            stream,
        )
        assert not re.search(r"section_(?:start|end):\d", rest)
        left = {sign for sign in rest if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp")}
        assert left <= {"\n"}


@pytest.mark.parametrize("text", HOSTILE)
def test_json_says_what_it_was(text: str) -> None:
    out = io.StringIO()
    ui = Ui(StreamScreen(Streams(out, io.StringIO())), PlainLook())
    ui.answer_json({"a": [text, "##[x", 1]})
    assert json.loads(out.getvalue()) == {"a": [text, "##[x", 1]}


def test_what_is_no_command_stays_as_it_is() -> None:
    text = "std::vector<int> a::b C:: ## heading #[derive(Debug)] section_start of 5: \u0646\u200c"
    out = io.StringIO()
    Ui(StreamScreen(Streams(out, io.StringIO())), PlainLook()).answer(text)
    assert out.getvalue() == f"{text}\n"
