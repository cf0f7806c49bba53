"""Words that BuildKit can't read are refused wherever it puts values in, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.build.inputs.worded import unread_words
from podbuild.errors import ConfigError

NONE: Mapping[str, str] = {}
# Of envVarTest in moby/buildkit's frontend/dockerfile/shell.
UNREAD = (
    "he'llo",
    '"hello\\"',
    "${}",
    "he${.}",
    "he${X:YYY}",
    "he${X:=0}",
    "${{a}",
    "${a:-b",
    "${:}",
)


def unread(text: str, arguments: Mapping[str, str] = NONE, *, lenient: bool = False) -> list[str]:
    found = unread_words(read_containerfile(text), None, arguments, lenient=lenient)
    return [str(each.error) for each in found]


@pytest.mark.parametrize("word", UNREAD)
@pytest.mark.parametrize(
    "line",
    [
        *(
            "ENV a=WORD",
            "ENV a WORD",
            "LABEL a=b WORD=c",
            "ARG a=WORD",
            "COPY WORD /",
            "COPY a WORD",
        ),
        *("ADD --checksum=WORD https://x.y/z /", "COPY --chown=WORD a /", "COPY --chmod=WORD a /"),
        *("EXPOSE WORD", "USER WORD", "WORKDIR WORD", "STOPSIGNAL WORD", "VOLUME WORD"),
        *("RUN --mount=type=cache,target=WORD x", "COPY --exclude=WORD a /", "ARG WORD"),
    ],
)
def test_a_word_that_can_t_be_read_is_refused_by_its_line(line: str, word: str) -> None:
    # a mistake in what an argument or a variable is set to is found where its value is needed
    try:
        (message, *_) = unread(f"FROM base\n\n{line.replace('WORD', word)}\n")
    except ConfigError as error:
        message = str(error)
    assert message.startswith("Containerfile:3: ")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "RUN echo ${X^^} 'it",
            "CMD ${",
            "ENTRYPOINT it's",
            "ONBUILD ENV a=${}",
            "MAINTAINER it's",
        ),
        *('SHELL ["${"]', "HEALTHCHECK CMD it's", "COPY <<'EOF' /x\n${}\nEOF", "ENV A=${NONE:-it}"),
        *("COPY --chown=${U:-}:${G-} a /", 'RUN --mount=type=cache,target="/a b" x'),
    ],
)
def test_what_builders_leave_to_others_is_not_read(line: str) -> None:
    assert unread(f"FROM base\n{line}\n") == []


def test_quotes_hold_no_words_together_where_buildkit_splits_at_blanks() -> None:
    assert unread('FROM base\nCOPY "a b" /\n') == ['Containerfile:2: "a: a " has no partner']
    assert unread('FROM base\nCOPY ["a b", "/"]\nENV A="a b"\n') == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("FROM base\nENV A=${NONE:?}\n", []),  # the base may have it
        ("FROM scratch\nENV A=${NONE:?}\n", [2]),
        ("FROM scratch\nENV A=${PATH:?}\n", []),
        ("FROM base\nENV A=\nENV C=${A?}\nLABEL B=${A:?}\n", [4]),
        ("FROM scratch AS x\nENV V=1\nFROM x\nENV B=${V:?} C=${W?}\n", [4]),
        ("ARG V=${NONE:?}\nFROM base\n", [1]),
        ("ARG V\nFROM base:${V:?which}\n", [2]),
        ("ARG GIVEN\nFROM base:${GIVEN:?}\n", []),
        ("FROM scratch\nARG GIVEN=${NONE:?}\nARG A=1 B=${A:?} C=${D:?}\n", [3]),
        ("FROM scratch AS unneeded\nENV A=${NONE:?}\nFROM base\n", []),
        ("FROM scratch\nRUN --mount=type=${T:?},target=/x y\n", [2]),
    ],
)
def test_a_variable_that_must_be_there(text: str, lines: list[int]) -> None:
    found = unread(text, {"GIVEN": "1"})
    assert [int(each.split(":")[1]) for each in found] == lines


def test_build_arguments_that_are_not_known_may_be_there() -> None:
    assert unread("ARG V\nFROM base:${V:?which}\n", lenient=True) == []


def test_what_the_base_lacks_is_refused_before_the_engine_starts() -> None:
    text = "FROM base\nWORKDIR /x/${WHERE:?say where}\n"
    parsed = read_containerfile(text)
    known = replace(parsed, environments={0: {"WHERE": "there"}})
    assert "WORKDIR /x/there" in rewrite_containerfile(known, text, target=None, variables={}).text
    with pytest.raises(ConfigError, match=r"Containerfile:2: /x/.*: WHERE: say where"):
        rewrite_containerfile(
            replace(parsed, environments={0: {}}), text, target=None, variables={}
        )


def test_mounts_have_the_values_of_variables() -> None:
    text = (
        "FROM base\nARG TYPE=cache ID\nENV PLACE='/a b'\n"
        "RUN --mount=type=$TYPE,id=${ID:-x},target=$PLACE,sharing=$BASE,uid=$NONE y\n"
    )
    parsed = replace(read_containerfile(text), environments={0: {"BASE": "locked"}})
    written = rewrite_containerfile(parsed, text, target=None, variables={}).text.splitlines()[-1]
    assert written == 'RUN --mount="type=cache,id=x,target=/a b,sharing=locked,uid=" y'
    (*_, (run, _)) = parsed.walk(parsed.stages[0], {})
    assert run.mounts[0]["sharing"] == "locked"
    assert run.mounts[0]["uid"] == "$NONE"


def test_an_empty_flag_says_nothing_to_the_engine() -> None:
    text = "FROM base\nCOPY --from= --chown= --link --chmod= a /b\nADD --checksum= a /c\n"
    written = rewrite_containerfile(read_containerfile(text), text, target=None, variables={}).text
    assert written.splitlines()[1:] == ["COPY --link a /b", "ADD a /c"]
