"""`podbuild notes` on folders as registries, and on fakes of the three forges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Tag
from podbuild.plan import labels
from podbuild.report.notes import BEGIN, END
from tests.fakes.forges import BASES, LIMIT, FakeForge, served_forge
from tests.images import make_image, make_index
from tests.projects import enter_project

pytestmark = pytest.mark.integration

GOLDEN = Path(__file__).parents[1] / "golden" / "notes.md"
CONFIG = """
[project]
name = "shop"
source = "https://github.com/acme/shop"

[images.web]
containerfile = "Containerfile"
platforms = ["linux/amd64", "linux/arm64"]

[registries.first]
kind = "layout"
path = "first/{image}"

[registries.second]
kind = "layout"
path = "second/{image}"

[notes]
forge = "%s"
api = "http://%s%s"
"""


def release(project: Path, version: str) -> None:
    """Put a version on both registries: a base that stays, a layer of its own, arm64 as well."""
    for place in ("first", "second"):
        store = LayoutStore(project / place / "web")
        base, own = b"b" * 2_000_000, version.encode() * 100_000
        children = {arch: make_image(store, base, own, architecture=arch) for arch in ("amd64",)}
        if version != "1.2.2":
            children["arm64"] = make_image(store, base, own + b"arm", architecture="arm64")
        content = json.loads(make_index(store, **children).data)
        content["annotations"] = {labels.REVISION: "c" * 40, labels.VERSION: version}
        index = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
        store.put_manifest(index, Tag(version))


@pytest.fixture(params=["github", "gitlab", "gitea"])
def forge(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
          ) -> Iterator[FakeForge]:  # fmt: skip
    with served_forge(request.param) as served:
        config = CONFIG % (request.param, served.wire.host, BASES[request.param])
        enter_project(tmp_path, config, monkeypatch)
        for version in ("1.2.2", "1.2.3", "1.3.0-rc.1"):
            release(tmp_path, version)
        monkeypatch.setenv("PODBUILD_NOTES_TOKEN", "writer")
        for name in ("GITHUB_TOKEN", "CI_JOB_TOKEN", "GITHUB_ACTIONS"):
            monkeypatch.delenv(name, raising=False)
        yield served


def update(*more: str) -> int:
    return main(["notes", "v1.2.3", "--update", *more])


def test_the_section_is_the_same_each_time(
    forge: FakeForge, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for _ in range(2):
        assert main(["notes", "1.2.3"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown == [GOLDEN.read_text()] * 2
    assert not forge.wire.seen


def test_an_update_keeps_what_others_wrote_and_the_next_one_only_reads(forge: FakeForge) -> None:
    page = forge.add("v1.2.3", "What is new\n\n- a shop\n")
    assert update() == 0
    assert page.body == f"What is new\n\n- a shop\n\n{GOLDEN.read_text().rstrip()}"
    forge.wire.seen.clear()
    assert update() == 0
    assert [each.method for each in forge.wire.seen] == ["GET"]


def test_only_what_stands_between_the_marks_changes_and_line_ends_stay(forge: FakeForge) -> None:
    old = f"before\r\n\r\n{BEGIN}\r\nold\r\n{END}\r\n\r\nafter \r\n"
    page = forge.add("v1.2.3", old)
    assert update() == 0
    section = GOLDEN.read_text().rstrip().replace("\n", "\r\n")
    assert page.body == f"before\r\n\r\n{section}\r\n\r\nafter \r\n"
    assert update() == 0
    assert page.body.count(BEGIN) == 1


def test_a_mark_that_lost_its_end_swallows_nothing(forge: FakeForge) -> None:
    page = forge.add("v1.2.3", f"{BEGIN}\nmine\n")
    for _ in range(2):
        assert update() == 0
        assert page.body == f"{BEGIN}\nmine\n\n{GOLDEN.read_text().rstrip()}"


def test_what_somebody_wrote_meanwhile_stays(forge: FakeForge) -> None:
    page = forge.add("v1.2.3", "first")
    forge.meanwhile = lambda: setattr(page, "body", "second")
    assert update() == 0
    assert page.body.startswith(f"second\n\n{BEGIN}\n")


def test_without_the_right_to_write_it_is_exit_4_and_says_which(
    forge: FakeForge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = forge.add("v1.2.3", "text")
    monkeypatch.setenv("PODBUILD_NOTES_TOKEN", "reader")
    assert update() == 4
    assert page.body == "text"
    assert "write" in capsys.readouterr().err.partition("hint:")[2]


def test_without_a_release_there_is_a_warning_and_create_makes_one(
    forge: FakeForge, capsys: pytest.CaptureFixture[str]
) -> None:
    assert update() == 0
    assert not forge.pages
    assert "no release for v1.2.3" in capsys.readouterr().err
    assert update("--create") == 0
    (page,) = forge.pages
    assert (page.tag, page.body) == ("v1.2.3", GOLDEN.read_text().rstrip())
    assert page.draft or hasattr(forge, "_shown")  # GitLab has no drafts


def test_no_other_token_goes_there(
    forge: FakeForge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PODBUILD_NOTES_TOKEN")
    monkeypatch.setenv("GITHUB_TOKEN", "writer")
    monkeypatch.setenv("CI_JOB_TOKEN", "writer")
    assert update() == 4
    assert not forge.wire.seen
    assert "PODBUILD_NOTES_TOKEN" in capsys.readouterr().err


@pytest.mark.parametrize("forge", ["github", "gitea"], indirect=True)
def test_a_draft_is_found_among_many_and_keeps_its_tag(forge: FakeForge) -> None:
    draft = forge.add("v1.2.3", "draft", draft=True)
    for number in range(120):
        forge.add(f"v0.{number}.0", "")
    for _ in range(2):
        assert update() == 0
        assert (draft.tag, draft.draft) == ("v1.2.3", True)
        assert draft.body.startswith("draft\n\n")
    changes = [each for each in forge.wire.seen if each.method != "GET"]
    assert [each.method for each in changes] == ["PATCH"]


@pytest.mark.parametrize("forge", ["github"], indirect=True)
@pytest.mark.parametrize(
    ("room", "holds"),
    [(800, "| platform |"), (480, "| registry |"), (190, "- web: `sha256:"),
     (130, "[1 image](https://github.com/acme/shop)")],
)  # fmt: skip
def test_where_room_is_short_the_section_is_shortened_never_the_text(
    forge: FakeForge, room: int, holds: str
) -> None:
    text = "x" * (LIMIT - room)
    page = forge.add("v1.2.3", text)
    assert update() == 0
    assert page.body.startswith(text)
    assert len(page.body) <= LIMIT
    assert holds in page.body
    before = page.body
    assert update() == 0
    assert page.body == before


@pytest.mark.parametrize("forge", ["github"], indirect=True)
def test_no_room_at_all_is_a_warning(forge: FakeForge, capsys: pytest.CaptureFixture[str]) -> None:
    page = forge.add("v1.2.3", "é" * (LIMIT - 60))
    assert update() == 0
    assert page.body == "é" * (LIMIT - 60)
    assert "as long as they may be" in capsys.readouterr().err
