"""Lines that tell an engine of arguments what BuildKit knows; tests/parity builds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from podbuild.build.inputs.arguments import own_arguments, told_arguments
from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.build.inputs.selected import Copy, SelectedCopies
from podbuild.oci.names import Platform


def written(text: str, given: Mapping[str, str], base: Mapping[str, str]) -> str:
    parsed = replace(read_containerfile(text), environments={0: base})
    return rewrite_containerfile(parsed, text, target=None, variables=given).text


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("ARG X=2\n", "ARG X=2\n"),  # nothing else sets it
        ("ENV X=1\nARG X=2\n", "ENV X=1\nARG X=2\nENV X=2\nENV X=1\n"),
        ("ENV X=1\nARG X\nRUN x\n", "ENV X=1\nARG X\nRUN x\n"),  # it says nothing
        ("ENV X=1\nARG X=1\n", "ENV X=1\nARG X=1\n"),
        ("ENV X=1\nARG X=2\nENV X=3\n", "ENV X=1\nARG X=2\nENV X=2\nENV X=3\n"),
        ("ARG BASE=2\nRUN x\n", "ARG BASE=2\nENV BASE=2\nRUN x\nENV BASE=own\n"),
        ("ARG GIVEN=2 D=$GIVEN\n", "ARG GIVEN D=3\n"),
        ("ENV GIVEN=1\nARG GIVEN\n", "ENV GIVEN=1\nARG GIVEN\nENV GIVEN=3\nENV GIVEN=1\n"),
        (
            "ARG A='x y'\nARG GIVEN\nFROM s AS t\nRUN x\n",
            "ARG A='x y'\nARG GIVEN\nFROM s AS t\nARG A=\"x y\" GIVEN\nRUN x\n",
        ),
    ],
)
def test_what_stands_last_holds(text: str, engine: str) -> None:
    begin = "FROM base AS s\n"
    assert written(f"{begin}{text}", {"GIVEN": "3"}, {"BASE": "own"}) == f"{begin}{engine}"


def test_a_stage_without_a_name_keeps_its_number_beside_stages_that_are_added() -> None:
    text = "FROM a\nFROM b\nCOPY --from=0 --exclude=x /d /d\nFROM c\nCOPY --from=1 / /\n"
    parsed = read_containerfile(text)
    found = rewrite_containerfile(
        parsed,
        text,
        target=None,
        variables={},
        selected={3: SelectedCopies((Copy({0: ("/0/d",)}, ("0/d/x",)),), (("d", "/0/d"),))},
    )
    assert found.text == (
        "FROM a\nFROM scratch AS podbuild.copy.3\nCOPY --from=0 /d /0/d\nFROM b\n"
        "COPY --from=podbuild.copy.3 --exclude=0/d/x /0/d /d\nFROM c\nCOPY --from=2 / /\n"
    )
    assert found.added == (1,)


@pytest.mark.parametrize(
    ("last", "target", "named"),
    [
        ("", None, "default"),
        (" AS Final", None, "final"),
        (" AS Final", "FINAL", "FINAL"),
        (" AS final", "first", "first"),
    ],
)
def test_the_last_stage_is_the_target(last: str, target: str | None, named: str) -> None:
    parsed = read_containerfile(f"FROM a AS first\nARG TARGETSTAGE\nFROM first{last}\n")
    platform = Platform("linux", "amd64")
    own = own_arguments(parsed, target, platform, platform)
    assert told_arguments(parsed, own, {}, target) == {"TARGETSTAGE": named}


def test_run_sees_proxies_in_both_spellings_and_nothing_else_does() -> None:
    parsed = read_containerfile("FROM base\n")
    given = {"https_proxy": "a", "NO_PROXY": "b", "Proxy": "c"}
    both = {"https_proxy": "a", "HTTPS_PROXY": "a", "no_proxy": "b", "NO_PROXY": "b", "Proxy": "c"}
    assert told_arguments(parsed, {}, given, None) == both
    text = "FROM base\nARG no_proxy\nLABEL a=$https_proxy b=$no_proxy c=$NO_PROXY\n"
    assert written(text, given | {"no_proxy": "d"}, {}).endswith("LABEL a= b=d c=\n")
