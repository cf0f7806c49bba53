"""Sizes against the version before: from manifests alone, above a floor, and what --allow does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.examine.growth import (
    Before,
    grown_too_much,
    size_changes,
    sizes_before,
)
from podbuild.build.inputs.lint import Level
from podbuild.build.staging.area import Pool, Staging
from podbuild.config.load import parse_config
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan.decide import Held, Standing, standing_images, tags_before
from podbuild.plan.destination import Destination, Planned
from podbuild.plan.guards import RemoteTag
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version

AMD64 = Platform("linux", "amd64")
WEB = Job("web", AMD64)
MB = 1_000_000


def image(**layers: int) -> Manifest:
    """Give a manifest with layers of these sizes; a name stands for a content."""
    return Manifest(
        MediaType.OCI_MANIFEST,
        json.dumps(
            {
                "schemaVersion": 2,
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": str(Digest.of(name.encode())),
                        "size": size,
                    }
                    for name, size in layers.items()
                ],
            }
        ).encode(),
    )


def planned(tmp_path: Path, budget: str, request: Request | None = None) -> Planned:
    text = (
        f'[project]\nname = "p"\n[images.web]\ncontext = "{tmp_path}"\n'
        f'platforms = ["linux/amd64"]\nbudget = {{ {budget} }}\n'
    )
    config = parse_config(text, tmp_path / "podbuild.toml", {})
    asked = request or Request(version=Version.parse("1.3.0"))
    return Planned(plan=make_plan(config, asked, Commit(commit="a" * 40, branch="main")))


def test_growth_is_of_all_layers_and_an_update_of_the_new_ones() -> None:
    old, new = image(base=50 * MB, app=10 * MB), image(base=50 * MB, other=12 * MB, more=1 * MB)
    before = {"web": Before(since="1.2.2", images={AMD64: old})}
    (change,) = size_changes(before, {WEB: new}).values()
    assert (change.before, change.now, change.update) == (60 * MB, 63 * MB, 13 * MB)
    assert str(change) == "+3.0 MB (+5.0%) since 1.2.2"
    assert not size_changes({}, {WEB: new})


@pytest.mark.parametrize(
    ("budget", "grown", "level"),
    [
        ('growth = "10%"', 6 * MB, None),  # of 60 MB
        ('growth = "10%"', 7 * MB, Level.ERROR),
        ('growth = "5%"', 5 * MB, None),  # the floor
        ('growth = "1%", growth-floor = "1MB"', 2 * MB, Level.ERROR),
        ('growth = "1%", growth-floor = "1MB"', 1 * MB, None),
        ('growth = "20MB"', 20 * MB, None),
        ('growth = "20MB"', 20 * MB + 1, Level.ERROR),
        ('growth = "20MB", on = "warn"', 30 * MB, Level.WARNING),
        ('growth = "0%"', -30 * MB, None),
        ('size = "1GB"', 900 * MB, None),
    ],
)
def test_growth_is_judged_above_its_floor(
    budget: str, grown: int, level: Level | None, tmp_path: Path
) -> None:
    before = {"web": Before(since="1.2.2", images={AMD64: image(base=60 * MB)})}
    changes = size_changes(before, {WEB: image(base=60 * MB + grown)})
    found = [*grown_too_much(planned(tmp_path, budget), changes, lambda *_: ("podbuild.toml", 6))]
    assert [each.level for each in found] == ([] if level is None else [level])


def test_growth_that_is_let_pass_is_said(tmp_path: Path) -> None:
    before = {"web": Before(since="1.2.2", images={AMD64: image(base=1 * MB)})}
    changes = size_changes(before, {WEB: image(base=60 * MB)})
    request = Request(version=Version.parse("1.3.0"), growth=True)
    plan = planned(tmp_path, 'growth = "10%"', request)
    (found,) = grown_too_much(plan, changes, lambda *_: ("podbuild.toml", 6))
    assert found.level is Level.WARNING
    assert "let pass by --allow-growth" in found.message


def compared(plan: Plan, *tags: str) -> list[str]:
    held = Held(tags=tuple(map(Tag, tags)), found={})
    return [tag.text for tag in tags_before(plan, {"here/web": held}).values()]


def test_a_version_is_compared_with_the_highest_stable_one_below_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, 'growth = "10%"').plan
    every = ("1.2.2", "1.2.10", "1.3.0", "1.4.0", "2.0.0", "1.3.0-rc.1", "1.2", "1", "latest")
    assert compared(plan, *every) == ["1.2.10"]
    assert compared(replace(plan, yanked=frozenset({Version.parse("1.2.10")})), *every) == ["1.2.2"]
    assert not compared(plan, "1.3.0", "latest")
    assert not compared(plan)


def test_what_the_plan_has_read_says_which_image_that_is(tmp_path: Path) -> None:
    plan = planned(tmp_path, 'growth = "10%"').plan
    read = {
        Tag(tag): RemoteTag(tag=Tag(tag), digest=Digest.of(tag.encode()), version=version)
        for tag, version in (("latest", Version.parse("1.2.10")), ("1", Version.parse("1.2.2")))
    }
    tags = tuple(map(Tag, ("1.2.2", "1.2.10", "1", "latest")))
    found = standing_images(plan, {"here/web": Held(tags=tags, found=read)})
    assert found.compared == {"here/web": Digest.of(b"latest")}
    del read[Tag("latest")]
    assert standing_images(plan, {"here/web": Held(tags=tags, found=read)}).compared == {}
    assert standing_images(plan, {}) == Standing()


class Shelf:
    """A store that counts how often it is asked."""

    name = "shelf"

    def __init__(self, index: Manifest, children: list[Manifest]) -> None:
        self.index = index
        self.children = {each.digest: each for each in children}
        self.asked: list[object] = []

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        self.asked.append(target)
        by_digest = {self.index.digest: self.index, **self.children}
        return self.index if isinstance(target, Tag) else by_digest.get(target)


def test_a_manifest_is_read_once(tmp_path: Path) -> None:
    child = image(base=MB)
    index = Manifest(
        MediaType.OCI_INDEX,
        json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [
                    {**child.descriptor.to_json(), "platform": {"os": "linux", "architecture": a}}
                    for a in ("amd64", "s390x")
                ],
            }
        ).encode(),
    )
    shelf = Shelf(index, [child])
    where = Destination(image="web", registry="here", required=True, store=shelf)  # type: ignore[arg-type]
    plan = replace(
        planned(tmp_path, 'growth = "10%"'),
        destinations=(where,),
        before={"here/web": Tag("1.2.2")},
    )
    staging = Staging(Pool(tmp_path / "blobs"))
    expected = {"web": Before(since="1.2.2", images={AMD64: child})}
    for _ in range(2):
        assert sizes_before(plan, staging, pytest.fail) == expected
    assert shelf.asked == [Tag("1.2.2"), child.digest, Tag("1.2.2")]
    known = replace(plan, standing=Standing(compared={"here/web": index.digest}))
    assert sizes_before(known, staging, pytest.fail) == expected
    assert shelf.asked[3:] == [index.digest]
