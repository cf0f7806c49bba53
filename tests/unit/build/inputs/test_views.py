"""Extra contexts as engines are shown them: without what podbuild keeps out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import Matcher, own_patterns
from podbuild.build.inputs.views import Extra, Views
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
    extra, views = extra_of(folder), Views(tmp_path / "views")
    view = views.of(extra)
    assert not (view / ".git").exists()
    assert [path.name for path in (view / "dist").iterdir()] == ["app"]
    contents = Contents()
    assert contents.of(view, Matcher(())) == contents.of(folder, extra.matcher)
    assert (view / "src" / "run").samefile(folder / "src" / "run")
    assert (view / "src").stat().st_mtime_ns == (folder / "src").stat().st_mtime_ns
    assert views.of(extra_of(folder)) == view


def test_a_view_holds_what_an_ignore_file_brings_back(folder: Path, tmp_path: Path) -> None:
    patterns = ("*", "!src/run", "!dist/app")
    view = Views(tmp_path / "views").view(Extra(folder, patterns))
    found = {str(path.relative_to(view)) for path in view.rglob("*")}
    assert found == {"src", "src/run", "dist", "dist/app", "dist/app/main.js"}
    assert (view / "src").stat().st_mode == (folder / "src").stat().st_mode


def test_a_folder_with_nothing_of_podbuilds_is_sent_as_it_is(folder: Path, tmp_path: Path) -> None:
    views = Views(tmp_path / "views")
    assert views.of(extra_of(folder / "src")) == folder / "src"
    assert not (tmp_path / "views").exists()


def test_a_view_that_cannot_be_made_is_one_line(folder: Path, tmp_path: Path) -> None:
    views = Views(tmp_path / "views" / "missing")
    with pytest.raises(PodbuildError, match="views/missing: No such file"):
        views.of(extra_of(folder))
