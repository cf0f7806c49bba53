"""dist/staging: what one machine hands to another, and what is refused there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.handover import Handed, hand_over, read_handed_over, restock, take_over
from podbuild.build.model import BuildRecord, InputHash, Origin
from podbuild.build.results import recorded
from podbuild.build.staging.area import Staging
from podbuild.build.staging.pool import Pool
from podbuild.commands.dirt import with_dirt
from podbuild.commands.planning import Asked
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform
from podbuild.plan.journal import Binding, Journal, Section, open_journal
from podbuild.plan.labels import DIRTY
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.plan.planned import Planned
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

    def hand_over(self) -> Path:
        hand_over(self.output, self.journal, self.staging)
        return self.output

    def take(self, *folders: Path, elsewhere: MemoryStore | None = None) -> None:
        plan = plan_of()
        handed = read_handed_over(folders, plan, binding_of(plan))
        take_over(handed, self.journal, self.staging, lambda _image: elsewhere or MemoryStore())

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
        read_handed_over([other.hand_over()], plan, binding_of(plan))
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
    handed = Handed(job=AMD64, record=record, folder=tmp_path)
    planned = with_dirt(Planned(plan=plan), [handed], Asked())
    assert not planned.plan.result("web").clean
    assert planned.plan.image("web").release_annotations[DIRTY] == "true"
    assert planned.refusal
    assert "--allow-dirty" in planned.refusal.hint
    allowed = Asked(request=Request(dirty=True))
    assert with_dirt(Planned(plan=plan), [handed], allowed).refusal is None
    assert str(tmp_path) in planned.warnings[0]
    clean = replace(handed, record=replace(record, dirty=False))
    assert with_dirt(Planned(plan=plan), [clean], Asked()) == Planned(plan=plan)


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
    with pytest.raises(ConfigError, match=str(layer.digest)):
        Machine(tmp_path / "here").take(folder)


def test_a_layer_that_a_registry_has_lost_is_built_again(tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    (layer,) = other.build(AMD64).layers
    built = BuildRecord.from_json(other.journal.get(Section.BUILT, str(AMD64)))
    assert built is not None
    reused = replace(built, origin=Origin.REUSED)
    other.journal.record(Section.BUILT, str(AMD64), reused.to_json())
    other.staging.pool.path(layer.digest).unlink()
    with pytest.raises(ConfigError, match="registry that has lost") as raised:
        Machine(tmp_path / "here").take(other.hand_over())
    assert raised.value.hint.endswith("web --platform linux/amd64 --no-reuse")


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
