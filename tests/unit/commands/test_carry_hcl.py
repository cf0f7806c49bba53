"""Expressions of bake files, by what `docker buildx bake --print` makes of them."""

from __future__ import annotations

import pytest

from podbuild.commands.carry_hcl import Function, Scope, UnknownValueError, text_value

SCOPE = Scope(
    names={"NONE": None, "TAG": "1.2", "EMPTY": "", "OWNER": "{env.OWNER}", "item.name": "web"},
    functions={
        "tag": Function(params=("text",), result='${notequal(text, "") ? "r/x:${text}" : "r/x"}'),
        "twice": Function(params=("text",), result="${tag(tag(text))}"),
        "forever": Function(params=("text",), result="${forever(text)}"),
    },
)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"plain {}"', "plain {{}}"),
        ('"a-${TAG}"', "a-1.2"),
        ('"${ TAG }-${item.name}"', "1.2-web"),
        ('"$${TAG}"', "${{TAG}}"),
        ("TAG", "1.2"),
        ("${item.name}", "web"),
        ('"<<EOT\nline ${TAG}\nEOT"', "line 1.2\n"),
        ('${equal(TAG, "1.2") ? "yes" : ""}', "yes"),
        ('${TAG == "2" || EMPTY != "" ? "yes" : "no"}', "no"),
        ('${!equal(TAG, "2") && true ? "a" : "b"}', "a"),
        ('${replace(TAG, ".", "-")}', "1-2"),
        ('${join("-", split(".", TAG))}', "1-2"),
        ('${join(",", concat(["a"], ["b", TAG]))}', "a,b,1.2"),
        ('${lower(trimsuffix("Xv1", "v1"))}', "x"),
        ("${coalesce(EMPTY, TAG)}", ""),
        ('"%%{${TAG}"', "%{{1.2"),
        ('${sanitize("a.1 b--c__d/ü")}', "a_1_b--c__d__"),
        ('${tag("a")}', "r/x:a"),
        ('${tag("")}', "r/x"),
        ('${twice("a")}', "r/x:r/x:a"),
        ('"${"${TAG}"}"', "1.2"),
        ('"${tag("}")}"', "r/x:}}"),
        (True, "true"),
        (3, "3"),
        ('${NONE == null && TAG != null ? "a" : "b"}', "a"),
        ("${coalesce(NONE, TAG)}", "1.2"),
        ('${upper(regex_replace(TAG, "^(\\\\d+)\\\\..*$", "v$1"))}', "V1"),
        ('${join(",", [for i, each in split(".", TAG) : "${i}-${each}" if each != "2"])}', "0-1"),
        ('"${OWNER}/x"', "{env.OWNER}/x"),
    ],
)
def test_what_stands_in_the_file_is_known(written: object, value: str) -> None:
    assert text_value(written, SCOPE) == value


@pytest.mark.parametrize(
    "written",
    [
        None,
        "NONE",
        "${[for each in TAG : each]}",
        "${timestamp()}",
        '"${unknown}"',
        '${OWNER == "acme" ? "a" : "b"}',  # what it will be is not known here
        '${equal(OWNER, "acme")}',
        "${forever(TAG)}",
        "${tag()}",
        '"%{ if true }x%{ endif }"',
        '"${TAG"',
        "${[1, 2]}",
        "${TAG ? 1 : 2}",
        "${replace(TAG)}",
        "${TAG[0]}",
        "${1 + 1}",
        '${split("", TAG)}',
        "${coalesce(NONE)}",
        ["a"],
        {"a": "b"},
    ],
)
def test_what_does_not_is_not_guessed(written: object) -> None:
    with pytest.raises(UnknownValueError):
        text_value(written, SCOPE)
