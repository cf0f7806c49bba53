"""Which tags are written, which version a tag stands for, and whether a tag may move."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.config.model import TagRules
from podbuild.config.template import Placeholders, Template
from podbuild.errors import ConfigError, VersionError
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan.guards import (
    Ancestry,
    Decision,
    HeldVersions,
    Located,
    ReleaseIdentity,
    RemoteTag,
    Verdict,
    branch_guard,
    immutable_guard,
    rollback_target,
    sha_guard,
    version_guard,
)
from podbuild.plan.tags import (
    NamedTag,
    Range,
    Reader,
    TagKind,
    branch_tags,
    is_own_tag,
    kind_of,
    owned_versions,
    release_tags,
    written_by_release,
)
from podbuild.semver import Scheme, Version

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
DEFAULT = TagRules().release


def values(version: str | None = None, branch: str | None = None) -> Placeholders:
    parsed = Version.parse(version) if version else None
    return Placeholders(
        project="shop",
        image="web",
        version=parsed,
        sha="0123abc",
        branch=branch,
        env={"FLAVOR": "slim"},
    )


def tags_of(version: str, *templates: str) -> list[str]:
    chosen = [Template(text) for text in templates] or DEFAULT
    return [str(each.tag) for each in release_tags(chosen, values(version))]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1.2.3", ["1.2.3", "1.2", "1", "latest"]),
        ("0.2.3", ["0.2.3", "0.2", "latest"]),
        ("1.2.3-rc.1", ["1.2.3-rc.1"]),
        ("1.2.3+build.7", ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.3-rc.1+build.7", ["1.2.3-rc.1"]),
    ],
)
def test_the_default_tags_of_a_release(version: str, expected: list[str]) -> None:
    assert tags_of(version) == expected


def test_a_prerelease_never_takes_the_tag_of_its_release() -> None:
    assert tags_of("1.2.3-rc.1", "{major}.{minor}.{patch}", "v{version}-alpine", "{sha}") == [
        "v1.2.3-rc.1-alpine"
    ]


def test_the_same_tag_of_two_templates_is_written_once() -> None:
    assert tags_of("1.2.3", "{version}", "{major}.{minor}.{patch}", "x", "x") == ["1.2.3", "x"]


def test_a_tag_that_no_registry_takes_is_refused() -> None:
    with pytest.raises(VersionError, match="not a valid tag"):
        tags_of(f"1.2.3-{'a' * 130}")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{version}", TagKind.VERSION),
        ("v{major}.{minor}.{patch}", TagKind.VERSION),
        ("{version}-{sha}", TagKind.VERSION),
        ("{major}.{minor}", TagKind.MOVING),
        ("latest", TagKind.MOVING),
        ("{branch}", TagKind.MOVING),
        ("sha-{sha}", TagKind.SHA),
    ],
)
def test_what_a_template_promises(text: str, kind: TagKind) -> None:
    assert kind_of(Template(text)) is kind


BRANCHES: Mapping[str, tuple[Template, ...]] = {
    "feature/*": (Template("{branch}"),),
    "feature/y": (Template("why"),),
    "main": (Template("edge"), Template("sha-{sha}")),
}


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("main", ["edge", "sha-0123abc"]),
        ("feature/x", ["feature-x"]),
        ("feature/y", ["why"]),
        ("other", []),
        (None, []),
    ],
)
def test_the_tags_of_a_branch(branch: str | None, expected: list[str]) -> None:
    found = branch_tags(BRANCHES, values(branch=branch))
    assert [str(each.tag) for each in found] == expected


@pytest.mark.parametrize(
    ("template", "tag", "version"),
    [
        ("{version}", "1.2.3", "1.2.3"),
        ("{version}", "1.2.3-alpine", "1.2.3-alpine"),
        ("{version}-alpine", "1.2.3-alpine", "1.2.3"),
        ("{version}-alpine", "1.2.3-rc.1-alpine", "1.2.3-rc.1"),
        ("{version}-alpine", "1.2.3", None),
        ("v{version}", "1.2.3", None),
        ("{version}", "01.2.3", None),
        ("{version}", "1.2", None),
        ("{version}", "latest", None),
        ("{version}", "1.2.3-01", None),
        ("{major}.{minor}.{patch}", "1.2.3", "1.2.3"),
        ("{major}-{version}", "1-1.2.3", "1.2.3"),
        ("{major}-{version}", "2-1.2.3", None),
        ("{version}-{sha}", "1.2.3-abcdef0", "1.2.3"),
        ("{image}-{version}-{env.FLAVOR}", "web-1.2.3-slim", "1.2.3"),
        ("{image}-{version}", "api-1.2.3", None),
        ("{version}-{env.UNSET}", "1.2.3-x", None),
        ("{major}.{minor}", "1.2", None),
    ],
)
def test_tags_are_read_back_through_their_template(
    template: str, tag: str, version: str | None
) -> None:
    found = Reader(Template(template), values()).version(Tag(tag))
    assert (None if found is None else str(found)) == version


@pytest.mark.parametrize(
    ("template", "tag", "expected"),
    [
        ("latest", "latest", Range()),
        ("{major}", "1", Range(1)),
        ("{major}.{minor}", "1.2", Range(1, 2)),
        ("{major}-alpine", "1", None),
        ("{version}", "1.2.3", None),
    ],
)
def test_moving_tags_are_read_back_as_ranges(
    template: str, tag: str, expected: Range | None
) -> None:
    assert Reader(Template(template), values()).range(Tag(tag)) == expected


def test_the_most_specific_template_of_a_repository_wrote_the_tag() -> None:
    plain = Reader(Template("{version}"), values())
    alpine = Reader(Template("{version}-alpine"), values())
    tags = [Tag(text) for text in ("1.2.3", "1.2.3-alpine", "1.3.0-rc.1", "latest")]
    assert {str(tag): str(v) for tag, v in owned_versions(tags, [plain], [alpine]).items()} == {
        "1.2.3": "1.2.3",
        "1.3.0-rc.1": "1.3.0-rc.1",
    }
    assert {str(tag): str(v) for tag, v in owned_versions(tags, [alpine], [plain]).items()} == {
        "1.2.3-alpine": "1.2.3"
    }


class TestCalendarVersions:
    """Two to four numbers, whose beginning may be a moving tag of its own."""

    DEFAULT = ("{version}", "{major}.{minor}", "{major}", "latest")

    def values(self, version: str | None = None) -> Placeholders:
        read = None if version is None else Version.parse(version, Scheme.CALVER)
        return Placeholders(project="p", image="i", version=read, scheme=Scheme.CALVER)

    @pytest.mark.parametrize(
        ("version", "expected"),
        [
            ("24.04.1", "24.04.1:version 24.04:moving 24:moving latest:moving"),
            ("2026.11", "2026.11:version 2026:moving latest:moving"),
            ("06.01", "06.01:version 06:moving latest:moving"),
        ],
    )
    def test_tags_keep_the_zeros(self, version: str, expected: str) -> None:
        found = release_tags(map(Template, self.DEFAULT), self.values(version))
        assert " ".join(f"{each.tag}:{each.kind}" for each in found) == expected

    def test_a_number_that_is_not_there_leaves_its_templates_out(self) -> None:
        found = release_tags([Template("{major}.{minor}.{patch}")], self.values("24.04"))
        assert found == ()
        with pytest.raises(ConfigError, match=r"24\.04\.1\.2"):
            release_tags([Template("{major}.{minor}.{patch}")], self.values("24.04.1.2"))

    def owned(self, *tags: str) -> dict[str, str]:
        moving = tuple(map(Template, self.DEFAULT[1:]))
        reader = Reader(Template("{version}"), self.values(), moving)
        found = owned_versions(map(Tag, tags), [reader])
        return {str(tag): str(version) for tag, version in found.items()}

    def test_tags_are_read_back_as_what_they_are(self) -> None:
        assert self.owned("24.04", "24.04.1", "24.04.2", "24", "latest", "edge").keys() == {
            "24.04.1",
            "24.04.2",
        }
        assert self.owned("2026.10", "2026.11", "2026").keys() == {"2026.10", "2026.11"}
        own = Reader(Template("{version}"), self.values())  # no template of moving tags
        assert len(owned_versions(map(Tag, ("24.04", "24.04.1")), [own])) == 2

    def test_the_tag_of_a_version_is_no_moving_tag(self) -> None:
        reader = Reader(Template("{version}"), self.values())
        version = Version.read("24.04")
        assert is_own_tag(Tag("24.04"), version, [reader])
        assert not is_own_tag(Tag("24.04"), Version.read("24.04.1"), [reader])

    def test_guards_compare_numbers(self) -> None:
        held = HeldVersions(
            versions=frozenset({Version.parse("2024.10.1", Scheme.CALVER)}),
        )
        older, newer = (Version.parse(text, Scheme.CALVER) for text in ("2024.9.30", "2024.11.1"))
        assert version_guard(moving("latest"), older, held).decision is Decision.SKIP
        assert version_guard(moving("latest"), newer, held).decision is Decision.MOVE


@pytest.mark.parametrize(
    ("tag", "taken"),
    [("latest", True), ("1", True), ("1.2.3", True), ("edge", False), ("main", False)],
)
def test_what_a_release_could_write_no_branch_may(tag: str, taken: bool) -> None:
    assert written_by_release(Tag(tag), DEFAULT, values()) is taken


# --- guards -------------------------------------------------------------------------------------


def moving(text: str) -> NamedTag:
    return NamedTag(tag=Tag("x"), kind=TagKind.MOVING, template=Template(text))


def out(*versions: str, yanked: tuple[str, ...] = ()) -> HeldVersions:
    return HeldVersions(
        versions=frozenset(map(Version.parse, versions)),
        yanked=frozenset(map(Version.parse, yanked)),
    )


@pytest.mark.parametrize(
    ("template", "version", "published", "decision"),
    [
        ("latest", "1.9.1", out("2.0.0"), Decision.SKIP),
        ("{major}", "1.9.1", out("2.0.0", "1.9.0"), Decision.MOVE),
        ("{major}.{minor}", "1.8.5", out("1.9.0"), Decision.MOVE),
        ("{major}", "1.8.5", out("1.9.0"), Decision.SKIP),
        ("latest", "1.9.1", out("2.0.0", yanked=("2.0.0",)), Decision.MOVE),
        ("latest", "1.9.1", out("2.0.0-rc.1"), Decision.MOVE),
        ("latest", "1.9.1", out("1.9.1"), Decision.MOVE),
        ("latest", "0.1.0", out(), Decision.MOVE),
    ],
)
def test_a_moving_tag_goes_only_forwards(
    template: str, version: str, published: HeldVersions, decision: Decision
) -> None:
    assert version_guard(moving(template), Version.parse(version), published).decision is decision


numbers = st.integers(0, 3)
versions = st.builds(
    Version, numbers, numbers, numbers, st.sampled_from([(), ("rc", "1"), ("alpha",), ("x-y",)])
)
stable = st.builds(Version, numbers, numbers, numbers)
ranges = st.sampled_from(["latest", "{major}", "{major}.{minor}", "{major}-alpine"])


@given(ranges, st.lists(stable, max_size=8))
def test_no_order_of_releases_moves_a_tag_backwards(text: str, releases: list[Version]) -> None:
    held: dict[Range, Version] = {}
    published: set[Version] = set()
    for version in releases:
        verdict = version_guard(moving(text), version, HeldVersions(versions=frozenset(published)))
        within = Range.of(Template(text), version)
        published.add(version)
        if verdict.decision is Decision.MOVE:
            assert version >= held.get(within, version)
            held[within] = version
    for within, version in held.items():
        assert version == max(each for each in published if within.holds(each))


@given(ranges, versions, st.frozensets(versions), st.frozensets(versions))
def test_a_yanked_version_is_as_if_it_had_never_been(
    text: str, version: Version, published: frozenset[Version], yanked: frozenset[Version]
) -> None:
    assert version_guard(
        moving(text), version, HeldVersions(versions=published, yanked=yanked)
    ) == version_guard(moving(text), version, HeldVersions(versions=published - yanked))


templates = st.sampled_from(
    [
        "{version}",
        "v{version}",
        "{version}-alpine",
        "{image}-{version}",
        "{env.FLAVOR}-{version}",
        "{major}-{version}",
        "{version}-{sha}",
    ]
)
free = st.from_regex(r"[0-9A-Za-z-]{1,6}", fullmatch=True).filter(
    lambda text: not (text.isdigit() and text.startswith("0") and text != "0")
)
any_version = st.builds(
    Version,
    st.integers(0, 10**6),
    st.integers(0, 99),
    st.integers(0, 99),
    st.lists(free, max_size=3).map(tuple),
    st.lists(free, max_size=1).map(tuple),
)


@given(templates, any_version)
def test_reading_back_inverts_writing(text: str, version: Version) -> None:
    named = release_tags([Template(text)], values(str(version)))
    assert [Reader(Template(text), values()).version(each.tag) for each in named] == [version]


@given(any_version)
def test_every_tag_of_a_release_is_written_by_a_release(version: Version) -> None:
    named = release_tags(DEFAULT, values(str(version)))
    assert named
    assert all(written_by_release(each.tag, DEFAULT, values()) for each in named)


@given(ranges, stable, st.frozensets(stable), st.frozensets(stable))
def test_rollback_goes_to_the_highest_stable_version_below(
    text: str, present: Version, held: frozenset[Version], yanked: frozenset[Version]
) -> None:
    within = Range.of(Template(text), present)
    target = rollback_target(within, present, HeldVersions(versions=held, yanked=yanked))
    candidates = {each for each in held - yanked if within.holds(each) and each < present}
    assert target == max(candidates, default=None)


def test_rollback_stays_where_there_is_nothing_below() -> None:
    assert rollback_target(Range(1), Version(1, 0, 0), out("0.9.0", "1.0.0-rc.1")) is None


RESULT = ReleaseIdentity(
    commit="c" * 40, fingerprint="f1", platforms=frozenset({AMD64, ARM64}), clean=True
)


def remote(
    digest: str = "a",
    commit: str = "c",
    fingerprint: str = "f1",
    platforms: tuple[Platform, ...] = (),
) -> RemoteTag:
    return RemoteTag(
        tag=Tag("1.2.3"),
        digest=Digest(f"sha256:{digest * 64}"),
        revision=commit * 40,
        fingerprint=fingerprint,
        platforms=frozenset(platforms or (AMD64, ARM64)),
    )


def decide(
    *found: RemoteTag | None, overwrite: bool = False, result: ReleaseIdentity = RESULT
) -> tuple[str | None, list[Verdict]]:
    located = [
        Located(registry=str(place), required=place < 2, remote=each)
        for place, each in enumerate(found)
    ]
    adopted, verdicts = immutable_guard(located, result, overwrite=overwrite)
    return (
        adopted.hex[0] if adopted else None,
        [verdicts[str(place)] for place in range(len(found))],
    )


def decisions(verdicts: list[Verdict]) -> list[str]:
    return [verdict.decision.value for verdict in verdicts]


def test_a_version_tag_that_does_not_exist_is_created() -> None:
    adopted, verdicts = decide(None, None)
    assert (adopted, decisions(verdicts)) == (None, ["create", "create"])


def test_this_release_s_own_result_is_adopted_and_put_where_it_lacks() -> None:
    adopted, verdicts = decide(None, remote("a"))
    assert (adopted, decisions(verdicts)) == ("a", ["create", "adopt"])


def test_of_two_results_the_one_that_is_signed_wins() -> None:
    """Whoever may push to one registry can say that its image is this release's."""
    adopted, verdicts = decide(remote("a"), replace(remote("b"), signed=True), remote("c"))
    assert (adopted, decisions(verdicts)) == ("b", ["move", "adopt", "move"])
    adopted, _ = decide(remote("a"), remote("b"), replace(remote("c"), signed=True))
    assert adopted == "c"


def test_of_two_results_that_of_the_first_required_registry_wins() -> None:
    adopted, verdicts = decide(remote("a"), remote("b"), remote("c"))
    assert (adopted, decisions(verdicts)) == ("a", ["adopt", "move", "move"])
    adopted, verdicts = decide(None, None, remote("c"))
    assert (adopted, decisions(verdicts)) == ("c", ["create", "create", "adopt"])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (remote(commit="d"), "commit dddddddddddd"),
        (remote(commit=""), "does not say"),
        (remote(fingerprint=""), "does not say"),
        (remote(fingerprint="f2"), "another configuration"),
        (remote(platforms=(AMD64,)), "other platforms (linux/amd64)"),
    ],
)
def test_anything_else_under_a_version_tag_is_refused(other: RemoteTag, reason: str) -> None:
    adopted, (verdict,) = decide(other)
    assert (adopted, verdict.decision) == (None, Decision.REFUSE)
    assert reason in verdict.reason
    _, (verdict,) = decide(other, overwrite=True)
    assert (verdict.decision, verdict.warn) == (Decision.MOVE, True)


def test_an_optional_registry_with_something_else_is_left_alone() -> None:
    _, verdicts = decide(None, None, remote(commit="d"))
    assert decisions(verdicts) == ["create", "create", "skip"]
    assert verdicts[2].warn


def test_what_a_dirty_tree_has_published_is_never_adopted() -> None:
    adopted, (verdict,) = decide(replace(remote(), dirty=True))
    assert (adopted, verdict.decision) == (None, Decision.REFUSE)
    assert "work tree with changes" in verdict.reason


@pytest.mark.parametrize(
    ("said", "adopted"), [("one", "a"), ("two", "a"), ("three", None), ("", None)]
)
def test_files_that_are_compared_must_be_the_same(said: str, adopted: str | None) -> None:
    result = replace(
        RESULT,
        sources={AMD64: frozenset({"one", "two"}), ARM64: frozenset({"arm"})},
        doubts=" (no commit holds gen)",
    )
    found, (verdict,) = decide(
        replace(remote(), sources={AMD64: said, ARM64: "arm"}), result=result
    )
    assert found == adopted
    if adopted is None:
        assert verdict.decision is Decision.REFUSE
        assert "files for linux/amd64 are not those of this tree (no commit holds" in verdict.reason


@pytest.mark.parametrize("clean", [True, False])
def test_a_dirty_tree_adopts_nothing(clean: bool) -> None:
    result = ReleaseIdentity(
        commit=RESULT.commit, fingerprint="f1", platforms=RESULT.platforms, clean=clean
    )
    assert decide(remote(), result=result)[0] == ("a" if clean else None)


@pytest.mark.parametrize(
    ("revision", "ancestry", "decision", "warn"),
    [
        ("", Ancestry.UNKNOWN, Decision.MOVE, True),
        ("c", Ancestry.NOT_ANCESTOR, Decision.MOVE, False),
        ("d", Ancestry.ANCESTOR, Decision.MOVE, False),
        ("d", Ancestry.NOT_ANCESTOR, Decision.SKIP, False),
        ("d", Ancestry.GONE, Decision.MOVE, True),
        ("d", Ancestry.UNKNOWN, Decision.SKIP, True),
    ],
)
def test_a_branch_s_tag_goes_only_to_descendants(
    revision: str, ancestry: Ancestry, decision: Decision, warn: bool
) -> None:
    verdict = branch_guard(revision, "c", ancestry)
    assert (verdict.decision, verdict.warn) == (decision, warn)


@pytest.mark.parametrize(
    ("revision", "decision"), [("", "move"), ("c" * 40, "move"), ("d" * 40, "skip")]
)
def test_a_commit_s_tag_is_replaced_only_by_the_same_commit(revision: str, decision: str) -> None:
    assert sha_guard(revision, "c" * 40).decision == decision


def test_only_some_decisions_write() -> None:
    assert {each for each in Decision if each.writes} == {
        Decision.CREATE,
        Decision.MOVE,
        Decision.UNKNOWN,
    }
