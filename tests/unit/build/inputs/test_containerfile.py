from __future__ import annotations

import pytest

from podbuild.build.inputs.containerfile import Use, platform_arguments, read_containerfile
from podbuild.build.inputs.instructions import split_words, substitute, unquote
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform


def words_of(text: str) -> list[str]:
    return [found.word for found in read_containerfile(text).instructions]


def test_continuation_comments_and_blank_lines_belong_to_one_instruction() -> None:
    text = "FROM a\n# comment\nRUN one \\\n# inside\n\n   two\\\n three\nCMD x\n"
    run, cmd = read_containerfile(text).instructions
    assert (run.line, run.text) == (3, "one    two three")
    assert (cmd.line, cmd.word) == (8, "CMD")


def test_an_escaped_escape_continues_nothing() -> None:
    run, user = read_containerfile("FROM a\nRUN echo \\\\\nUSER x\n").instructions
    assert (run.word, user.word) == ("RUN", "USER")


def test_the_escape_directive_changes_the_continuation_character() -> None:
    text = "# escape=`\nFROM a\nRUN one `\n two\nRUN c:\\\nUSER x\n"
    assert words_of(text) == ["RUN", "RUN", "USER"]


def test_a_directive_after_another_comment_is_a_comment() -> None:
    assert words_of("# hello\n# escape=`\nFROM a\nRUN one \\\n two\n") == ["RUN"]


@pytest.mark.parametrize(
    ("opening", "end"),
    [
        ("<<EOF", "EOF"),
        ('<<"EOF"', "EOF"),
        ("<<'E F'", "E F"),
        ("<<-EOF", "\t\tEOF"),
        ("3<<EOF", "EOF"),
    ],
)
def test_heredoc_bodies_hold_no_instructions(opening: str, end: str) -> None:
    text = f"FROM a\nRUN cat {opening} > /x\nFROM b\n# not a comment\n\n{end}\nUSER x\n"
    found = read_containerfile(text)
    run, user = found.instructions
    assert len(found.stages) == 1
    assert run.heredocs[0].body == "FROM b\n# not a comment\n\n"
    assert (user.word, user.line) == ("USER", 7)


def test_two_heredocs_of_one_instruction_follow_each_other() -> None:
    text = "FROM a\nCOPY <<A <<B /dir/\none\nA\ntwo\nB\nUSER x\n"
    copy, _ = read_containerfile(text).instructions
    assert [(doc.name, doc.body) for doc in copy.heredocs] == [("A", "one\n"), ("B", "two\n")]


@pytest.mark.parametrize("text", ["RUN cat <<<EOF", "RUN a<<EOF", "ENV X=<<EOF", 'RUN ["<<EOF"]'])
def test_what_is_no_heredoc(text: str) -> None:
    assert words_of(f"FROM a\n{text}\nUSER x\n")[-1] == "USER"


def test_a_heredoc_without_end_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"web/Containerfile:2: the heredoc EOF has no end"):
        read_containerfile("FROM a\nRUN <<EOF\nx\n", where="web/Containerfile")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM"),
        ("ARG X=1\n", "no FROM"),
        ("RUN x\nFROM a\n", ":1: RUN before the first FROM"),
        ("FROM\n", ":1: bad FROM"),
        ("FROM a b\n", ":1: bad FROM"),
    ],
)
def test_what_is_no_containerfile(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_containerfile(text)


def outside(text: str, target: str | None = None, **arguments: str) -> list[tuple[str, str]]:
    found = read_containerfile(text).outside(arguments, target=target)
    return [(reference.text, reference.value) for reference in found]


def test_images_from_outside_are_those_that_are_no_stage() -> None:
    text = """\
FROM golang:1.25 AS build
COPY --from=docker.io/library/busybox /bin/sh /sh
FROM build AS test
FROM scratch
COPY --from=build /a /a
COPY --from=0 /b /b
RUN --mount=type=bind,from=alpine,target=/x --mount=type=cache,target=/y true
"""
    assert outside(text) == [
        ("golang:1.25", "golang:1.25"),
        ("docker.io/library/busybox", "docker.io/library/busybox"),
        ("alpine", "alpine"),
    ]


def test_a_stage_that_the_target_does_not_need_asks_for_nothing() -> None:
    text = "FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=one / /\n"
    assert outside(text) == [("a", "a"), ("c", "c")]
    assert outside(text, target="two") == [("b", "b")]


def test_a_later_stage_is_no_base() -> None:
    assert outside("FROM b AS a\nFROM a AS b\n") == [("b", "b")]


def test_arguments_before_from_are_put_in() -> None:
    text = (
        'ARG SUITE="trixie"\nARG BASE=debian:${SUITE}-slim\nFROM ${BASE}\nCOPY --from=x$SUITE / /\n'
    )
    assert outside(text) == [("${BASE}", "debian:trixie-slim"), ("x$SUITE", "x")]
    assert outside(text, SUITE="sid")[0] == ("${BASE}", "debian:sid-slim")
    assert outside(text, BASE="alpine")[0] == ("${BASE}", "alpine")


def test_arguments_of_a_stage_take_the_outer_default() -> None:
    text = "ARG V=1\nFROM a\nARG V\nCOPY --from=tool:$V / /\n"
    assert outside(text)[1] == ("tool:$V", "tool:1")
    assert outside(text, V="2")[1] == ("tool:$V", "tool:2")


def test_the_platform_of_from_is_told_with_its_value() -> None:
    text = "FROM --platform=$BUILDPLATFORM golang AS build\nFROM debian\nCOPY --from=build / /\n"
    amd64, arm64 = Platform("linux", "amd64"), Platform("linux", "arm64")
    found = read_containerfile(text).outside(platform_arguments(arm64, amd64))
    assert [(reference.platform, reference.use) for reference in found] == [
        ("linux/amd64", Use.FROM),
        (None, Use.FROM),
    ]


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("ADD https://example.com/x.tar /x", True),
        ("ADD --checksum=sha256:00 https://example.com/x.tar /x", False),
        ("ADD https://github.com/a/b.git /src", True),
        ("ADD https://github.com/a/b.git#v1.0 /src", True),
        ("ADD https://github.com/a/b.git#" + "0a" * 20 + " /src", False),
        ("ADD git@github.com:a/b.git /src", True),
        ("ADD ./local.tar /x", False),
        ('ADD ["https://example.com/x y", "/x"]', True),
        ("COPY https://example.com/x /x", False),
        ("ARG U=https://example.com\nADD $U/x /x", True),
        ("ENV U=https://example.com\nFROM b\nADD $U/x /x", True),
        ("ADD $URL_OF_THE_BASE /x", True),
        ("ADD ${URL_OF_THE_BASE:-x.tar} /x", True),
        ("ADD x-$VERSION_OF_THE_BASE.tar /x", False),
        ("ARG FILE\nADD $FILE /x", False),
        ("ONBUILD ADD https://example.com/x.tar /x", True),
        ("ONBUILD ADD x.tar /x", False),
    ],
)
def test_add_that_may_change_from_day_to_day(line: str, changes: bool) -> None:
    assert bool(read_containerfile(f"FROM a AS b\n{line}\n").unpinned({"FILE": "x"})) is changes


@pytest.mark.parametrize(
    ("mount", "shows"),
    [
        ("type=bind,target=/x", True),
        ("source=d,target=/x", True),
        ("type=bind,from=a,target=/x", False),
        ("type=cache,target=/x", False),
        ("type=secret,id=x", False),
    ],
)
def test_a_mount_that_shows_the_context_itself(mount: str, shows: bool) -> None:
    read = read_containerfile(f"FROM a\nRUN --mount={mount} true\nFROM b AS other\n")
    assert read.mounts_context("0", {}) is shows
    assert not read.mounts_context("other", {})


def test_env_of_the_stages_below_is_known() -> None:
    text = (
        "FROM a AS b\nARG V=1\nENV U=https://example.com F=x.tar\n"
        "FROM b AS c\nFROM c\nADD $F /x\nADD --checksum=sha256:00 $U /y\nADD $V /z\n"
    )
    assert read_containerfile(text).unpinned({}) == ()


def test_an_unknown_target_names_the_stages() -> None:
    with pytest.raises(ConfigError, match="no stage 'prod'") as raised:
        read_containerfile("FROM a AS dev\n", where="web.Containerfile").needed("prod", {})
    assert (raised.value.message, raised.value.hint) == (
        "web.Containerfile: no stage 'prod'",
        "stages: dev",
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"),
        ("${A}x", "1x"),
        ("${B:-two}", "two"),
        ("${E:-two}", "two"),
        ("${E-two}", ""),
        ("${A:+yes}", "yes"),
        ("${B:+yes}", ""),
        ("${B:-${A}}", "1"),
        ("debian:${V%.*}", "debian:1.2"),
        ("${V%%.*}", "1"),
        ("${V#*.}", "2.3-slim"),
        ("${V##*-}", "slim"),
        ("${V/-slim/}", "1.2.3"),
        ("${V//./-}", "1-2-3-slim"),
        ("${V%x}", "1.2.3-slim"),
        ("${B%x}", ""),
        (r"\$A", "$A"),
        ("'$A'", "$A"),
        ('"$A b"', "1 b"),
    ],
)
def test_substitution(text: str, value: str) -> None:
    assert substitute(text, {"A": "1", "E": "", "V": "1.2.3-slim"}) == value


def test_words_and_quotes() -> None:
    assert split_words("a 'b c'\"d e\" f\\ g") == ("a", "'b c'\"d e\"", "f\\ g")
    assert unquote("'b c'\"d $e\"f\\ g") == "b cd $ef g"


def test_tabs_separate_the_word_from_its_text() -> None:
    assert next(iter(read_containerfile("FROM\ta\nrun\ttrue x\n").instructions)).text == "true x"


def test_healthcheck_and_flags_are_told() -> None:
    (check,) = read_containerfile("FROM a\nHEALTHCHECK --interval=1s CMD true\n").instructions
    assert (check.word, check.flag("interval"), check.text) == ("HEALTHCHECK", "1s", "CMD true")


def test_a_stage_is_named_by_its_number() -> None:
    assert outside("FROM a\nFROM 0\nFROM 1\nCOPY --from=0 / /\n") == [("a", "a")]
    parsed = read_containerfile("FROM a\nFROM b\n")
    assert parsed.needed("0", {}) == parsed.stages[:1]


def test_a_stage_may_have_its_base_s_name() -> None:
    assert outside("FROM a AS Base\nFROM base AS base\nFROM BASE\n") == [("a", "a")]


@pytest.mark.parametrize(
    ("lines", "value"),
    [("ENV X=env\nARG X", "given"), ("ARG X\nENV X=env", "env"), ("ENV X=env\nARG Y", "env")],
)
def test_of_arg_and_env_the_last_holds(lines: str, value: str) -> None:
    assert outside(f"FROM a\n{lines}\nCOPY --from=$X / /\n", X="given")[-1] == ("$X", value)


def test_names_of_images_may_hold_variables() -> None:
    text = "FROM scratch AS one\nFROM scratch\nARG X=one\nCOPY --from=$X / /\n"
    text += "RUN --mount=from=$X,target=/x y\n"
    parsed = read_containerfile(text)
    assert [each.name for each in parsed.needed(None, {})] == ["one", None]
    assert [each.value for each in parsed.uses(parsed.stages[1], {})] == ["scratch", "one", "one"]
