from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.errors import (
    BuildError,
    CleanupError,
    PartialReleaseError,
    PodbuildError,
    PublishError,
)
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform
from podbuild.plan.destination import Destination
from podbuild.plan.guards import Decision, Verdict
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.plan.tags import TagKind
from podbuild.publish.move import Order, Outcome, Tagged
from podbuild.report.collect import Delivered, image_reports, result_of, size_of, target_reports
from podbuild.report.model import PlatformReport, ReleaseResult, TagOutcome
from podbuild.semver import Version

TOML = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64", "linux/arm64"]
[images.base]
publish = false
[images.web]
contexts = { base = "image:base" }
[registries.ghcr]
kind = "ghcr"
repository = "ghcr.io/acme/{image}"
[registries.hub]
kind = "dockerhub"
repository = "docker.io/acme/{image}"
required = false
[tags]
branches = { main = ["edge", "sha-{sha}"] }
"""
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
INDEX = Manifest(MediaType.OCI_INDEX, b'{"manifests":[]}')
SOURCE = Commit(commit="0123456789" * 4, branch="main")


def plan_of(version: str | None = "1.2.3", **request: object) -> Plan:
    config = parse_config(TOML, Path("/project/podbuild.toml"), {})
    asked = Request(version=Version.parse(version) if version else None)
    return make_plan(config, replace(asked, **request), SOURCE)  # type: ignore[arg-type]


def destinations(plan: Plan) -> tuple[Destination, ...]:
    return tuple(
        Destination(
            image=target.image,
            registry=target.registry.name,
            required=target.registry.required,
            store=MemoryStore(name=target.place),
        )
        for target in plan.targets
    )


def delivered(plan: Plan, outcomes: dict[TagKind, Outcome]) -> Delivered:
    places = {destination.key: destination for destination in destinations(plan)}
    tagged = tuple(
        Tagged(
            order=Order(destination=places[target.key], named=move.named, manifest=INDEX),
            outcome=outcomes[move.kind],
            before=Digest.of(b"before"),
        )
        for target in plan.targets
        for move in target.tags
        if move.kind in outcomes
    )
    return Delivered(destinations=tuple(places.values()), tagged=tagged, sent={"ghcr/web": 42})


ALL_MOVED = dict.fromkeys(TagKind, Outcome.MOVED)


def test_every_tag_of_the_plan_is_reported_with_what_became_of_it() -> None:
    plan = plan_of()
    outcomes = {TagKind.VERSION: Outcome.ALREADY, TagKind.MOVING: Outcome.YIELDED}
    ghcr, hub = target_reports(plan, delivered(plan, outcomes))
    assert [(str(tag.tag), tag.outcome) for tag in ghcr.tags] == [
        ("1.2.3", TagOutcome.ALREADY),
        ("1.2", TagOutcome.YIELDED),
        ("1", TagOutcome.YIELDED),
        ("latest", TagOutcome.YIELDED),
    ]
    assert ghcr.tags[0].reference == "ghcr.io/acme/web:1.2.3"
    assert (ghcr.tags[0].digest, ghcr.tags[1].digest) == (INDEX.digest, Digest.of(b"before"))
    assert (ghcr.kind, ghcr.required, ghcr.bytes_sent) == ("ghcr", True, 42)
    assert (hub.kind, hub.required, hub.bytes_sent) == ("dockerhub", False, 0)


def test_version_tag_of_an_adopted_image_is_adopted() -> None:
    plan = plan_of()
    images = tuple(replace(image, adopted=INDEX.digest) for image in plan.images)
    adopted = replace(plan, images=images)
    outcomes = dict.fromkeys(TagKind, Outcome.ALREADY)
    tags = target_reports(adopted, delivered(adopted, outcomes))[0].tags
    assert [tag.outcome for tag in tags[:2]] == [TagOutcome.ADOPTED, TagOutcome.ALREADY]
    assert image_reports(adopted, {}, {})[1].digest == INDEX.digest


def test_tag_that_the_plan_skipped_says_why() -> None:
    plan = plan_of()
    targets = tuple(
        replace(
            target,
            tags=tuple(
                replace(move, verdict=Verdict(Decision.SKIP, "2.0.0 is higher"))
                for move in target.tags
            ),
        )
        for target in plan.targets
    )
    skipped = replace(plan, targets=targets)
    tag = target_reports(skipped, delivered(skipped, {}))[0].tags[3]
    assert (tag.outcome, tag.reason) == (TagOutcome.SKIPPED, "2.0.0 is higher")


def test_registry_that_failed_says_why() -> None:
    plan = plan_of()
    done = delivered(plan, ALL_MOVED)
    hub = done.destinations[1]
    failed = replace(done, failed={hub: PublishError("docker.io: 503")})
    targets = target_reports(plan, failed)
    assert [target.error for target in targets] == ["", "docker.io: 503"]
    assert result_of(plan, targets, None) is ReleaseResult.PUBLISHED


def test_before_any_store_is_open_the_plan_names_the_places() -> None:
    target = target_reports(plan_of(), Delivered())[0]
    assert target.repository == "ghcr.io/acme/web"
    assert target.tags[0].reference == "ghcr.io/acme/web:1.2.3"
    assert {tag.outcome for tag in target.tags} == {TagOutcome.UNTOUCHED}


def test_images_have_the_parts_that_were_made() -> None:
    part = PlatformReport(platform=ARM64, digest=Digest.of(b"arm64"))
    base, web = image_reports(plan_of(), {"web": INDEX}, {Job("web", ARM64): part})
    assert (base.digest, base.published, base.platforms) == (None, False, ())
    assert (web.digest, web.is_index, web.platforms) == (INDEX.digest, True, (part,))


def test_size_is_what_a_pull_costs() -> None:
    def blob(name: str, size: int) -> dict[str, object]:
        return {"mediaType": "x/y", "digest": str(Digest.of(name.encode())), "size": size}

    content = {"config": blob("config", 10), "layers": [blob("a", 100), blob("a", 100)]}
    data = json.dumps(content).encode()
    assert size_of(Manifest(MediaType.OCI_MANIFEST, data)) == len(data) + 110


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (None, ReleaseResult.PUBLISHED),
        (CleanupError("left"), ReleaseResult.PUBLISHED),
        (PartialReleaseError("some"), ReleaseResult.PARTIAL),
        (BuildError("web"), ReleaseResult.FAILED),
    ],
)
def test_result_follows_the_failure(failure: PodbuildError | None, expected: ReleaseResult) -> None:
    plan = plan_of()
    targets = target_reports(plan, delivered(plan, ALL_MOVED))
    assert result_of(plan, targets, failure) is expected


@pytest.mark.parametrize(
    ("version", "outcomes", "expected"),
    [
        ("1.2.3", ALL_MOVED | {TagKind.MOVING: Outcome.SKIPPED}, ReleaseResult.PUBLISHED),
        ("1.2.3", dict.fromkeys(TagKind, Outcome.ALREADY), ReleaseResult.PUBLISHED),
        ("1.2.3", {TagKind.VERSION: Outcome.MOVED}, ReleaseResult.PARTIAL),
        (None, ALL_MOVED, ReleaseResult.PUBLISHED),
        (None, ALL_MOVED | {TagKind.MOVING: Outcome.SKIPPED}, ReleaseResult.SKIPPED),
        (None, ALL_MOVED | {TagKind.MOVING: Outcome.YIELDED}, ReleaseResult.SKIPPED),
    ],
)
def test_result_follows_the_tags(
    version: str | None, outcomes: dict[TagKind, Outcome], expected: ReleaseResult
) -> None:
    plan = plan_of(version)
    assert result_of(plan, target_reports(plan, delivered(plan, outcomes)), None) is expected


def test_fewer_platforms_are_partial() -> None:
    plan = plan_of(platforms=(AMD64,))
    assert result_of(plan, target_reports(plan, delivered(plan, {})), None) is ReleaseResult.PARTIAL
