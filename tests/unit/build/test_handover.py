"""dist/staging: what one machine hands to another, and what is refused there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podbuild.build.handover import hand_over, restock
from podbuild.build.join import Lost, missing_parts, read_handed_over, take_over
from podbuild.build.model import BuildRecord, Handed, InputHash, Origin
from podbuild.build.parcel import pack, put_parcel, read_place
from podbuild.build.results import recorded
from podbuild.build.staging.area import Pool, Staging
from podbuild.commands.build import Leaving
from podbuild.commands.planning import with_dirt
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform, Reference, Tag
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Binding, Journal, Section, open_journal
from podbuild.plan.labels import DIRTY
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version
from tests.images import make_image, make_index

TOML = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64", "linux/arm64"]
[images.web]
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
AMD64, ARM64 = (Job("web", Platform("linux", name)) for name in ("amd64", "arm64"))


def plan_of(version: str = "1.2.3", commit: str = COMMIT) -> Plan:
    config = parse_config(TOML, Path("/project/podbuild.toml"), {})
    return make_plan(config, Request(version=Version.parse(version)), Commit(commit=commit))


def binding_of(plan: Plan, toolchain: str = "buildah-1.43.2") -> Binding:
    return Binding(
        release=plan.name,
        commit=plan.source.commit,
        configuration=plan.fingerprint,
        toolchain=toolchain,
    )


class Machine:
    """One machine's output folder, journal and staging."""

    def __init__(self, folder: Path, plan: Plan | None = None, toolchain: str = "a-1") -> None:
        self.output = folder / "dist"
        self.binding = binding_of(plan or plan_of(), toolchain)
        self.journal: Journal = open_journal(self.output, self.binding).journal
        self.staging = Staging(Pool(folder / "cache"))

    def build(self, job: Job, layer: bytes = b"layer") -> Manifest:
        store = self.staging.repository(job.image)
        manifest = make_image(store, layer, architecture=job.platform.architecture)
        record = BuildRecord(digest=manifest.digest, inputs=InputHash(text=f"sha256:{'1' * 64}"))
        self.journal.record(Section.BUILT, str(job), record.to_json())
        return manifest

    def hand_over(self, *, thin: bool = False) -> Path:
        hand_over(self.output, self.journal, self.staging, thin=thin)
        return self.output

    def take(
        self, *places: Path | Reference, elsewhere: MemoryStore | None = None
    ) -> Mapping[Job, Lost]:
        """Take over; `elsewhere` is the registry of layers and of what is handed over."""
        plan, registry = plan_of(), elsewhere or MemoryStore()
        handed = read_handed_over(places, plan, binding_of(plan), lambda _repository: registry)
        return take_over(handed.parts, self.journal, self.staging, lambda _image: registry)

    @property
    def layout(self) -> LayoutStore:
        return LayoutStore(self.output / "staging")


def test_staging_names_each_platform_and_the_index(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    amd64, arm64 = here.build(AMD64, b"one"), here.build(ARM64, b"two")
    index = make_index(here.staging.repository("web"), amd64=amd64, arm64=arm64)
    here.journal.record(Section.ASSEMBLED, "web", str(index.digest))
    here.hand_over()
    assert [*map(str, here.layout.tags())] == ["web-index", "web-linux-amd64", "web-linux-arm64"]
    assert all(here.layout.has_blob(blob) for blob in (*amd64.blobs, *arm64.blobs))


def test_nothing_staged_makes_no_folder(tmp_path: Path) -> None:
    assert not (Machine(tmp_path).hand_over() / "staging").exists()


def test_blobs_are_links_and_no_copies(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    (layer,) = here.build(AMD64).layers
    here.hand_over()
    file = here.layout.blob_file(layer.digest)
    assert file.samefile(here.staging.pool.path(layer.digest))


def test_what_another_release_left_goes_and_what_others_put_there_stays(tmp_path: Path) -> None:
    before = Machine(tmp_path, plan_of("1.2.2"))
    old = before.build(AMD64, b"old")
    before.hand_over()
    mine = before.output / "staging" / "blobs" / "sha256" / "notes.txt"
    mine.write_text("kept")
    theirs = before.output / "staging" / "blobs" / "sha256" / ("5" * 64)
    theirs.write_bytes(b"of another tool")
    now = Machine(tmp_path)
    new = now.build(AMD64, b"new")
    now.hand_over()
    assert [entry.digest for entry in now.layout.entries()] == [new.digest]
    assert not any(now.layout.has_blob(blob) for blob in old.layers)
    assert mine.exists()
    assert theirs.exists()


def test_a_join_records_what_two_machines_built_with_any_engine(tmp_path: Path) -> None:
    one, two = Machine(tmp_path / "1", toolchain="a-1"), Machine(tmp_path / "2", toolchain="b-2")
    built = {AMD64: one.build(AMD64, b"one").digest, ARM64: two.build(ARM64, b"two").digest}
    here = Machine(tmp_path / "3")
    here.take(one.hand_over(), two.hand_over())
    found = {job: record for job, record, _ in recorded(plan_of(), here.journal, here.staging)}
    assert {job: record.digest for job, record in found.items()} == built
    assert {record.origin for record in found.values()} == {Origin.JOINED}
    assert {record.inputs.text for record in found.values()} == {f"sha256:{'1' * 64}"}


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (plan_of("1.2.4"), ("1.2.3", "1.2.4")),
        (plan_of(commit="f" * 40), (COMMIT, "f" * 40)),
    ],
)
def test_a_folder_of_another_release_is_refused_by_name(
    tmp_path: Path, there: Plan, named: tuple[str, str]
) -> None:
    other = Machine(tmp_path / "other", there)
    other.build(AMD64)
    with pytest.raises(ConfigError) as raised:
        Machine(tmp_path / "here").take(other.hand_over())
    assert all(name in raised.value.message for name in named)


def unversioned(text: str) -> Plan:
    config = parse_config(text, Path("/project/podbuild.toml"), {})
    return make_plan(config, Request(), Commit(commit=COMMIT, branch="main"))


def test_what_was_built_without_the_version_is_joined_where_no_input_uses_it(
    tmp_path: Path,
) -> None:
    other, here = Machine(tmp_path / "other", unversioned(TOML)), Machine(tmp_path / "here")
    other.build(AMD64)
    here.take(other.hand_over())
    assert [job for job, _, _ in recorded(plan_of(), here.journal, here.staging)] == [AMD64]


def test_a_branch_joins_what_was_built_with_the_tag_that_its_commit_has(tmp_path: Path) -> None:
    other, plan = Machine(tmp_path / "other"), unversioned(TOML)
    other.build(AMD64)
    handed = read_handed_over([other.hand_over()], plan, binding_of(plan), lambda _: MemoryStore())
    assert [each.job for each in handed.parts] == [AMD64]


def test_what_was_built_without_a_version_that_an_input_uses_is_refused(tmp_path: Path) -> None:
    text = f'{TOML}build-args = {{ VERSION = "{{version}}" }}\n'
    other = Machine(tmp_path / "other", unversioned(text))
    other.build(AMD64)
    plan = make_plan(
        parse_config(text, Path("/project/podbuild.toml"), {}),
        Request(version=Version.parse("1.2.3")),
        Commit(commit=COMMIT),
    )
    with pytest.raises(ConfigError, match="its version is main") as raised:
        read_handed_over([other.hand_over()], plan, binding_of(plan), lambda _: MemoryStore())
    assert "--version 1.2.3" in raised.value.hint


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    other.build(AMD64)
    folder = other.hand_over()
    state = json.loads((folder / "state.json").read_text())
    state["binding"]["configuration"] = "sha256:other"
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(ConfigError, match="its configuration is sha256:other"):
        Machine(tmp_path / "here").take(folder)


def test_what_a_dirty_tree_built_makes_no_clean_release(tmp_path: Path) -> None:
    plan = plan_of()
    record = BuildRecord(
        digest=Digest.of(b"x"), inputs=InputHash(text="sha256:1"), origin=Origin.BUILT, dirty=True
    )
    handed = Handed(job=AMD64, record=record, place=str(tmp_path), store=MemoryStore())
    planned = with_dirt(Planned(plan=plan), [handed])
    assert not planned.plan.result("web").clean
    assert planned.plan.image("web").release_annotations[DIRTY] == "true"
    assert planned.refusal
    assert "--allow-dirty" in planned.refusal.hint
    allowed = replace(plan, request=replace(plan.request, dirty=True))
    assert with_dirt(Planned(plan=allowed), [handed]).refusal is None
    assert str(tmp_path) in planned.warnings[0]
    clean = replace(handed, record=replace(record, dirty=False))
    assert with_dirt(Planned(plan=plan), [clean]) == Planned(plan=plan)


def test_a_folder_without_staging_is_refused(tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    other.build(AMD64)
    with pytest.raises(ConfigError, match=r"there is no staging/index\.json"):
        Machine(tmp_path / "here").take(other.output)


@pytest.mark.parametrize(
    "name", ["state.json", "staging", "staging/blobs", "staging/blobs/sha256/x"]
)
def test_links_that_lead_out_of_a_folder_are_refused(tmp_path: Path, name: str) -> None:
    other = Machine(tmp_path / "other")
    other.build(AMD64)
    folder = other.hand_over()
    place = folder / name
    moved = tmp_path / "moved"
    if place.exists():
        place.rename(moved)
    place.symlink_to(moved)
    with pytest.raises(ConfigError, match=f"{name} is a link that leads out"):
        Machine(tmp_path / "here").take(folder)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_refused_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"/{name}: no such folder"):
        Machine(tmp_path / "here").take(tmp_path / name)


def test_two_images_for_one_job_are_refused(tmp_path: Path) -> None:
    one, two = Machine(tmp_path / "1"), Machine(tmp_path / "2")
    digests = [one.build(AMD64, b"one").digest, two.build(AMD64, b"two").digest]
    with pytest.raises(ConfigError) as raised:
        Machine(tmp_path / "here").take(one.hand_over(), two.hand_over())
    assert all(str(digest) in raised.value.message for digest in digests)


def test_a_layer_that_neither_the_folder_nor_a_registry_has_is_refused(tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    (layer,) = other.build(AMD64).layers
    folder = other.hand_over()
    other.layout.blob_file(layer.digest).unlink()
    lost = Machine(tmp_path / "here").take(folder)
    error = missing_parts(lost, lost, ())
    assert str(layer.digest) in error.message
    assert error.hint.endswith("podbuild build web --platform linux/amd64")


@pytest.mark.parametrize("how", ["another platform's", "an index"])
def test_an_image_of_another_platform_is_refused(tmp_path: Path, how: str) -> None:
    other = Machine(tmp_path / "other")
    wrong = other.build(ARM64)
    if how == "an index":
        wrong = make_index(other.staging.repository("web"), arm64=wrong)
    record = BuildRecord(digest=wrong.digest, inputs=InputHash(text=f"sha256:{'1' * 64}"))
    other.journal.record(Section.BUILT, str(AMD64), record.to_json())
    here = Machine(tmp_path / "here")
    lost = here.take(other.hand_over())
    assert list(lost) == [AMD64]
    assert "what it has for web linux/amd64 is for" in missing_parts(lost, lost, ()).message
    assert [job for job, _, _ in recorded(plan_of(), here.journal, here.staging)] == [ARM64]


def test_a_layer_that_a_registry_has_lost_is_built_again(tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    (layer,) = other.build(AMD64).layers
    built = BuildRecord.from_json(other.journal.get(Section.BUILT, str(AMD64)))
    assert built is not None
    reused = replace(built, origin=Origin.REUSED)
    other.journal.record(Section.BUILT, str(AMD64), reused.to_json())
    other.staging.pool.path(layer.digest).unlink()
    lost = Machine(tmp_path / "here").take(other.hand_over())
    error = missing_parts(lost, lost, ())
    assert "registry that has lost" in error.message
    assert error.hint.endswith("web --platform linux/amd64 --no-reuse")


def test_a_layer_may_stay_in_a_registry(tmp_path: Path) -> None:
    other, registry = Machine(tmp_path / "other"), MemoryStore()
    manifest = other.build(AMD64)
    make_image(registry, b"layer")
    other.staging.pool.path(manifest.layers[0].digest).unlink()
    here = Machine(tmp_path / "here")
    here.take(other.hand_over(), elsewhere=registry)
    assert [job for job, _, _ in recorded(plan_of(), here.journal, here.staging)] == [AMD64]


def test_an_empty_cache_is_filled_again_from_the_output_folder(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    manifest = here.build(AMD64)
    here.hand_over()
    staging = Staging(Pool(tmp_path / "another"))
    restock(here.output, here.journal, staging)
    store = staging.repository("web")
    assert store.manifest(manifest.digest) == manifest
    assert all(map(store.has_blob, manifest.blobs))


def test_what_is_damaged_in_the_output_folder_is_made_again(tmp_path: Path) -> None:
    here = Machine(tmp_path)
    (layer,) = here.build(AMD64).layers
    here.hand_over()
    damaged = here.layout.blob_file(layer.digest)
    damaged.unlink()
    damaged.write_bytes(b"LAYER")
    staging = Staging(Pool(tmp_path / "another"))
    restock(here.output, here.journal, staging)
    assert staging.pool.size(layer.digest) is None


def test_a_record_of_an_older_podbuild_is_read() -> None:
    digest = Digest.of(b"x")
    record = BuildRecord.from_json({"digest": str(digest), "inputs": "sha256:1"})
    assert record == BuildRecord(digest=digest, inputs=InputHash(text="sha256:1"))
    assert BuildRecord.from_json(None) is None
    assert BuildRecord.from_json({"digest": "sha512:1", "inputs": "sha256:1"}) is None
    assert BuildRecord.from_json(record.to_json()) == record


PLACE = Reference.parse("registry.example.com/acme/hand-over:7-linux-amd64")


def leave(machine: Machine, registry: MemoryStore, *jobs: Job) -> bytes:
    """Leave a parcel in the registry that has the layers."""
    data = pack(machine.journal, machine.staging, jobs)
    assert isinstance(PLACE.target, Tag)
    put_parcel(registry, PLACE.target, data)
    return data


def test_a_thin_folder_holds_no_layers_and_is_joined_where_a_registry_has_them(
    tmp_path: Path,
) -> None:
    other, registry = Machine(tmp_path / "other"), MemoryStore()
    manifest = other.build(AMD64)
    make_image(registry, b"layer")
    other.hand_over()  # whole, and then thin
    folder = other.hand_over(thin=True)
    assert not any(map(other.layout.has_blob, manifest.layers))
    assert manifest.config
    assert other.layout.has_blob(manifest.config)
    here = Machine(tmp_path / "here")
    assert not here.take(folder, elsewhere=registry)
    assert [job for job, _, _ in recorded(plan_of(), here.journal, here.staging)] == [AMD64]
    assert here.take(folder).keys() == {AMD64}  # no registry has the layer


def test_a_parcel_in_a_registry_is_joined_as_a_folder_is(tmp_path: Path) -> None:
    other, registry = Machine(tmp_path / "other"), MemoryStore()
    built = other.build(AMD64)
    make_image(registry, b"layer")
    other.journal.record(Section.PROVENANCE, str(AMD64), {"digest": str(built.digest)})
    assert leave(other, registry, AMD64, ARM64) == leave(other, registry, AMD64, ARM64)
    here = Machine(tmp_path / "here")
    assert not here.take(PLACE, elsewhere=registry)
    ((job, record, known),) = recorded(plan_of(), here.journal, here.staging)
    assert (job, known.manifest, record.origin) == (AMD64, built, Origin.JOINED)
    assert str(PLACE) in known.reason
    assert here.journal.get(Section.PROVENANCE, str(AMD64)) == {"digest": str(built.digest)}


def test_a_parcel_of_another_commit_is_refused(tmp_path: Path) -> None:
    other, registry = Machine(tmp_path / "other", plan_of(commit="f" * 40)), MemoryStore()
    other.build(AMD64)
    leave(other, registry, AMD64)
    with pytest.raises(ConfigError, match=r"oci:registry.*belongs to another release"):
        Machine(tmp_path / "here").take(PLACE, elsewhere=registry)


def test_a_place_without_a_parcel_is_named_with_the_others() -> None:
    plan = plan_of()
    handed = read_handed_over([PLACE], plan, binding_of(plan), lambda _: MemoryStore())
    assert not handed.parts
    lost = {AMD64: Lost(why="its layer is gone")}
    error = missing_parts([AMD64, ARM64], lost, handed.empty)
    said = "\n".join((error.message, *error.details, error.hint))
    for word in ("its layer is gone", f"oci:{PLACE}: nothing", "not staged: web linux/arm64"):
        assert word in said
    assert "build web --platform linux/amd64; and podbuild build web --platform linux/arm64" in said


NO_PARCELS = {
    "empty": b"",
    "no gzip": b"no gzip",
    "no JSON": gzip.compress(b"no JSON", mtime=0),
    "a list": gzip.compress(b"[]", mtime=0),
    "no journal": gzip.compress(b'{"journal": {}, "manifests": [], "blobs": []}', mtime=0),
    "no manifest": gzip.compress(b'{"journal": {}, "manifests": [1], "blobs": []}', mtime=0),
    "cut off": gzip.compress(b"{}", mtime=0)[:-9],
    "no bytes": gzip.compress(b'{"journal": {}, "manifests": [], "blobs": ["\\ud800"]}', mtime=0),
    "a manifest of no bytes": gzip.compress(
        b'{"journal": {}, "manifests": [{"mediaType": "a", "text": "\\ud800"}], "blobs": []}',
        mtime=0,
    ),
    "deep": gzip.compress(b"[" * 100_000, mtime=0),
}


@pytest.mark.parametrize("data", NO_PARCELS.values(), ids=NO_PARCELS)
def test_what_is_no_parcel_is_refused(tmp_path: Path, data: bytes) -> None:
    registry = MemoryStore()
    assert isinstance(PLACE.target, Tag)
    put_parcel(registry, PLACE.target, data)
    with pytest.raises(ConfigError, match="is no hand-over"):
        Machine(tmp_path / "here").take(PLACE, elsewhere=registry)


def test_an_image_is_no_parcel(tmp_path: Path) -> None:
    registry = MemoryStore()
    assert isinstance(PLACE.target, Tag)
    registry.put_manifest(make_image(registry, b"layer"), PLACE.target)
    with pytest.raises(ConfigError, match="is no hand-over"):
        Machine(tmp_path / "here").take(PLACE, elsewhere=registry)


def test_who_was_asked_for_an_image_comes_before_who_only_needed_it(tmp_path: Path) -> None:
    one, two = Machine(tmp_path / "1"), Machine(tmp_path / "2")
    one.build(AMD64, b"needed")
    record = BuildRecord.from_json(one.journal.get(Section.BUILT, str(AMD64)))
    assert record is not None
    one.journal.record(Section.BUILT, str(AMD64), replace(record, asked=False).to_json())
    asked = two.build(AMD64, b"asked")
    for name, order in (("a", (one, two)), ("b", (two, one))):
        here = Machine(tmp_path / name)
        here.take(*(each.hand_over() for each in order))
        ((_, found, _),) = recorded(plan_of(), here.journal, here.staging)
        assert found.digest == asked.digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oci:ghcr.io/acme/x", "it has no tag"),
        ("oci:127.0.0.1:5000/acme/x", "it has no tag"),
        ("oci:./folder:tag", "a folder is no registry"),
        ("oci:acme/x:1", "bad repository"),
        ("oci:ghcr.io/acme/x:-", "not a valid tag"),
    ],
)
def test_a_place_that_can_not_be_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(PodbuildError, match=says):
        read_place(text)


def test_a_place_is_a_reference_or_a_folder() -> None:
    assert str(read_place("oci:127.0.0.1:5000/acme/x:1")) == "127.0.0.1:5000/acme/x:1"
    assert read_place("legs/oci") is None


@pytest.mark.parametrize(
    ("leaving", "says"),
    [
        ({"thin": True}, "--thin needs --push"),
        ({"hand_over": PLACE}, "--hand-over needs --push"),
        ({"tags_children": True}, "--tag-children needs --push"),
    ],
)
def test_layers_that_no_registry_has_are_not_left_out(leaving: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Leaving(**leaving)
