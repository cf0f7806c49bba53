"""From configuration, version and commit to jobs, targets and tags."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.config.image import Secret
from podbuild.config.load import parse_config
from podbuild.config.model import Config
from podbuild.errors import ConfigError
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan import labels
from podbuild.plan.decide import Held, decide_tags
from podbuild.plan.guards import Ancestry, Decision, RemoteTag
from podbuild.plan.make import make_plan, plan_places
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.report.plan import plan_json
from podbuild.semver import Version

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
COMMIT = "0123abc" + "d" * 33
SOURCE = Commit(commit=COMMIT, created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), branch="main")

SHOP = """
[project]
name = "shop"
source = "https://github.com/acme/shop"

[images.web]
contexts = { base = "image:base" }
build-args = { VERSION = "{version}" }
secrets = [{ id = "npm", env = "NPM_TOKEN" }]

[images.base]
publish = false

[images.api]
contexts = { base = "image:base" }
platforms = ["linux/amd64"]
format = "docker"

[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/Acme/{image}"

[registries.hub]
kind = "dockerhub"
repository = "docker.io/acme/{image}"
required = false

[tags]
branches = { main = ["edge", "sha-{sha}"] }
"""


def config(text: str = SHOP, **environment: str) -> Config:
    return parse_config(text, Path("/project/podbuild.toml"), environment)


def release(
    version: str = "v1.2.3",
    text: str = SHOP,
    request: Request | None = None,
    source: Commit = SOURCE,
) -> Plan:
    asked = replace(request or Request(), version=Version.parse(version))
    return make_plan(config(text), asked, source)


def snapshot(text: str = SHOP, source: Commit = SOURCE) -> Plan:
    return make_plan(config(text), Request(), source)


def tags(plan: Plan, key: str) -> list[str]:
    return [str(move) for target in plan.targets if target.key == key for move in target.tags]


def test_each_image_is_built_for_each_of_its_platforms_after_what_it_builds_on() -> None:
    plan = release()
    assert [str(job) for job in plan.jobs] == [
        "base linux/amd64",
        "base linux/arm64",
        "web linux/amd64",
        "web linux/arm64",
        "api linux/amd64",
    ]
    assert plan.needs[Job("web", ARM64)] == (Job("base", ARM64),)
    assert plan.needs[Job("base", ARM64)] == ()


def test_each_published_image_goes_to_each_registry_with_its_tags() -> None:
    plan = release()
    assert [(target.key, target.place) for target in plan.targets] == [
        ("ghcr/web", "ghcr.io/acme/web"),
        ("hub/web", "docker.io/acme/web"),
        ("ghcr/api", "ghcr.io/acme/api"),
        ("hub/api", "docker.io/acme/api"),
    ]
    assert tags(plan, "hub/web") == ["1.2.3", "1.2", "1", "latest"]
    assert {move.decision for target in plan.targets for move in target.tags} == {Decision.UNKNOWN}


def test_an_image_with_one_platform_gets_no_index() -> None:
    plan = release()
    assert (plan.image("web").is_index, plan.image("api").is_index) == (True, False)


def test_the_version_stands_on_the_index_and_not_on_the_children() -> None:
    web = release().image("web")
    assert web.release_annotations[labels.VERSION] == "1.2.3"
    assert web.release_annotations[labels.REVISION] == COMMIT
    assert web.release_annotations[labels.CREATED] == "2026-01-02T03:04:05Z"
    assert web.labels == web.annotations
    assert web.labels == {
        labels.SOURCE: "https://github.com/acme/shop",
        labels.TITLE: "web",
    }
    assert web.labels == release("2.0.0").image("web").labels


def test_docker_format_has_no_annotations_on_its_manifests() -> None:
    api = release().image("api")
    assert api.annotations == {}
    assert api.labels[labels.TITLE] == "api"


def test_own_texts_win_except_for_what_guards_rely_on() -> None:
    text = SHOP + f'[defaults.annotations]\n"{labels.TITLE}" = "T"\n"{labels.REVISION}" = "no"\n'
    annotations = release(text=text).image("web").release_annotations
    assert annotations[labels.TITLE] == "T"
    assert annotations[labels.REVISION] == COMMIT


def test_placeholders_have_their_values_in_build_arguments() -> None:
    assert release().image("web").build_args == {"VERSION": "1.2.3"}
    assert snapshot().image("web").build_args == {"VERSION": "0.0.0-snapshot"}


def test_a_snapshot_has_the_tags_of_its_branch() -> None:
    assert tags(snapshot(), "ghcr/web") == ["edge", "sha-0123abc"]
    assert tags(snapshot(source=replace(SOURCE, branch="other")), "ghcr/web") == []


def test_a_prerelease_gets_only_its_own_tag() -> None:
    assert tags(release("1.2.3-rc.1"), "ghcr/web") == ["1.2.3-rc.1"]


def test_fewer_platforms_than_configured_move_no_tag() -> None:
    plan = release(request=Request(platforms=(ARM64,)))
    assert [str(job) for job in plan.jobs] == ["base linux/arm64", "web linux/arm64"]
    assert plan.is_partial
    assert [target.key for target in plan.targets] == ["ghcr/web", "hub/web"]
    assert tags(plan, "ghcr/web") == []


def test_an_image_that_is_left_out_for_its_platform_keeps_the_others_tags_too() -> None:
    text = SHOP.replace("[images.web]", '[images.web]\nplatforms = ["linux/arm64"]')
    plan = release(text=text, request=Request(platforms=(ARM64,)))
    assert [str(job) for job in plan.jobs] == ["base linux/arm64", "web linux/arm64"]
    assert tags(plan, "ghcr/web") == []
    assert plan.is_partial
    alone = release(text=text, request=Request(platforms=(ARM64,), images=("web",)))
    assert tags(alone, "ghcr/web") == ["1.2.3", "1.2", "1", "latest"]


def test_all_platforms_asked_for_by_name_are_a_whole_release() -> None:
    plan = release(request=Request(platforms=(ARM64, AMD64)))
    assert not plan.is_partial
    assert plan.jobs == release().jobs


def test_one_image_brings_what_it_builds_on() -> None:
    plan = release(request=Request(images=("api",)))
    assert [str(job) for job in plan.jobs] == ["base linux/amd64", "api linux/amd64"]
    assert [target.key for target in plan.targets] == ["ghcr/api", "hub/api"]


def test_an_unpublished_image_can_be_asked_for() -> None:
    plan = release(request=Request(images=("base",)))
    assert [str(job) for job in plan.jobs] == ["base linux/amd64", "base linux/arm64"]
    assert plan.targets == ()


def test_one_registry_narrows_the_targets() -> None:
    plan = release(request=Request(registries=("hub",)))
    assert [target.key for target in plan.targets] == ["hub/web", "hub/api"]


def test_narrowing_keeps_the_fingerprint_of_the_whole() -> None:
    assert release(request=Request(images=("api",))).fingerprint == release().fingerprint
    assert release(request=Request(platforms=(ARM64,))).fingerprint == release().fingerprint
    assert release("1.2.4").fingerprint != release().fingerprint  # VERSION is a build argument


def test_the_command_line_wins_over_the_configuration() -> None:
    asked = Request(
        images=("web",),
        target="debug",
        build_args={"VERSION": "{x}"},
        secrets=(Secret(id="npm", file=Path("/k")),),
    )
    plan = release(request=asked)
    web = plan.image("web")
    assert (web.image.target, web.build_args) == ("debug", {"VERSION": "{x}"})
    assert web.image.secrets == (Secret(id="npm", file=Path("/k")),)
    assert plan.image("base").image.target is None
    assert web.fingerprint != release().image("web").fingerprint


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(images=("wbe",)), "unknown image 'wbe'"),
        (Request(registries=("x",)), "unknown registry 'x'"),
        (Request(platforms=(Platform("linux", "s390x"),)), "no image is built for linux/s390x"),
    ],
)
def test_unknown_selections_are_refused(request_: Request, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        release(request=request_)


def test_a_yanked_version_is_not_released() -> None:
    text = SHOP.replace("[tags]", '[tags]\nyanked = ["1.2.3"]')
    with pytest.raises(ConfigError, match=r"1\.2\.3 is yanked"):
        release(text=text)
    assert release("1.2.4", text).yanked == {Version(1, 2, 3)}


def test_two_images_may_not_write_the_same_tag() -> None:
    text = SHOP.replace("Acme/{image}", "acme/all")
    with pytest.raises(ConfigError) as caught:
        release(text=text)
    assert caught.value.message == "images 'web' and 'api' both write ghcr.io/acme/all:1.2.3"


@pytest.mark.parametrize("image", ["web", "api"])
def test_an_image_released_alone_may_not_take_another_one_s_tag_either(image: str) -> None:
    text = SHOP.replace("Acme/{image}", "acme/all")
    with pytest.raises(ConfigError, match=r"both write ghcr\.io/acme/all:1\.2\.3"):
        release(text=text, request=Request(images=(image,)))


def test_two_images_share_a_repository_with_tags_of_their_own() -> None:
    text = SHOP.replace("Acme/{image}", "acme/all").replace(
        "docker.io/acme/{image}", "d.io/acme/all"
    )
    text = text.replace("[images.api]", '[images.api]\ntags = ["{version}-api"]')
    plan = release(text=text)
    assert tags(plan, "ghcr/api") == ["1.2.3-api"]
    assert [str(reader.template) for reader in plan.readers_beside("web")] == ["{version}-api"]


def test_two_registries_may_not_be_the_same_place() -> None:
    with pytest.raises(ConfigError, match="'ghcr' and 'hub' are the same place"):
        release(text=SHOP.replace("docker.io/acme", "ghcr.io/acme"))


@pytest.mark.parametrize("branch", ["latest", "1", "1.2.3"])
def test_a_branch_may_not_write_what_releases_write(branch: str) -> None:
    text = SHOP.replace('main = ["edge", "sha-{sha}"]', '"*" = ["{branch}"]')
    with pytest.raises(ConfigError, match=r"belongs to releases of 'web'"):
        snapshot(text, replace(SOURCE, branch=branch))


def test_a_release_may_not_write_what_a_branch_writes() -> None:
    text = SHOP.replace("Acme/{image}", "acme/all").replace(
        "docker.io/acme/{image}", "d.io/acme/all"
    )
    text = text.replace(
        "[images.api]",
        '[images.api]\ntags = { release = ["{version}-a"], branches = { main = ["1.2"] } }',
    )
    with pytest.raises(ConfigError, match=r"all:1\.2 belongs to the branch main"):
        release(text=text)


def test_an_unset_variable_is_named() -> None:
    text = SHOP.replace("Acme", "{env.OWNER}")
    with pytest.raises(ConfigError, match="OWNER is not set"):
        release(text=text)
    plan = make_plan(config(text, OWNER="ACME"), Request(version=Version(1, 0, 0)), SOURCE)
    assert plan.targets[0].place == "ghcr.io/acme/web"


def test_places_need_no_commit() -> None:
    text = SHOP + '[defaults.labels]\nrevision = "{sha} of {branch}"\n'
    with pytest.raises(ConfigError, match="not known here"):
        make_plan(config(text), Request(), Commit())
    places = plan_places(config(text), Request(registries=("hub",)))
    assert [target.place for target in places.targets] == [
        "docker.io/acme/web",
        "docker.io/acme/api",
    ]


def test_a_layout_is_a_folder() -> None:
    plan = release(text=SHOP.partition("[registries.ghcr]")[0])
    assert [target.place for target in plan.targets] == ["dist/registry/web", "dist/registry/api"]


# --- what registries say ------------------------------------------------------------------------


def remote(plan: Plan, image: str, tag: str, digest: str = "a", **changes: str) -> RemoteTag:
    planned = plan.image(image)
    found = RemoteTag(
        tag=Tag(tag),
        digest=Digest(f"sha256:{digest * 64}"),
        revision=changes.get("revision", COMMIT),
        fingerprint=changes.get("fingerprint", planned.fingerprint),
        platforms=frozenset(planned.platforms),
    )
    version = changes.get("version")
    return replace(found, version=Version.parse(version)) if version else found


def facts(*found: RemoteTag, listed: str = "") -> Held:
    return Held(
        tags=tuple(Tag(text) for text in listed.split()) + tuple(each.tag for each in found),
        found={each.tag: each for each in found},
    )


def decisions(plan: Plan, key: str) -> dict[str, str]:
    (target,) = (each for each in plan.targets if each.key == key)
    return {str(move): move.decision.value for move in target.tags}


def asked(plan: Plan, **known: Held) -> Mapping[str, Held]:
    return {target.key: known.get(target.key.replace("/", "_"), Held()) for target in plan.targets}


def test_on_empty_registries_every_tag_is_created() -> None:
    plan = release()
    decided = decide_tags(plan, asked(plan))
    assert set(decisions(decided, "hub/web").values()) == {"create"}
    assert decided.jobs == plan.jobs
    assert not decided.refused


def test_an_old_release_run_again_leaves_the_newer_ones_tags() -> None:
    plan = release()
    decided = decide_tags(plan, asked(plan, ghcr_web=facts(listed="1.2.9 2.0.0 latest 1")))
    expected = {"1.2.3": "create", "1.2": "skip", "1": "skip", "latest": "skip"}
    assert decisions(decided, "ghcr/web") == expected
    assert decisions(decided, "hub/web") == expected  # decided once, over all registries
    assert decisions(decided, "ghcr/api")["latest"] == "create"


def test_registries_that_are_not_asked_for_count_all_the_same() -> None:
    """One digest everywhere: what another registry holds of this release is not built again."""
    plan = release(request=Request(registries=("hub",)))
    assert {target.registry.name for target in plan.targets} == {"hub"}
    done = remote(plan, "web", "1.2.3")
    held = {"ghcr/web": facts(done), "ghcr/api": facts(listed="2.0.0")}
    decided = decide_tags(plan, {**asked(plan), **held})
    assert decided.image("web").adopted == done.digest
    assert "web" not in {job.image for job in decided.jobs}
    assert decisions(decided, "hub/web")["1.2.3"] == "create"
    assert decisions(decided, "hub/api")["latest"] == "skip"
    assert {target.registry.name for target in decided.targets} == {"hub"}


def test_an_optional_registry_holds_nothing_back() -> None:
    plan = release()
    decided = decide_tags(plan, asked(plan, hub_web=facts(listed="2.0.0")))
    assert decisions(decided, "ghcr/web")["latest"] == "create"


def test_what_a_moving_tag_names_counts_too() -> None:
    plan = release()
    held = facts(remote(plan, "web", "latest", version="2.0.0"))
    assert decisions(decide_tags(plan, asked(plan, ghcr_web=held)), "ghcr/web")["latest"] == "skip"


def test_backwards_only_when_asked() -> None:
    plan = release(request=Request(backwards=True))
    decided = decide_tags(plan, asked(plan, ghcr_web=facts(listed="2.0.0 latest")))
    assert decisions(decided, "ghcr/web")["1"] == "create"
    assert "skip" not in decisions(decided, "ghcr/web").values()


def test_a_finished_release_is_adopted_and_nothing_is_built() -> None:
    plan = release()
    held = facts(remote(plan, "web", "1.2.3"))
    decided = decide_tags(plan, asked(plan, ghcr_web=held))
    assert decisions(decided, "ghcr/web")["1.2.3"] == "adopt"
    assert decisions(decided, "hub/web")["1.2.3"] == "create"
    assert decided.image("web").adopted == Digest(f"sha256:{'a' * 64}")
    assert [str(job) for job in decided.jobs] == ["base linux/amd64", "api linux/amd64"]
    both = decide_tags(
        plan, asked(plan, ghcr_web=held, ghcr_api=facts(remote(plan, "api", "1.2.3")))
    )
    assert both.jobs == ()


def test_moving_tags_of_a_finished_release_are_kept_and_others_moved() -> None:
    plan = release()
    old = Digest(f"sha256:{'b' * 64}")
    held = facts(
        remote(plan, "web", "1.2.3"),
        remote(plan, "web", "1.2"),
        replace(remote(plan, "web", "1"), digest=old),
    )
    decided = decide_tags(plan, asked(plan, ghcr_web=held, hub_web=facts(listed="2.0.0")))
    assert decisions(decided, "ghcr/web") == {
        "1.2.3": "adopt", "1.2": "keep", "1": "move", "latest": "create"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"revision": "f" * 40}, SOURCE),
        ({"fingerprint": "x"}, SOURCE),
        ({}, replace(SOURCE, dirty=True)),
    ],
)
def test_another_image_under_a_version_tag_is_refused(
    changes: dict[str, str], source: Commit
) -> None:
    plan = release(source=source)
    decided = decide_tags(
        plan, asked(plan, ghcr_web=facts(remote(plan, "web", "1.2.3", **changes)))
    )
    assert [(target.key, str(move)) for target, move in decided.refused] == [("ghcr/web", "1.2.3")]


def test_overwriting_is_possible_only_when_asked() -> None:
    plan = release(request=Request(overwrite=True))
    held = facts(remote(plan, "web", "1.2.3", revision="f" * 40))
    decided = decide_tags(plan, asked(plan, ghcr_web=held))
    assert decisions(decided, "ghcr/web")["1.2.3"] == "move"
    assert not decided.refused


def test_a_branch_tag_stays_everywhere_when_one_registry_has_a_newer_commit() -> None:
    text = SHOP.replace("required = false", "")
    plan = snapshot(text)
    held = facts(remote(plan, "web", "edge", revision="f" * 40))
    for ancestry, here, there in (
        (Ancestry.ANCESTOR, "move", "create"),
        (Ancestry.NOT_ANCESTOR, "skip", "skip"),
        (Ancestry.GONE, "move", "create"),
        (Ancestry.UNKNOWN, "skip", "skip"),
    ):
        decided = decide_tags(plan, asked(plan, ghcr_web=held), {"f" * 40: ancestry})
        assert decisions(decided, "ghcr/web") == {"edge": here, "sha-0123abc": "create"}
        assert decisions(decided, "hub/web")["edge"] == there


def test_a_commit_s_tag_is_replaced_only_by_its_commit() -> None:
    plan = snapshot()
    other = facts(remote(plan, "web", "sha-0123abc", revision="f" * 40))
    same = facts(remote(plan, "web", "sha-0123abc"))
    assert decisions(decide_tags(plan, asked(plan, ghcr_web=other)), "ghcr/web")["sha-0123abc"] == (
        "skip"
    )
    assert decisions(decide_tags(plan, asked(plan, ghcr_web=same)), "ghcr/web")["sha-0123abc"] == (
        "move"
    )


def test_a_registry_that_was_not_asked_stays_unknown() -> None:
    plan = release()
    decided = decide_tags(plan, {"ghcr/web": Held()})
    assert set(decisions(decided, "hub/web").values()) == {"unknown"}
    assert set(decisions(decided, "ghcr/web").values()) == {"create"}


# --- forms --------------------------------------------------------------------------------------


def test_the_json_of_a_plan_is_the_same_each_time_and_names_no_machine() -> None:
    text = json.dumps(plan_json(release()))
    assert text == json.dumps(plan_json(release()))
    assert "/project" not in text
    content = plan_json(release())
    assert content["schema"] == 1
    assert content["secrets"] == ["npm"]
    targets = json.loads(text)["targets"]
    assert targets[0]["repository"] == "ghcr.io/acme/web"
    assert targets[0]["tags"][0] == {
        "tag": "1.2.3",
        "kind": "version",
        "decision": "unknown",
        "reason": "the registry was not asked",
    }


def test_paths_of_the_machine_do_not_change_a_fingerprint() -> None:
    elsewhere = parse_config(SHOP, Path("/other/podbuild.toml"), {})
    moved = make_plan(elsewhere, Request(version=Version(1, 2, 3)), SOURCE)
    assert moved.fingerprint == release().fingerprint
    assert moved.image("web").fingerprint == release().image("web").fingerprint


@pytest.mark.parametrize(
    "line",
    [
        "context = 'web'",
        "target = 'x'",
        "ignorefile = 'x'",
        "ssh = ['default']",
        "labels = { a = 'b' }",
        "annotations = { a = 'b' }",
        "format = 'docker'",
        "compression = 'zstd'",
        "index = 'always'",
        "layers = false",
        "timestamp = 'commit'",
        "network = 'none'",
        "containerfile = 'x'",
    ],
)
def test_what_reaches_an_image_changes_its_fingerprint(line: str) -> None:
    text = SHOP.replace("[images.base]", f"[images.base]\n{line}")
    assert release(text=text).image("base").fingerprint != release().image("base").fingerprint
    assert release(text=text).image("web").fingerprint != release().image("web").fingerprint


@pytest.mark.parametrize(
    "line", ["timeout = '5m'", "registries = ['hub']", "tags = ['x{version}']", "pull = 'missing'"]
)
def test_where_an_image_goes_changes_no_image(line: str) -> None:
    text = SHOP.replace("[images.web]", f"[images.web]\n{line}")
    assert release(text=text).image("web").fingerprint == release().image("web").fingerprint


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9), max_size=3), min_size=1))
def test_jobs_come_after_all_they_need(graph: dict[int, set[int]]) -> None:
    names = sorted(graph)
    text = '[project]\nname = "p"\n'
    for place, name in enumerate(names):
        inner = {other for other in graph[name] if other in names[:place]}
        contexts = ", ".join(f'c{other} = "image:i{other}"' for other in sorted(inner))
        text += f"[images.i{name}]\ncontexts = {{ {contexts} }}\n"
    plan = make_plan(config(text), Request(version=Version(1, 0, 0)), SOURCE)
    seen: set[Job] = set()
    for job in plan.jobs:
        assert set(plan.needs[job]) <= seen
        seen.add(job)
    assert len(seen) == 2 * len(names)


def test_many_images_and_platforms_are_planned() -> None:
    platforms = '["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"]'
    text = SHOP + f"[defaults]\nplatforms = {platforms}\n"
    text = text.replace('["linux/amd64"]', platforms)
    for number in range(100):
        text += f'[images.i{number}]\ncontexts = {{ b = "image:base" }}\n'
    plan = release(text=text)
    assert len(plan.jobs) == 103 * 4
    assert len(plan.targets) == 2 * 102
