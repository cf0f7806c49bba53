"""After a release: what its moving tags left goes, once, and a failure undoes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.cli.options import Common
from podbuild.cli.session import open_session
from podbuild.commands.cleanup import remove_superseded
from podbuild.commands.relocate import plan_of
from podbuild.config.template import Template
from podbuild.errors import CleanupError
from podbuild.oci.delete import RemovalKind
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.plan.destination import open_destinations
from podbuild.plan.journal import Binding, Journal, Section
from podbuild.plan.model import Plan, Request
from podbuild.plan.tags import NamedTag, TagKind
from podbuild.publish.ledger import Ledger, record_superseded
from podbuild.publish.move import Moved, Order, Outcome, Tagged
from podbuild.workspace import Services
from tests.images import make_image, make_index

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[registries.here]
kind = "layout"
path = "registry/{image}"

[tags]
branches = { main = ["edge"] }

[retention]
superseded = true
grace = "0s"
"""


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    (tmp_path / "podbuild.toml").write_text(CONFIG)
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    with open_session(Common(directory=tmp_path)) as session:
        yield session.services()


def store_of(services: Services) -> LayoutStore:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    return LayoutStore(services.config.root / "registry/web", clock=lambda: long_ago)


def push(services: Services, name: str, *tags: str) -> Manifest:
    store = store_of(services)
    image = make_image(store, name.encode())
    index = make_index(store, amd64=image, arm64=make_image(store, b"the same"))
    for tag in tags:
        store.put_manifest(index, Tag(tag))
    return index


def clean(services: Services, *left: Manifest) -> int:
    """Do as a release does whose journal says what its tags left; give how many went."""
    binding = Binding(release="1.0.0", commit="", configuration="", toolchain="")
    journal = Journal(services.config.output / "state.json", binding, {})
    for index in left:
        journal.record(Section.SUPERSEDED, f"here/web@{index.digest}", "edge")
    record_superseded(services.folders, services.config.root, journal, Moved(tags=(), failed={}))
    plan: Plan = plan_of(services, Request())
    done = remove_superseded(services, plan, open_destinations(services.opener, plan))
    return sum(each.outcome is RemovalKind.REMOVED for each in done)


def test_what_a_moving_tag_left_goes_once_and_is_struck_out(services: Services) -> None:
    first = push(services, "first", "edge")
    second = push(services, "second", "edge")
    store = store_of(services)
    assert clean(services, first) == 2
    assert store.head(first.digest) is None
    assert all(store.head(child.digest) for child in second.children)
    assert clean(services) == 0
    assert Ledger.of(services.folders, services.config.root).read() == {}


def test_what_a_version_tag_names_is_not_touched(services: Services) -> None:
    first = push(services, "first", "edge", "1.0.0")
    push(services, "second", "edge")
    assert clean(services, first) == 0
    assert store_of(services).head(Tag("1.0.0")) is not None
    assert all(store_of(services).head(child.digest) for child in first.children)


def test_a_cleanup_that_fails_is_exit_12_and_goes_on_the_next_time(services: Services) -> None:
    first = push(services, "first", "edge")
    second = push(services, "second", "edge")
    store = store_of(services)
    file = store.blob_file(second.children[0].digest)
    data = file.read_bytes()
    file.unlink()
    with pytest.raises(CleanupError, match="the release is out") as told:
        clean(services, first)
    assert told.value.exit_code == 12
    assert store.head(first.digest) is not None
    file.write_bytes(data)
    assert clean(services) == 2
    assert store.head(first.digest) is None
    assert store.head(Tag("edge")) is not None


def test_a_cleanup_that_fails_at_an_optional_registry_fails_no_release(
    services: Services,
) -> None:
    first = push(services, "first", "edge")
    second = push(services, "second", "edge")
    store_of(services).blob_file(second.children[0].digest).unlink()
    (registry,) = services.config.registries
    optional = replace(services.config, registries=(replace(registry, required=False),))
    assert clean(replace(services, config=optional), first) == 0
    assert store_of(services).head(first.digest) is not None


def test_what_a_tag_names_again_is_struck_out(services: Services) -> None:
    first = push(services, "first", "edge")
    binding = Binding(release="1.0.0", commit="", configuration="", toolchain="")
    journal = Journal(services.config.output / "state.json", binding, {})
    journal.record(Section.SUPERSEDED, f"here/web@{first.digest}", "edge")
    record_superseded(services.folders, services.config.root, journal, Moved(tags=(), failed={}))
    ledger = Ledger.of(services.folders, services.config.root)
    assert first.digest in ledger.read()["here/web"]
    (destination,) = open_destinations(services.opener, plan_of(services, Request()))
    named = NamedTag(tag=Tag("edge"), kind=TagKind.MOVING, template=Template("edge"))
    order = Order(destination=destination, named=named, manifest=first)
    again = Moved(tags=(Tagged(order=order, outcome=Outcome.MOVED),), failed={})
    other = Journal(services.config.output / "other.json", binding, {})
    record_superseded(services.folders, services.config.root, other, again)
    assert ledger.read() == {}
