"""What a Containerfile takes of its context: what changes it changes the hash, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from podbuild.build.inputs.containerfile import platform_arguments, read_containerfile
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.wanted import (
    MAIN,
    BaseFacts,
    handed_on,
    triggers_hide_inputs,
    wanted_by,
    with_bases,
)
from podbuild.oci.names import Platform

ARM64 = Platform("linux", "arm64")
FILES = ("a.txt", "b.md", "src/main.py", "src/deep/x.py", "app-arm64", "app-amd64", "kept/secret")
EVERY = {*FILES, "src", "src/deep", "kept", "link", "way"}
SRC = {"src/main.py", "src/deep", "src/deep/x.py"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("src/main.py")
    (tmp_path / "way").symlink_to("/src")
    return tmp_path


def taken(
    folder: Path,
    text: str,
    *,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
    base: BaseFacts | None = None,
    place: str = MAIN,
) -> set[str]:
    variables = {**platform_arguments(ARM64, ARM64), **(arguments or {})}
    parsed = read_containerfile(text)

    def facts_of(_text: str, value: str, _platform: str | None) -> BaseFacts | None:
        return BaseFacts() if value == "scratch" else base

    wanted = wanted_by(parsed, target, variables, ("extra",), facts_of).places[place]
    return {*Contents().sent(folder, Matcher(("kept",)), wanted).reach.entries}


SEEN = EVERY - {"kept", "kept/secret"}


@pytest.mark.parametrize(
    ("instruction", "names"),
    [
        ("COPY a.txt /", {"a.txt"}),
        ("COPY /a.txt ./b.md /", {"a.txt", "b.md"}),
        ("COPY ../../a.txt /", {"a.txt"}),
        ("COPY *.txt /", {"a.txt"}),
        ("COPY [!a]*.md /", set()),
        ("COPY [^a]*.md /", {"b.md"}),
        ("COPY s?c /", SRC),
        ("COPY src/ /", SRC),
        ("COPY src/deep/.. /", SRC),
        ("COPY src/*/x.py /", {"src/deep/x.py"}),
        ("COPY **/*.py /", {"src/main.py"}),
        ('COPY ["a.txt", "b.md", "/"]', {"a.txt", "b.md"}),
        ("COPY . /", SEEN),
        ("COPY ./ /", SEEN),
        ("COPY src/.. /", SEEN),
        ("COPY kept /", set()),
        ("COPY link /", {"link", "src/main.py"}),
        ("COPY way/deep /", {"way", "src/deep/x.py"}),
        ("COPY --parents src/deep /", {"src", "src/deep", "src/deep/x.py"}),
        ("COPY --parents src/./deep /", {"src/deep", "src/deep/x.py"}),
        ("COPY missing /", set()),
        ("COPY --from=other a.txt /", set()),
        ("COPY <<X /x\nx\nX", set()),
        ("ADD https://example.test/a.txt /", set()),
        ("ADD a.txt https://example.test/b /", {"a.txt"}),
        ("RUN --mount=type=bind,source=src/deep,target=/m true", {"src/deep", "src/deep/x.py"}),
        ("RUN --mount=src=a.txt,target=/m true", {"a.txt"}),
        ("RUN --mount=target=/m true", {*SEEN, "."}),
        ("RUN --mount=type=cache,target=/m true", set()),
        ("RUN --mount=type=secret,id=x true", set()),
        ("ARG N=a\nCOPY $N.txt /", {"a.txt"}),
        ("ARG N=b\nENV N=a\nCOPY ${N}.txt /", {"a.txt"}),
        ("ENV N=b\nARG N=a\nCOPY ${N}.txt /", {"a.txt"}),
        ("ARG TARGETARCH\nCOPY app-$TARGETARCH /", {"app-arm64"}),
        ("ARG GIVEN=b.md\nCOPY $GIVEN /", {"a.txt"}),
        ("COPY ${NO:-a.txt} /", {"a.txt"}),
        ("ONBUILD COPY . /", set()),
    ],
)
def test_what_is_taken_are_the_sources(folder: Path, instruction: str, names: set[str]) -> None:
    text = f"FROM scratch\n{instruction}\n"
    assert taken(folder, text, arguments={"GIVEN": "a.txt"}) == names


@pytest.mark.parametrize(
    "instruction",
    [
        "COPY app-$TARGETARCH /",  # not declared
        'COPY ["a b", "/"]',
        "COPY a\\[ /",
        "COPY a[ /",
        "COPY $NONE /",
        "ARG S=src\nRUN --mount=type=bind,source=$S,target=/m true",
    ],
)
def test_what_cannot_be_told_is_everything(folder: Path, instruction: str) -> None:
    assert taken(folder, f"FROM scratch\n{instruction}\n") >= SEEN


def test_stages_that_the_target_does_not_need_take_nothing(folder: Path) -> None:
    text = (
        "FROM scratch AS one\nCOPY a.txt /\nFROM scratch AS two\nCOPY b.md /\n"
        "FROM scratch\nCOPY --from=one / /\n"
    )
    assert taken(folder, text) == {"a.txt"}
    assert taken(folder, text, target="two") == {"b.md"}


def test_an_extra_context_is_taken_as_far_as_it_is_named(folder: Path) -> None:
    text = "FROM scratch\nCOPY --from=extra src/deep /\nCOPY a.txt /\n"
    assert taken(folder, text, place="extra") == {"src/deep/x.py"}
    assert taken(folder, text) == {"a.txt"}
    mounted = "FROM scratch\nRUN --mount=from=extra,source=src/deep,target=/m true\n"
    assert taken(folder, mounted, place="extra") == {"src/deep", "src/deep/x.py"}


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (None, SEEN),  # nothing is known of it
        (BaseFacts(), {"a.txt"}),
        (BaseFacts(triggers=("COPY b.md /x", "RUN true")), {"a.txt", "b.md"}),
        (BaseFacts(triggers=("COPY . /x",)), SEEN),
        (BaseFacts(triggers=("COPY <<X /x",)), SEEN),
        (BaseFacts({"N": "b.md"}), {"a.txt"}),
        (BaseFacts({"N": "b.md"}, ("ARG N=b.md",)), {"a.txt"}),
        (BaseFacts({"N": "a.txt"}), {"a.txt"}),
        (BaseFacts(doubtful=frozenset({"N"})), {"a.txt"}),
    ],
)
def test_what_a_base_hands_on_counts(folder: Path, base: BaseFacts | None, names: set[str]) -> None:
    assert taken(folder, "FROM b\nARG N=a.txt\nCOPY $N /\n", base=base) == names


def test_stages_hand_on_their_variables_and_triggers(folder: Path) -> None:
    text = "FROM scratch AS one\nENV N=a.txt\nONBUILD COPY b.md /\nFROM one\nCOPY $N /\n"
    assert taken(folder, text) == {"a.txt", "b.md"}
    parsed = read_containerfile(f"{text}ENV M=$N\nONBUILD COPY src /\n")
    facts = handed_on(parsed, None, {}, lambda *_: BaseFacts())
    assert facts == BaseFacts({"N": "a.txt", "M": "a.txt"}, ("COPY src /",))


def test_a_base_and_the_stages_on_it_hand_on_their_user() -> None:
    base = BaseFacts({"N": "us"}, user="me")
    plain = read_containerfile("FROM b AS x\nUSER 5\nFROM b\nENV A=1\n")
    other = read_containerfile("FROM b AS x\nUSER ${N}er\nFROM x\nENV A=1\n")
    users = [handed_on(each, None, {}, lambda *_: base) for each in (plain, other)]
    assert [each and each.user for each in users] == ["me", "user"]
    assert with_bases(plain, "x", {}, lambda *_: base).users == {0: "me"}


def test_arguments_are_seen_in_later_stages_and_env_holds_there_again(folder: Path) -> None:
    text = "FROM scratch AS one\nARG N=a.txt\nENV M=src\nARG M=b.md\nFROM one\nCOPY $N $M /\n"
    assert taken(folder, text) == {"a.txt", *SRC}
    known = handed_on(read_containerfile(text), None, {}, lambda *_: BaseFacts())
    assert known == BaseFacts({"M": "src"})


def test_a_variable_of_doubt_stays_so_in_what_builds_on_it() -> None:
    doubt = BaseFacts(doubtful=frozenset({"A"}))
    facts = handed_on(read_containerfile("FROM b\nENV B=$A\n"), None, {}, lambda *_: doubt)
    assert facts is not None
    assert facts.doubtful == {"A", "B"}


@pytest.mark.parametrize(
    ("trigger", "hidden"),
    [
        ("RUN make", False),
        ("COPY . /", False),
        ("ARG V", True),
        ("RUN --mount=target=/m make", True),
        ("RUN --mount=type=bind,from=tools,target=/m make", True),
        ("RUN --mount=type=cache,target=/m make", False),
        ("RUN --mount=type=cache,from=tools,target=/m make", True),
    ],
)
def test_what_triggers_rest_on_besides_their_text_is_known(trigger: str, *, hidden: bool) -> None:
    base = BaseFacts(triggers=(trigger,))
    parsed = read_containerfile("FROM base\nRUN x\n")
    assert triggers_hide_inputs(parsed, None, {}, lambda *_: base) == hidden
