"""How lines become instructions: as BuildKit's parser does it, character by character."""

from __future__ import annotations

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.instructions import read_instructions, substitute
from podbuild.build.inputs.lexer import LexError
from podbuild.errors import ConfigError


def words_of(text: str) -> list[str]:
    return [found.word for found in read_containerfile(text).instructions]


@pytest.mark.parametrize(
    "opening",
    [
        *("<<EOF", "<< EOF", "<<\tEOF", "<<  'EOF'", '<< "EOF"', "5<<EOF", "<<\\EOF", "<<E''OF"),
        *("<<-EOF", "a b 'c d' <<EOF", "$X ${Y:-z} <<EOF", "x\\<<EOF\\ y <<EOF", "[ -f x ] <<EOF"),
    ],
)
def test_a_heredoc_of_run_holds_no_instruction(opening: str) -> None:
    text = f"FROM a\nRUN cat {opening} > /x\nFROM users\nRUN b\nEOF\nUSER x\n"
    assert words_of(text) == ["RUN", "USER"]


@pytest.mark.parametrize(
    "text",
    [
        *("RUN cat <<<EOF", "RUN echo $((1<<2))", 'RUN echo "<<EOF"', "RUN echo '<<EOF'"),
        *("RUN echo a<<EOF", 'RUN ["cat", "<<EOF"]', "ENV X <<EOF", "CMD cat <<EOF", "RUN <<"),
        *("LABEL a=<<EOF", "RUN echo \\<<EOF", "RUN echo it's 1<<2"),
    ],
)
def test_what_opens_no_heredoc(text: str) -> None:
    assert words_of(f"FROM a\n{text}\nUSER x\n")[-1] == "USER"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN cat <<- EOF", "no heredoc is read after `<<- `"),
        ("COPY << EOF /x", "COPY takes no heredoc with a blank after <<"),
        ("ADD << EOF /x", "ADD takes no heredoc with a blank after <<"),
        ("RUN echo it's <<EOF", "no heredoc can be read in this line: a ' has no partner"),
        ("RUN echo ${X^^} <<EOF", r"no heredoc can be read in this line: no operator \^"),
    ],
)
def test_a_text_that_builders_would_take_for_instructions_is_refused(
    text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"Containerfile:2: {message}"):
        read_containerfile(f"FROM a\n{text}\nFROM users\nEOF\n")


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\r", "\x1c", "\x1e"])
def test_only_a_line_feed_ends_a_line(sign: str) -> None:
    text = f"FROM a\nRUN <<EOF\none{sign}FROM users{sign}\nEOF\nENV A=b{sign}c\nUSER x\n"
    run, env, user = read_containerfile(text).instructions
    assert run.heredocs[0].body == f"one{sign}FROM users{sign}\n"
    assert env.text == f"A=b{sign}c"
    assert user.line == 6


def test_lines_that_end_as_on_windows() -> None:
    text = "\ufeff# escape=`\nFROM a\nRUN x `\n # no\n\n y\nRUN <<A\nb\nA\nUSER x\n"
    run, here, user = read_containerfile(text.replace("\n", "\r\n")).instructions
    assert (run.text, user.text, user.line) == ("x  y", "x", 10)
    assert here.heredocs[0].body == "b\r\n"


def test_an_instruction_knows_its_last_line() -> None:
    text = "FROM a\nRUN x \\\n\n y\nCOPY <<A <<B /\n1\nA\n2\nB\nUSER x"
    assert [(each.line, each.last) for each in read_containerfile(text).instructions] == [
        *((2, 4), (5, 9), (10, 10))
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=x\nFROM a\n", ":1: 'x' is no escape character"),
        ("# syntax=a\n# syntax=b\nFROM a\n", ":2: a second syntax directive"),
    ],
)
def test_directives_that_builders_refuse(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_containerfile(text)


@pytest.mark.parametrize("first", ["# syntax=docker/dockerfile:1", "# check=skip=all"])
def test_escape_may_come_after_another_directive(first: str) -> None:
    assert words_of(f"{first}\n# escape=`\nFROM a\nRUN one `\n two\n") == ["RUN"]
    assert words_of(f"# unknown=x\n{first}\n# escape=`\nFROM a\nRUN one\\\n two\n") == ["RUN"]


@pytest.mark.parametrize(
    ("flags", "expected"), [("CMD --verbose x", ("--verbose",)), ("RUN -- --x y", ())]
)
def test_flags_of_any_instruction_are_told(flags: str, expected: tuple[str, ...]) -> None:
    (found,) = read_containerfile(f"FROM a\n{flags}\n").instructions
    assert found.flags == expected


# Judged by BuildKit (docker 28.5.2): FROM scratch, ARGs, LABEL v=...
EXPANDED = [
    *(("${X//\\//-}", "a-b-c.d.e"), ("${X/\\//-}", "a-b/c.d.e"), ("${X#*/}", "b/c.d.e")),
    *(("${X##*/}", "c.d.e"), ("${X%.*}", "a/b/c.d"), ("${X%%.*}", "a/b/c"), ("${X:+set}", "set")),
    *(("${E:-d}", "d"), ("${E-d}", ""), ("${N-d}", "d"), ("${N:+x}", ""), ("${N+x}", "")),
    *(("${E+x}", "x"), ("${E:+x}", ""), ("${X:?no}", "a/b/c.d.e"), ("${X//?.?/z}", "a/b/z.e")),
    *(("${N:-${X%%/*}}", "a"), ("${N:-'a b'}", "a b"), ('${N:-"$E"q}', "q"), ("\\$X", "$X")),
    *(("'$X'", "$X"), ('"$X"', "a/b/c.d.e"), ("$X$", "a/b/c.d.e$"), ("${X/b/}", "a//c.d.e")),
    *(("${X%[de]}", "a/b/c.d.e"), ("${X/c*/z}", "a/b/z"), ("${X//\\*/z}", "a/b/c.d.e")),
]


@pytest.mark.parametrize(("text", "value"), EXPANDED)
def test_parameters_expand_as_in_buildkit(text: str, value: str) -> None:
    assert substitute(text, {"X": "a/b/c.d.e", "E": ""}) == value


@pytest.mark.parametrize(
    "text", ["${", "${}", "${N:?why}", "${N?}", "${X^}", "${X/a}", "${X:-a", "'"]
)
def test_what_does_not_expand(text: str) -> None:
    with pytest.raises(LexError):
        substitute(text, {"X": "a"})


def test_checks_of_buildkit_are_not_podbuilds() -> None:
    text = "# check=skip=all;error=true\n# escape=`\nFROM base as x\n"
    escape, (found,) = read_instructions(text, where="Containerfile")
    assert (escape, found.words) == ("`", ("base", "as", "x"))


def test_a_line_that_no_builder_reads() -> None:
    text = "FROM base\nRUN {}\n"
    read_instructions(text.format("x" * 65530), where="F")
    with pytest.raises(ConfigError, match="F:2: a line of more than 65534 bytes"):
        read_instructions(text.format("x" * 65531), where="F")
