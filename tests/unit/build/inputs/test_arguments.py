"""Lines that tell an engine of arguments what BuildKit knows; tests/parity builds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.build.inputs.selected import Copy, SelectedCopies


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
