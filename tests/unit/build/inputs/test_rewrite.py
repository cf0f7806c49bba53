"""The copy of a Containerfile that the engine is given. What it means is the parity suite's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.mounted import SecretFile
from podbuild.build.inputs.rewrite import Rewritten, rewrite_containerfile
from podbuild.errors import ConfigError


def rewritten(text: str, target: str | None = None) -> Rewritten:
    return rewrite_containerfile(
        read_containerfile(text), text, target=target, variables={}, secrets=["npm"]
    )


PLAIN = """\
# syntax=docker/dockerfile:1
FROM base AS one
ARG X=${Y}
RUN --mount=type=cache,target=/c <<EOF
it's $X
EOF
COPY --from=one a \\
  b /
"""


def test_what_means_the_same_is_left_as_it_is() -> None:
    assert rewritten(PLAIN).text == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "FROM base AS Base\nRUN a \\\n b\nCOPY <<A <<B \\\n /x/\n1\nA\n2\n3\nB\nRUN c\nFROM base\n",
        "FROM base\nRUN --mount=type=secret,id=npm,env=T \\\n\n <<E\nx\nE\nRUN c\n",
        "# check=skip=all\n# escape=`\nFROM base\nENV A=\\ `\n B=c\nRUN c\n",
    ],
)
def test_instructions_stay_on_their_lines(text: str) -> None:
    copy = read_containerfile(rewritten(text).text)
    before = [each.line for each in read_containerfile(text).instructions]
    assert [each.line for each in copy.instructions] == before


@pytest.mark.parametrize(
    ("written", "copied"),
    [
        ("--parents a/b /v", "--parents a/b /v/"),
        ('--parents ["a b", "v"]', '--parents ["a b", "v/"]'),
        ("--parents a/b /v/", "--parents a/b /v/"),
        ("--parents a/b .", "--parents a/b ."),
        ("--parents=false a/b /v", "--parents=false a/b /v"),
    ],
)
def test_parents_are_copied_to_a_folder(written: str, copied: str) -> None:
    assert rewritten(f"FROM base\nCOPY {written}\n").text == f"FROM base\nCOPY {copied}\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("?branch=$B", "#refs/heads/main"),
        ("?tag=v1&subdir=a/b", "#refs/tags/v1:a/b"),
        ("?tag=refs/tags/v1", "#refs/tags/v1"),
        (f"?ref=v1&checksum={'0a' * 20}", f"#{'0a' * 20}"),
        ("?subdir=a", "#:a"),
        ("#main:a", "#main:a"),
        ("#$B", "#$B"),
        ("", ""),
    ],
)
def test_what_git_is_asked_for_is_told_as_engines_read_it(asked: str, told: str) -> None:
    text = f"FROM base\nENV B=main\nADD https://x.test/y.git{asked} https://x.test/z?a=b /o/\n"
    found = rewritten(text).text.splitlines()[-1]
    assert found == f"ADD --exclude=.git https://x.test/y.git{told} https://x.test/z?a=b /o/"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("--checksum={} https://x.test/y.git#v1 /o", "--exclude=.git https://x.test/y.git#{} /o"),
        (
            '--checksum={} "https://x.test/y.git?ref=v1&subdir=a" /o',
            "--exclude=.git https://x.test/y.git#{}:a /o",
        ),
        (
            '--link --checksum={} --keep-git-dir=false ["https://x.test/y.git", "/o p"]',
            '--link --exclude=.git ["https://x.test/y.git#{}", "/o p"]',
        ),
        ("--keep-git-dir a https://x.test/z /o/", "a https://x.test/z /o/"),
    ],
)
def test_a_commit_that_is_asked_for_is_cloned(written: str, told: str) -> None:
    commit = "0a" * 20
    found = rewritten(f"FROM base\nADD {written.format(commit)}\n").text.splitlines()[-1]
    assert found == f"ADD {told.format(commit)}"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--link --chown=7:0", "--link --chown=7:0"),
        ("--link --chown=7:0 --chmod=755", "--chown=7:0 --chmod=755"),
        ("--chmod=$M --link", "--chmod=755"),
        ("--chmod=$NONE --link", "--link"),
        ("--link=FALSE", ""),
    ],
)
def test_beside_chmod_no_copy_is_a_layer_of_its_own(flags: str, told: str) -> None:
    text = f"FROM base\nARG NONE\nARG M=755\nCOPY {flags} a /o/\n"
    assert rewritten(text).text.splitlines()[-1] == f"COPY {told} a /o/".replace("  ", " ")


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("FROM --platform= base AS a", "FROM base AS a"),
        ('FROM --platform="" base AS a', "FROM base AS a"),
        ("FROM --platform=$BUILDPLATFORM base", "FROM --platform=$BUILDPLATFORM base"),
        ("FROM --platform=LINUX/ARM64 base AS A", "FROM --platform=linux/arm64 base AS a"),
        ("FROM base\nCOPY --chown=7: a /x", "FROM base\nCOPY --chown=7:0 a /x"),
        ("FROM base\nARG X\nCOPY --chown=a:$X a /x", "FROM base\nARG X\nCOPY --chown=a:0 a /x"),
        ("FROM base\nCOPY --link=TRUE a /x", "FROM base\nCOPY --link=true a /x"),
        ("FROM base\nENV X=a\\\\", 'FROM base\nENV X=a\\\\""'),
        ("FROM base\nCOPY a /x\\\\", 'FROM base\nCOPY a /x\\\\""'),
        (
            'FROM base\nENV B="x y"\nCOPY a /$B${A/1/2}',
            'FROM base\nENV B="x y"\nCOPY ["a", "/x y"]',
        ),
        ("FROM base\nCOPY --exclude=TRUE a /x", "FROM base\nCOPY --exclude=TRUE a /x"),
    ],
)
def test_flags_that_engines_read_in_another_way(text: str, copied: str) -> None:
    assert rewritten(f"{text}\n").text == f"{copied}\n"


def test_a_program_of_a_heredoc_begins_where_its_line_does() -> None:
    """BuildKit looks before it takes tabs away: behind tabs it is a text for the shell."""
    found = rewritten("FROM base\nRUN <<-E\n\t#!/bin/awk -f\n\tx\n\tE\n")
    assert found.text == "FROM base\nRUN <<-E\n #!/bin/awk -f\nx\nE\n"
    assert not found.programs
    assert rewritten("FROM base\nRUN <<-E\n#!/bin/awk -f\n\tx\nE\n").programs


def test_stages_of_one_name_are_told_apart() -> None:
    found = rewritten("FROM base AS X\nFROM x AS x\nCOPY --from=0 / /\nFROM x\n")
    assert found.text == (
        "FROM base AS x.podbuild0\nFROM x.podbuild0 AS x\nCOPY --from=x.podbuild0 / /\nFROM x\n"
    )
    assert rewritten("FROM base AS X\n", target="X").target == "x"


def test_a_secret_in_a_variable_stands_in_no_text() -> None:
    found = rewritten("FROM base\nRUN --mount=type=secret,id=npm,env=TOKEN npm ci\n")
    (variable,) = found.variables
    assert (variable.secret, variable.variable) == ("npm", "TOKEN")
    assert ". /run/secrets/podbuild-env0; npm ci" in found.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('RUN --mount=type=secret,id=npm,env=T ["x"]', "only a shell can have a secret"),
        ("COPY <<E /x\n${X^}\nE", "in the text: no operator"),
        ("COPY <<E /x\n${X:?why}\nE", "in the text: X: why"),
    ],
)
def test_what_can_t_be_made_to_mean_the_same_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"Containerfile:2: {message}"):
        rewritten(f"FROM base\n{text}\n")


def test_a_secret_in_a_file_is_mounted_from_a_context_that_leaves_no_digest() -> None:
    text = (
        "FROM base\nRUN --mount=type=secret,id=npm --mount=type=secret,target=/etc/jks,mode=444,"
        "uid=5,gid=6 --mount=type=secret,id=jks,required c\n"
    )
    found = rewrite_containerfile(
        read_containerfile(text), text, target=None, variables={}, large={"jks"}
    )
    assert found.text == (
        "FROM base\nRUN --mount=type=secret,id=npm --mount=type=cache,from=podbuild.secret.2.0,"
        "source=value,target=/etc/jks,ro --mount=type=cache,from=podbuild.secret.2.1,source=value,"
        "target=/run/secrets/jks,ro c\n"
    )
    assert found.files == (
        SecretFile(context="podbuild.secret.2.0", secret="jks", mode=0o444, uid=5, gid=6),
        SecretFile(context="podbuild.secret.2.1", secret="jks"),
    )


@pytest.mark.parametrize("option", ["mode=rw", "uid=joe", "size=1"])
def test_a_mount_of_a_secret_that_is_not_understood_is_refused(option: str) -> None:
    text = f"FROM base\nRUN --mount=type=secret,id=jks,{option} c\n"
    with pytest.raises(ConfigError, match=r":2: .*secret"):
        rewrite_containerfile(
            read_containerfile(text), text, target=None, variables={}, large={"jks"}
        )


OWN = "COPY --from=podbuild.empty --chown=me . .\n"


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("WORKDIR /a\nCOPY b .\nRUN c\n", "WORKDIR /a\nCOPY b .\nRUN c\n"),
        (
            "WORKDIR /a\nWORKDIR b\nRUN c\n",
            "WORKDIR /a\nCOPY --from=podbuild.empty . .\nWORKDIR b\nRUN c\n",
        ),
        (
            "USER me\nWORKDIR /a/b\nCMD c\n",
            "USER me\nCOPY --from=podbuild.empty --chown=me . /a/\nWORKDIR /a/b\n"
            + OWN
            + "CMD c\n",
        ),
        (  # which would give it its own owner
            "WORKDIR /a\nCOPY --chown=7 b .\nRUN c\n",
            "WORKDIR /a\nCOPY --from=podbuild.empty . .\nCOPY --chown=7 b .\nRUN c\n",
        ),
        (
            "USER me\nWORKDIR /a\nADD b .\nRUN c\n",
            f"USER me\nWORKDIR /a\n{OWN}ADD b .\nRUN c\n",
        ),
    ],
)
def test_a_folder_that_no_run_makes_is_made(text: str, copy: str) -> None:
    assert rewritten(f"FROM base\n{text}").text == f"FROM base\n{copy}"


@pytest.mark.parametrize("between", ["", "FROM one AS two\nENV A=1\n"])
def test_a_folder_is_the_user_s_that_a_base_has(between: str) -> None:
    text = f"FROM base AS one\n{between}WORKDIR a\n"
    parsed = replace(read_containerfile(text), users={0: "me"})
    found = rewrite_containerfile(parsed, text, target=None, variables={}).text
    assert found == f"{text}{OWN}"


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("ADD --unpack=false --chown=1 a.tar /", "COPY --chown=1 a.tar /"),
        ("ADD --unpack a.tar /", "ADD a.tar /"),
        ("ADD --unpack=false https://x.y/a.tar /", "ADD https://x.y/a.tar /"),
    ],
)
def test_unpacking_is_left_to_the_instruction(text: str, copy: str) -> None:
    assert rewritten(f"FROM base\n{text}\n").text == f"FROM base\n{copy}\n"


INNER = """\
FROM base AS deps
ARG ONE=1
# a comment
ARG TWO THREE=3
ENV A=1 \\
    B=2
ENV C=3
COPY --chown=1 go.mod \\
  go.sum ./
COPY --chown=1 tools ./
COPY --chown=1 other /elsewhere/
RUN build
FROM deps AS tests
COPY a /t/
COPY b /t/
FROM base
ENV A=1
ENV B=2
COPY a /x/
COPY b /x/
COPY --from=deps /made /x/
"""


def test_stages_that_reach_no_image_take_fewer_steps_and_others_as_many() -> None:
    found = rewritten(INNER)
    copy = read_containerfile(found.text)
    assert [*map(str, copy.stages[0].instructions)] == [
        "ARG ONE=1 TWO THREE=3",
        "ENV A=1 B=2 C=3",
        "COPY --chown=1 go.mod go.sum tools ./",
        "COPY --chown=1 other /elsewhere/",
        "RUN build",
    ]
    before = read_containerfile(INNER)
    assert copy.stages[1:] == before.stages[1:]  # not needed, and what is published
    assert found.fewer == (4, 7, 10)
    assert rewritten(INNER, target="tests").fewer == ()  # all its stages reach the image


@pytest.mark.parametrize(
    "lines",
    [
        "ENV A=1\nENV B=$A",  # it would not see the other
        "ENV A=1\nENV A=2",
        "ENV A=1\nENV B 2",
        'ENV A="1 2"\nENV B=2',
        "ARG A=1\nENV B=2",
        "ARG A=1\nARG B=${A}",
        "COPY a /x\nCOPY b /x",  # a file's name
        "COPY a /x/\nCOPY b /y/",
        "COPY a /x/\nCOPY --chmod=600 b /x/",
        "COPY --from=top a /x/\nCOPY --from=top b /x/",  # which one is missing, the engine tells
        "COPY --link a /x/\nCOPY --link b /x/",
        "COPY --exclude=c a /x/\nCOPY --exclude=c b /x/",
        'COPY ["a", "/x/"]\nCOPY ["b", "/x/"]',
        "COPY a /x/\nRUN c\nCOPY b /x/",
        "ADD a /x/\nADD b /x/",
        "LABEL a=b\nLABEL c=d",
        "RUN a\nRUN b",
    ],
)
def test_what_means_more_than_both_keeps_its_steps(lines: str) -> None:
    text = f"FROM base AS top\nFROM base AS inner\n{lines}\nFROM base\nCOPY --from=inner / /\n"
    assert rewritten(text).fewer == ()


def test_a_quoted_mount_that_is_changed_keeps_its_quotes() -> None:
    text = (
        "FROM base AS Build\nFROM base\n"
        'RUN --mount="type=bind,from=Build,target=/x,source=a b" ls\n'
    )
    (line,) = (each for each in rewritten(text).text.splitlines() if each.startswith("RUN"))
    assert line == 'RUN --mount="type=bind,from=build,target=/x,source=a b" ls'


def test_what_builders_set_has_no_default_before_the_first_from() -> None:
    text = "ARG A=1 BUILDPLATFORM=${BUILDPLATFORM:-amd64}\nFROM --platform=$BUILDPLATFORM x\n"
    parsed = read_containerfile(text)
    known = {"BUILDPLATFORM": "linux/amd64"}
    written = rewrite_containerfile(parsed, text, target=None, variables=known).text
    assert written.splitlines()[0] == "ARG A=1 BUILDPLATFORM"


@pytest.mark.parametrize("line", ['COPY ["a","/b"]', 'ADD ["a","b","/x/"]', 'COPY ["a b","/x"]'])
def test_a_list_without_blanks_is_copied(line: str) -> None:
    text = f"FROM base\nARG V=1\n{line}\n"
    assert rewritten(text).text == text


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("ENV e=$V f=\"x $W\" g='$V' h=\\$V", 'ENV e=1 f="x a b" g="\\$V" h="\\$V"'),
        ("ENV k $V", "ENV k=1"),
        ("LABEL $V=$W a=${V}", 'LABEL 1="a b" a=1'),
        ("COPY app-$V.* b /$V/", "COPY app-1.* b /1/"),
        ('ADD ["$V","/$V"]', 'ADD ["1", "/1"]'),
        ("COPY --chown=$V:2 $Z /", "COPY --chown=1:2 $Z /"),
        ("USER $V", "USER 1"),
        ("VOLUME /v/$V", "VOLUME /v/1"),
        ("RUN echo $V", "RUN echo $V"),
        ("ONBUILD RUN echo $V", "ONBUILD RUN echo $V"),
        ("ENV z=$OTHER", "ENV z=$OTHER"),
        ("ARG U\nUSER $U", "ARG U\nUSER $U"),
    ],
)
def test_copies_for_engines_hold_what_arguments_are_worth(written: str, told: str) -> None:
    text = 'FROM base\nARG V=1 W="a b"\n'
    assert rewritten(f"{text}{written}\n").text == f"{text}{told}\n"


@pytest.mark.parametrize(
    "line",
    [
        "COPY x /$W/",
        "VOLUME $W",
        'ADD ["a", "/$W"]',
        "ENV E=$L",
        "COPY --chown=$W a /",
        "COPY <<E a /$W/\nx\nE",
    ],
)
def test_what_a_copy_can_not_hold_of_arguments_is_built_without_the_cache(line: str) -> None:
    def uncached(value: str) -> bool:
        written = f"FROM base\nARG V W L\n{line}\nENV F='$W' G=\\$W H=$V\nRUN echo $W\n"
        known = {"V": "1", "W": value, "L": f"{value}\n" if value else ""}
        parsed = read_containerfile(written)
        return rewrite_containerfile(parsed, written, target=None, variables=known).uncached

    assert uncached("a b")
    assert not uncached("")
