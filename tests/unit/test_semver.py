from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.errors import VersionError
from podbuild.semver import Version

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
