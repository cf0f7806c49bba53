from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.errors import ConfigError, VersionError
from podbuild.semver import Scheme, TagForm, Version

# The lists behind the regular expression that semver.org suggests.
VALID = """
0.0.4 1.2.3 10.20.30 1.1.2-prerelease+meta 1.1.2+meta 1.1.2+meta-valid 1.0.0-alpha 1.0.0-beta
1.0.0-alpha.beta 1.0.0-alpha.beta.1 1.0.0-alpha.1 1.0.0-alpha0.valid 1.0.0-alpha.0valid
1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay 1.0.0-rc.1+build.1 2.0.0-rc.1+build.123
1.2.3-beta 10.2.3-DEV-SNAPSHOT 1.2.3-SNAPSHOT-123 2.0.0+build.1848 2.0.1-alpha.1227
1.0.0-alpha+beta 1.2.3----RC-SNAPSHOT.12.9.1--.12+788 1.2.3----R-S.12.9.1--.12+meta
1.0.0+0.build.1-rc.10000aaa-kk-0.1 1.0.0-0A.is.legal
99999999999999999999999.999999999999999999.99999999999999999 v1.2.3
"""
INVALID = """
1 1.2 1.2.3-0123 1.2.3-0123.0123 1.1.2+.123 +invalid -invalid -invalid+invalid -invalid.01
alpha alpha.beta alpha.beta.1 alpha.1 alpha+beta alpha_beta alpha. alpha.. beta
1.0.0-alpha_beta -alpha. 1.0.0-alpha.. 1.0.0-alpha..1 01.1.1 1.01.1 1.1.01 1.2.3.DEV
1.2-SNAPSHOT 1.2.31.2.3----RC-SNAPSHOT.12.09.1--..12+788 1.2-RC-SNAPSHOT -1.0.3-gamma+b7718
+justmeta 9.8.7+meta+meta 9.8.7-whatever+meta+meta vv1.2.3 V1.2.3 v 1.2.3- 1.2.3+
"""

number = st.integers(0, 10**20)
alphanumeric = st.from_regex(r"[0-9]{0,3}[a-zA-Z-][0-9a-zA-Z-]{0,5}", fullmatch=True)
identifiers = st.lists(alphanumeric | number.map(str), max_size=4).map(tuple)
versions = st.builds(Version, number, number, number, identifiers)
near = st.builds(
    Version,
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 1),
    st.lists(st.sampled_from(["0", "1", "10", "a", "A", "-", "a1"]), max_size=2).map(tuple),
)


def parse(text: str) -> Version:
    return Version.parse(text)


@pytest.mark.parametrize(
    "ascending",
    [
        # the examples of https://semver.org/#spec-item-11
        "1.0.0 2.0.0 2.1.0 2.1.1",
        "1.0.0-alpha 1.0.0",
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11",
        "1.0.0-beta.11 1.0.0-rc.1 1.0.0",
        "1.2.9 1.2.10 1.10.0 9.0.0 10.0.0",
        "1.0.0-1 1.0.0-2 1.0.0-10 1.0.0-1a 1.0.0-A 1.0.0-a",
        "1.0.0-a 1.0.0-a.0 1.0.0-a-b",
    ],
)
def test_order_is_that_of_the_specification(ascending: str) -> None:
    every = [parse(text) for text in ascending.split()]
    for low, high in itertools.pairwise(every):
        assert low < high
        assert high > low
        assert low != high


@pytest.mark.parametrize(
    "text",
    VALID.split(),
)
def test_valid_version_is_read_and_written_back(text: str) -> None:
    assert str(parse(text)) == text.removeprefix("v").partition("+")[0]


@pytest.mark.parametrize(
    "text",
    [
        *INVALID.split(),
        "",
        " 1.2.3",
        "1.2.3\n",
        "1.2.\u0663",  # an Arabic digit is a digit to Python, not to SemVer
        "1.2.3-\u00e4",
        f"1.2.{'9' * 5000}",  # more digits than Python reads
        f"1.2.3-{'9' * 5000}",
    ],
)
def test_anything_else_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(VersionError) as caught:
        parse(text)
    assert caught.value.exit_code == 3
    assert "v1.2.3" in caught.value.hint
    assert "\n" not in caught.value.message


def test_build_metadata_takes_no_part() -> None:
    assert parse("1.2.3+linux") == parse("1.2.3+mac")
    assert hash(parse("1.2.3+linux")) == hash(parse("1.2.3+mac"))
    assert parse("1.2.3+linux") != "1.2.3"


def test_only_a_version_without_prerelease_is_stable() -> None:
    assert parse("1.2.3+rc.1").is_stable
    assert not parse("1.2.3-rc.1").is_stable


@given(versions)
def test_text_gives_the_same_version_again(version: Version) -> None:
    assert parse(str(version)) == version


@given(near | versions, near | versions)
def test_of_two_versions_exactly_one_relation_holds(one: Version, other: Version) -> None:
    assert [one < other, one == other, one > other].count(True) == 1
    assert (one <= other) == (not one > other)
    if one == other:
        assert hash(one) == hash(other)


@given(st.lists(near, min_size=3, max_size=6))
def test_order_is_transitive(some: list[Version]) -> None:
    ascending = sorted(some)
    assert all(low <= high for low, high in itertools.combinations(ascending, 2))


@given(versions, identifiers.filter(bool))
def test_prerelease_comes_before_its_release(version: Version, prerelease: tuple[str, ...]) -> None:
    release = Version(version.major, version.minor, version.patch)
    assert Version(version.major, version.minor, version.patch, prerelease) < release


@pytest.mark.parametrize("text", ["2024.01.15", "24.04", "24.04.1", "2026.11", "1.2.3.4"])
def test_calendar_versions_keep_what_is_written(text: str) -> None:
    assert str(Version.parse(text, Scheme.CALVER)) == text
    assert str(Version.parse(f"v{text}", Scheme.CALVER)) == text


@pytest.mark.parametrize("text", ["2024", "1.2.3.4.5", "24.04-rc.1", "24..04", "24.04.", "x", ""])
def test_what_is_no_calendar_version_is_refused(text: str) -> None:
    with pytest.raises(VersionError) as caught:
        Version.parse(text, Scheme.CALVER)
    assert "24.04.1" in caught.value.hint


def test_calendar_versions_compare_as_numbers() -> None:
    ascending = ["9.12", "10.01", "10.1.0", "10.2", "10.02.1", "10.10", "2024.01.15", "2024.2.1"]
    found = [Version.parse(text, Scheme.CALVER) for text in ascending]
    assert all(low < high for low, high in itertools.pairwise(found))
    assert Version.parse("24.04", Scheme.CALVER) == Version.parse("24.4", Scheme.CALVER)


@pytest.mark.parametrize(
    ("form", "scheme", "tag", "version"),
    [
        ("", "semver", "1.2.3", "1.2.3"),
        ("", "semver", "v1.2.3", "1.2.3"),
        ("", "semver", "api/v1.2.3", None),
        ("", "calver", "v24.04", "24.04"),
        ("v{version}", "semver", "v1.2.3-rc.1", "1.2.3-rc.1"),
        ("v{version}", "semver", "1.2.3", None),
        ("{version}", "semver", "v1.2.3", None),
        ("web-v{version}", "semver", "web-v1.2.3", "1.2.3"),
        ("web-v{version}", "semver", "v1.2.3", None),
        ("web-v{version}", "semver", "web-vv1.2.3", None),
        ("web-v{version}", "semver", "other-web-v1.2.3", None),
        ("api/v{version}", "calver", "api/v2024.01.15", "2024.01.15"),
        ("release/{version}/web", "semver", "release/1.2.3/web", "1.2.3"),
    ],
)
def test_only_tags_of_the_form_are_a_project_s_own(
    form: str, scheme: str, tag: str, version: str | None
) -> None:
    found = TagForm(form, Scheme(scheme)).read(tag)
    assert (None if found is None else str(found)) == version
    if found and form:
        assert TagForm(form, Scheme(scheme)).tag(found) == tag


@pytest.mark.parametrize("form", ["{version}", "web-v{version}", "api/v{version}"])
def test_a_version_alone_names_it_too(form: str) -> None:
    assert str(TagForm(form).parse("1.2.3")) == "1.2.3"
    assert str(TagForm(form).parse(form.replace("{version}", "1.2.3"))) == "1.2.3"


@pytest.mark.parametrize(
    ("form", "scheme", "text", "hint"),
    [
        ("", "semver", "2024.01.15", 'scheme = "calver" in [project]'),
        ("", "semver", "api/v1.0.0", 'tag = "api/v{version}" in [project]'),
        ("", "semver", "rel-24.04", 'tag = "rel-{version}" and scheme = "calver" in [project]'),
        ("web-v{version}", "semver", "v1.2.3", "web-v1.2.3 or 1.2.3"),
        ("web-v{version}", "semver", "api-v1.2.3", "web-v1.2.3 or 1.2.3"),
        ("", "calver", "1.2.3-rc.1", 'scheme = "semver"'),
    ],
)
def test_what_would_make_it_a_version_is_said(form: str, scheme: str, text: str, hint: str) -> None:
    with pytest.raises(VersionError) as caught:
        TagForm(form, Scheme(scheme)).parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text", ["v", "{version}{version}", "v{major}", "a b{version}", "a..{version}", "-{version}"]
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        TagForm(text)
