"""The copy of a Containerfile that the engine is given. What it means is the parity suite's."""

from __future__ import annotations

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
    ],
)
def test_a_folder_that_no_run_makes_is_made(text: str, copy: str) -> None:
    assert rewritten(f"FROM base\n{text}").text == f"FROM base\n{copy}"


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
