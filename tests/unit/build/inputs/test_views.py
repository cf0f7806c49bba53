"""Extra contexts as engines are shown them: without what podbuild keeps out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Contents, Extra, Views
from podbuild.build.inputs.copying import parse_mode
from podbuild.build.inputs.ignore import Matcher, own_patterns, parse_ignore
from podbuild.build.inputs.reach import EVERYTHING, Wanted
from podbuild.errors import PodbuildError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    for name in ("src", ".git", "dist/logs", "dist/app"):
        (found / name).mkdir(parents=True)
    (found / "src" / "run").write_text("run")
    (found / "src" / "run").chmod(0o4755)
    (found / "src" / "gone").symlink_to("nowhere")
    (found / ".git" / "HEAD").touch()
    (found / "dist" / "state.json").touch()
    (found / "dist" / "app" / "main.js").touch()
    (found / os.fsdecode(b"\xff")).touch()
    (found / "src").chmod(0o750)
    return found


def extra_of(folder: Path) -> Extra:
    return Extra(folder, own_patterns(folder, folder / "dist"))


def test_a_view_is_the_folder_without_podbuilds_own(folder: Path, tmp_path: Path) -> None:
    extra, views, contents = extra_of(folder), Views(tmp_path / "views"), Contents()
    view = views.of(extra, contents)
    assert not (view / ".git").exists()
    assert [path.name for path in (view / "dist").iterdir()] == ["app"]
    assert contents.of(view, Matcher(())) == contents.of(folder, extra.matcher)
    assert (view / "src" / "run").samefile(folder / "src" / "run")
    assert (view / "src").stat().st_mtime_ns == (folder / "src").stat().st_mtime_ns
    assert views.of(extra_of(folder), contents) == view


def test_a_view_holds_what_an_ignore_file_brings_back(folder: Path, tmp_path: Path) -> None:
    patterns = ("*", "!src/run", "!dist/app")
    view = Views(tmp_path / "views").view(Extra(folder, patterns), Contents())
    found = {str(path.relative_to(view)) for path in view.rglob("*")}
    assert found == {"src", "src/run", "dist", "dist/app", "dist/app/main.js"}
    assert (view / "src").stat().st_mode == (folder / "src").stat().st_mode


def test_a_folder_with_nothing_of_podbuilds_is_sent_as_it_is(folder: Path, tmp_path: Path) -> None:
    views, src = Views(tmp_path / "views"), folder / "src"
    assert views.of(Extra(src, own_patterns(src, folder / "dist")), Contents()) == src
    assert not (tmp_path / "views").exists()
    assert views.of(extra_of(src), Contents()) != src  # what is written there meanwhile stays out


def test_a_view_that_cannot_be_made_is_one_line(folder: Path, tmp_path: Path) -> None:
    views = Views(tmp_path / "views" / "missing")
    with pytest.raises(PodbuildError, match="views/missing: No such file"):
        views.of(extra_of(folder), Contents())


@pytest.mark.parametrize(
    ("ignored", "read"),
    [
        ("*\n!**/*.js\n", ".containerignore\n"),
        ("src/**\n", ".containerignore\n"),
        ("src\n*.log\n", None),
    ],
)
def test_an_engine_finds_nothing_to_ignore_where_it_would_read_otherwise(
    folder: Path, tmp_path: Path, ignored: str, read: str | None
) -> None:
    """It applies an extra context's .dockerignore by itself, with a matcher of its own."""
    (folder / ".dockerignore").write_text(f"{ignored}!.dockerignore\n" if read else ignored)
    extra = Extra(folder, (*extra_of(folder).own, *parse_ignore(ignored), "!.dockerignore"))
    view = Views(tmp_path / "views").of(extra, Contents())
    found = view / ".containerignore"
    assert (found.read_text() if found.exists() else None) == read
    assert (view / ".dockerignore").exists()
    assert not (view / "src" / "run").exists()


@pytest.mark.parametrize("wanted", [EVERYTHING, (Wanted(sources=("way/main.js",)),)])
def test_a_link_to_what_is_left_out_needs_a_view(folder: Path, wanted: tuple[Wanted, ...]) -> None:
    """An engine follows it: COPY way/main.js would publish what the ignore file keeps back."""
    (folder / "way").symlink_to("dist/app")
    sent = Contents().sent(folder, Matcher(("dist",)), wanted)
    assert sent.names is None
    assert "dist/app/main.js" not in sent.reach.entries


def test_a_view_holds_all_of_git_where_it_is_sent(folder: Path, tmp_path: Path) -> None:
    view = Views(tmp_path / "views").view(Extra(folder, ("src",)), Contents())
    assert (view / ".git" / "HEAD").samefile(folder / ".git" / "HEAD")
    assert not (view / "src").exists()


def test_many_names_are_left_out_by_a_view(folder: Path) -> None:
    matcher = Matcher(("src/*.log",))
    assert Contents().sent(folder, matcher, EVERYTHING).names == ()
    for number in range(150):
        (folder / "src" / f"{number}.log").touch()
    few = Contents().sent(folder, matcher, EVERYTHING).names
    assert few is not None
    assert len(few) == 150
    for number in range(150, 300):
        (folder / "src" / f"{number}.log").touch()
    assert Contents().sent(folder, matcher, EVERYTHING).names is None


def test_other_modes_in_a_view_leave_the_folder_alone(folder: Path, tmp_path: Path) -> None:
    mode = parse_mode("go=,u+w")
    view = Views(tmp_path / "views").view(Extra(folder, ("dist", ".git"), mode=mode), Contents())
    assert (view / "src" / "run").stat().st_mode & 0o7777 == 0o700
    assert (view / "src").stat().st_mode & 0o7777 == 0o700
    assert (view / "src" / "gone").is_symlink()
    assert (view / "src" / "run").read_text() == "run"
    same = Extra(folder, ("dist", ".git"), mode=parse_mode("u=rwx,go=rx"))  # but for a set-id bit
    other = Views(tmp_path / "others").view(same, Contents())
    assert (other / "src" / "run").stat().st_mode & 0o7777 == 0o755
    assert (folder / "src" / "run").stat().st_mode & 0o7777 == 0o4755
    assert (folder / "src").stat().st_mode & 0o7777 == 0o750
