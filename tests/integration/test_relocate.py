"""`podbuild promote`, `rollback` and `verify` as users run them, on registries that differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.cli.options import Common
from podbuild.cli.session import open_session
from podbuild.commands.promote import promotions
from podbuild.commands.relocate import carry_out
from podbuild.commands.rollback import rollbacks
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.plan import labels
from podbuild.plan.model import Request
from podbuild.publish.ledger import Ledger
from podbuild.publish.move import Outcome
from tests.images import make_image, make_index
from tests.projects import enter_project

pytestmark = pytest.mark.integration

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[images.worker]
containerfile = "Containerfile"

[registries.first]
kind = "layout"
path = "first/{image}"

[registries.second]
kind = "layout"
path = "second/{image}"

[registries.extra]
kind = "layout"
path = "extra/{image}"
required = false

[tags]
branches = { main = ["edge", "sha-{sha}"] }
"""
EVERY = tuple(
    f"{registry}/{image}"
    for registry in ("first", "second", "extra")
    for image in ("web", "worker")
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_project(tmp_path, CONFIG, monkeypatch)
    for version in ("1.0.0", "1.1.0"):
        for place in EVERY:
            release(tmp_path, place, version)
    return tmp_path


def release(project: Path, place: str, version: str) -> Manifest:
    """Put what a release of this version puts, the moving tags too."""
    store = LayoutStore(project / place)
    image = make_image(store, f"{place.partition('/')[2]} {version}".encode())
    content = json.loads(make_index(store, amd64=image).data)
    content["annotations"] = {labels.REVISION: "c" * 40, labels.VERSION: version}
    index = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    for tag in (version, version[:3], version[:1], "latest"):
        store.put_manifest(index, Tag(tag))
    return index


def named(project: Path, tag: str = "latest") -> dict[str, str]:
    """Give the version that a tag names everywhere."""
    found = {}
    for place in EVERY:
        manifest = LayoutStore(project / place).manifest(Tag(tag))
        found[place] = manifest.annotations[labels.VERSION] if manifest else ""
    return found


def without(project: Path, place: str, *tags: str) -> None:
    """Take tags and their images away from one place."""
    store = LayoutStore(project / place)
    gone = {found.digest for tag in tags if (found := store.head(Tag(tag)))}
    with store.editing() as entries:
        entries[:] = [entry for entry in entries if entry.digest not in gone]
    for digest in gone:
        store.blob_file(digest).unlink()


def broken(project: Path, place: str) -> None:
    """Let a registry answer nonsense."""
    (project / place / "index.json").write_text("<html>bad gateway</html>")


def pulls(project: Path, place: str, digest: Digest) -> bool:
    store = LayoutStore(project / place)
    manifest = store.manifest(digest)
    return (
        manifest is not None
        and all(pulls(project, place, child.digest) for child in manifest.children)
        and all(map(store.has_blob, manifest.blobs))
    )


def test_rollback_takes_the_moving_tags_to_the_release_before(project: Path) -> None:
    assert main(["rollback", "--yes"]) == 0
    assert set(named(project).values()) == {"1.0.0"}
    assert set(named(project, "1").values()) == {"1.0.0"}
    assert set(named(project, "1.1").values()) == {"1.1.0"}
    assert set(named(project, "1.1.0").values()) == {"1.1.0"}


def test_a_version_or_tag_that_is_nowhere_is_said_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "v5.5.5", "--yes"]) == 3
    said = capsys.readouterr().err
    assert "5.5.5 is on none of the registries" in said
    assert "hint: the newest there: 1.1.0, 1.0.0" in said
    assert main(["verify", "nosuch"]) == 3
    answer = capsys.readouterr()
    assert "podbuild: nosuch is on none of the registries" in answer.err
    assert not answer.out
    assert main(["notes", "v5.5.5"]) == 3
    assert "warning" not in capsys.readouterr().err
    assert set(named(project).values()) == {"1.1.0"}


def test_what_is_damaged_everywhere_differs_and_is_not_nowhere(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in EVERY:
        top = LayoutStore(project / place).manifest(Tag("1.1.0"))
        assert top is not None
        (project / place / "blobs/sha256" / top.digest.hex).write_bytes(b"{}")
    assert main(["verify", "1.1.0"]) == 9
    assert "does not hold what its name says" in capsys.readouterr().out


def test_a_registry_that_can_not_be_asked_does_not_say_that_nothing_is_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in ("web", "worker"):
        (project / "extra" / image / "index.json").write_text("no JSON")
    assert main(["verify", "1.1.0", "--registry", "extra"]) == 7
    assert "is on none" not in capsys.readouterr().err


def test_rollback_brings_an_optional_registry_the_release_that_it_never_got(
    project: Path,
) -> None:
    without(project, "extra/web", "1.0.0")
    assert main(["rollback", "--yes"]) == 0
    assert set(named(project).values()) == {"1.0.0"}
    head = LayoutStore(project / "extra/web").head(Tag("latest"))
    assert head is not None
    assert pulls(project, "extra/web", head.digest)


@pytest.mark.parametrize("argv", [["rollback"], ["promote", "1.0.0", "latest"]])
def test_an_optional_registry_that_can_not_be_asked_is_told_and_the_others_move(
    project: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken(project, "extra/web")
    assert main([*argv, "--yes", "--json"]) == 0
    told = capsys.readouterr()
    assert "extra/web" in told.err
    moved = {each["reference"] for each in json.loads(told.out)["moved"]}
    assert not any("extra/web" in each for each in moved)
    for place in EVERY:
        if place != "extra/web":
            head = LayoutStore(project / place).head(Tag("latest"))
            right = LayoutStore(project / place).head(Tag("1.0.0"))
            assert head is not None
            assert right is not None
            assert head.digest == right.digest


def test_a_required_registry_that_can_not_be_asked_is_exit_7_and_nothing_moves(
    project: Path,
) -> None:
    broken(project, "second/web")
    assert main(["rollback", "--yes"]) == 7
    assert main(["promote", "1.0.0", "stable", "--yes"]) == 7
    for place in EVERY:
        if place != "second/web":
            store = LayoutStore(project / place)
            assert store.head(Tag("latest")) != store.head(Tag("1.0.0"))
            assert store.head(Tag("stable")) is None


def test_a_tag_that_another_release_moved_since_it_was_shown_is_left(project: Path) -> None:
    with open_session(Common(directory=project)) as session:
        services = session.services()
        found = rollbacks(services, Request(), None)
        release(project, "first/web", "1.2.0")  # while a person reads the plan
        moved = carry_out(services, found.moves, "podbuild rollback")
    left = {str(t.order) for t in moved.tags if t.outcome is Outcome.SKIPPED}
    assert {text.rpartition("/")[2] for text in left} == {"web:1", "web:latest"}
    assert named(project) == {**dict.fromkeys(EVERY, "1.0.0"), "first/web": "1.2.0"}


def test_what_a_tag_goes_back_to_is_superseded_no_more(project: Path) -> None:
    """Left anew it has its whole grace again."""
    with open_session(Common(directory=project)) as session:
        services = session.services()
        head = LayoutStore(project / "first/web").head(Tag("1.0.0"))
        assert head is not None
        ledger = Ledger.of(services.folders, services.config.root)
        state = {"first/web": {str(head.digest): "2026-01-01T00:00:00+00:00"}}
        ledger.path.parent.mkdir(parents=True)
        ledger.path.write_text(json.dumps({"schema": 1, "left": state}))
        assert head.digest in ledger.read()["first/web"]
        found = promotions(services, Request(), Tag("1.0.0"), Tag("latest"))
        carry_out(services, found.moves, "podbuild promote 1.0.0 latest")
        assert ledger.read() == {}


@pytest.mark.parametrize("lasting", ["1.1.0", "sha-0123456"])
def test_the_tag_of_a_version_or_a_commit_is_never_promoted_to(project: Path, lasting: str) -> None:
    for place in EVERY:
        store = LayoutStore(project / place)
        present = store.manifest(Tag("1.1.0"))
        assert present is not None
        store.put_manifest(present, Tag("sha-0123456"))
    assert main(["promote", "1.0.0", lasting, "--yes"]) == 6
    assert set(named(project, lasting).values()) == {"1.1.0"}


def test_promoting_a_version_to_itself_completes_it_where_it_is_missing(project: Path) -> None:
    without(project, "second/worker", "1.0.0")
    assert main(["promote", "1.0.0", "1.0.0", "--yes"]) == 0
    assert set(named(project, "1.0.0").values()) == {"1.0.0"}


@pytest.mark.usefixtures("project")
def test_promoting_from_a_version_with_its_v_is_told_the_tag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["promote", "v1.0.0", "stable", "--yes"]) == 3
    assert "hint: the tag of version v1.0.0 is 1.0.0" in capsys.readouterr().err


def test_a_rollback_without_a_lower_release_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "--yes"]) == 0
    before = named(project)
    capsys.readouterr()
    assert main(["rollback", "--yes"]) == 0
    assert (
        "nothing to do: no moving tag of the newest release has a lower" in capsys.readouterr().out
    )
    assert named(project) == before


def test_verify_goes_on_without_an_optional_registry_that_can_not_be_asked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (project / "podbuild.toml").read_text()
    one = config.replace(
        "[registries.first]",
        '[defaults]\nplatforms = ["linux/amd64"]\nindex = "always"\n\n[registries.first]',
    )
    (project / "podbuild.toml").write_text(one)
    broken(project, "extra/web")
    assert main(["verify", "1.0.0"]) == 0
    assert "extra/web can't be asked" in capsys.readouterr().err
    broken(project, "second/web")
    assert main(["verify", "1.0.0"]) == 7


def test_a_version_is_found_by_the_tags_of_each_image(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG.replace("[images.worker]", "[images.worker]\ntags = { suffix = '-small' }")
    (project / "podbuild.toml").write_text(config + 'release = ["v{version}"]\n')
    for place in EVERY:
        store = LayoutStore(project / place)
        found = store.manifest(Tag("1.1.0"))
        assert found is not None
        store.put_manifest(found, Tag("v1.1.0-small" if "worker" in place else "v1.1.0"))
    for text in ("1.1.0", "v1.1.0"):
        main(["verify", text])
        lines = capsys.readouterr().out.splitlines()
        tags = {line.split(": ")[0].partition("/")[2] for line in lines}
        assert {each.rpartition("/")[2] for each in tags} == {"web:v1.1.0", "worker:v1.1.0-small"}
    main(["verify", "1.0.0"])  # from before the templates were these
    assert "worker:1.0.0: has linux/amd64" in capsys.readouterr().out
