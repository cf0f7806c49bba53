"""Placeholders in texts."""

import pytest

from podbuild.config.template import Placeholders, Template, sanitise_branch, tag_template
from podbuild.errors import ConfigError
from podbuild.semver import Version

VALUES = Placeholders(
    project="shop",
    image="Web",
    version=Version.parse("v1.2.3-rc.1+build.5"),
    sha="0123abc",
    branch="feature/x y",
    env={"OWNER": "acme"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{version}", "1.2.3-rc.1"),
        ("{major}.{minor}.{patch}", "1.2.3"),
        ("ghcr.io/{env.OWNER}/{project}/{image}", "ghcr.io/acme/shop/Web"),
        ("sha-{sha}", "sha-0123abc"),
        ("{branch}", "feature-x-y"),
        ('{{"a": {major}}}', '{"a": 1}'),
    ],
)
def test_placeholders_become_their_values(text: str, expected: str) -> None:
    assert Template(text).expand(VALUES) == expected


def test_without_a_release_the_version_says_so() -> None:
    assert Template("{version}").expand(Placeholders(project="p")) == "0.0.0-snapshot"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{versoin}", "{version}"),
        ("{env.}", "{env.NAME}"),
        ("{}", "known are"),
        ("{env.A-B}", ""),
        ("}", "literal braces"),
        ("{version", "literal braces"),
    ],
)
def test_a_wrong_placeholder_is_refused_at_once(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Template(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [("{env.NOPE}", "NOPE is not set"), ("{branch}", "{branch} is not"), ("{sha}", "{sha} is not")],
)
def test_an_unknown_value_is_an_error_when_it_is_needed(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Template(text).expand(Placeholders(project="p"))


def test_the_variables_of_a_template_are_known() -> None:
    assert Template("{env.A}/{env.B_1}/{image}").variables == {"A", "B_1"}


@pytest.mark.parametrize("text", ["", "-a", ".a", "a b", "a/b", "ä", "{{version}}", "a+b"])
def test_a_tag_template_holds_only_what_tags_may_hold(text: str) -> None:
    with pytest.raises(ConfigError):
        tag_template(text)


@pytest.mark.parametrize(
    ("branch", "expected"),
    [("main", "main"), ("a/b//c", "a-b-c"), ("-x.", "x"), ("ü", "branch"), ("x" * 300, "x" * 120)],
)
def test_a_branch_becomes_a_part_of_tags(branch: str, expected: str) -> None:
    assert sanitise_branch(branch) == expected
