"""Staged images: looked at, stamped, and compared with the index that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from podbuild.build.assemble import Members, check_index, plain_image
from podbuild.build.image import check_platform, layer_bytes, read_config, stamp
from podbuild.build.staging.area import Pool, StagedRepository, Staging
from podbuild.config.choices import Format
from podbuild.config.load import parse_config
from podbuild.errors import BuildError, VerificationError
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, PlannedImage, Request
from podbuild.system.records import JSONValue
from tests.images import make_image

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
TEXTS = {"org.opencontainers.image.version": "1.2.3", "a": "b"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StagedRepository]:
    pool = Pool(tmp_path / "blobs")
    yield Staging(pool).repository("web")
    pool.close()


def planned(folder: Path, *platforms: Platform) -> PlannedImage:
    (folder / "Containerfile").write_text("FROM scratch\n")
    names = json.dumps([str(platform) for platform in platforms])
    text = f'[project]\nname = "shop"\n[images.web]\nplatforms = {names}\n'
    config = parse_config(text, folder / "podbuild.toml", {})
    return make_plan(config, Request(), Commit(branch="main")).image("web")


def members(folder: Path, store: StagedRepository, *platforms: Platform) -> Members:
    return Members(
        image=planned(folder, *platforms),
        children={
            platform: make_image(store, b"layer", architecture=platform.architecture)
            for platform in platforms
        },
        texts=TEXTS,
    )


def index_of(members: Members, **changes: JSONValue) -> Manifest:
    listed: list[JSONValue] = [
        {**child.descriptor.to_json(), "platform": platform.to_json()}
        for platform, child in members.sorted
    ]
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "manifests": listed,
        "annotations": dict(members.texts),
        **changes,
    }
    return Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())


def test_an_index_with_exactly_the_members_is_right(
    tmp_path: Path, store: StagedRepository
) -> None:
    found = members(tmp_path, store, ARM64, AMD64)
    assert [platform for platform, _ in found.sorted] == [AMD64, ARM64]
    check_index(store, index_of(found), found)


def broken(found: Members) -> Mapping[str, Manifest]:
    good = index_of(found)
    entries = good.content["manifests"]
    assert isinstance(entries, list)
    return {
        "one is missing": index_of(found, manifests=entries[:1]),
        "one is there twice": index_of(found, manifests=[*entries, entries[0]]),
        "another order": index_of(found, manifests=entries[::-1]),
        "no platform": index_of(
            found,
            manifests=[{**entries[0], "platform": {}}, entries[1]],  # type: ignore[dict-item]
        ),
        "swapped platforms": index_of(
            found,
            manifests=[
                {**entries[0], "platform": ARM64.to_json()},  # type: ignore[dict-item]
                {**entries[1], "platform": AMD64.to_json()},  # type: ignore[dict-item]
            ],
        ),
        "other annotations": index_of(found, annotations={}),
        "an image": found.children[AMD64],
    }


@pytest.mark.parametrize(
    "what",
    [
        "one is missing",
        "one is there twice",
        "another order",
        "no platform",
        "swapped platforms",
        "other annotations",
        "an image",
    ],
)
def test_any_other_index_is_refused(tmp_path: Path, store: StagedRepository, what: str) -> None:
    found = members(tmp_path, store, AMD64, ARM64)
    with pytest.raises(VerificationError, match="web: the index"):
        check_index(store, broken(found)[what], found)


def test_an_image_for_another_platform_is_refused(store: StagedRepository) -> None:
    image = make_image(store, b"layer", architecture="amd64")
    check_platform(store, image, AMD64, "web")
    with pytest.raises(BuildError, match="web: the image is for linux/amd64"):
        check_platform(store, image, ARM64, "web")


def test_a_platform_that_is_not_staged_is_named(tmp_path: Path, store: StagedRepository) -> None:
    found = Members(image=planned(tmp_path, AMD64), children={}, texts={})
    with pytest.raises(VerificationError, match="web: not staged for linux/amd64"):
        plain_image(store.staging, found)


@pytest.mark.parametrize("form", list(Format))
def test_a_stamp_changes_texts_and_nothing_else(store: StagedRepository, form: Format) -> None:
    image = make_image(store, b"one", b"two")
    stamped = stamp(store, image, TEXTS, form)
    assert stamped.layers == image.layers
    assert dict(stamped.annotations) == (TEXTS if form is Format.OCI else {})
    before, after = read_config(store, image), read_config(store, stamped)
    match after:
        case {"config": {"Labels": labels}}:
            assert labels == TEXTS
        case _:
            pytest.fail(f"no labels: {after}")
    assert {**after, "config": None} == {**before, "config": None}
    assert store.manifest(stamped.digest) == stamped
    assert store.manifest(image.digest) == image
    assert layer_bytes(stamped) == len(b"onetwo")


def test_a_stamp_is_the_same_whatever_was_stamped_before(store: StagedRepository) -> None:
    image = make_image(store, b"one")
    older = stamp(store, image, {**TEXTS, "a": "older"}, Format.OCI)
    once = stamp(store, image, TEXTS, Format.OCI)
    assert stamp(store, once, TEXTS, Format.OCI).digest == once.digest
    assert stamp(store, older, TEXTS, Format.OCI).digest == once.digest
    assert older.digest != once.digest


def test_an_index_has_no_config(store: StagedRepository) -> None:
    with pytest.raises(VerificationError, match="is not an image"):
        read_config(store, Manifest(MediaType.OCI_INDEX, b'{"manifests":[]}'))
