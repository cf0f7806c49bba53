"""A pull request's configuration and links against what is outside of its work tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from podbuild.cli import main
from podbuild.commands.borders import Borders, refuse_links
from podbuild.errors import ConfigError

pytestmark = pytest.mark.integration  # reads git, and writes where a release does

WEB = "[images.web]\n"
SECRET = "root:x9f3k2:of the host"  # what must never be shown
COMMANDS = (["check"], ["plan", "v1.0.0", "--offline"], ["build"], ["release", "v1.0.0"], ["prune"])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the machine that is no part of any project."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "Containerfile").write_text(f"{SECRET}\n")
    (folder / "secret").write_text(f"{SECRET}\n")
    return folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree; the project is in a folder of it."""
    for name in ("cache", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    top = tmp_path / "tree"
    (top / "shop").mkdir(parents=True)
    (top / "shared").mkdir()
    subprocess.run(["git", "init", "-q", str(top)], check=True, env={"PATH": os.environ["PATH"]})
    return top


def project(tree: Path, text: str) -> Path:
    folder = tree / "shop"
    (folder / "podbuild.toml").write_text(f'[project]\nname = "shop"\n{text}')
    (folder / "Containerfile").write_text("FROM scratch\nCOPY podbuild.toml /\n")
    return folder


KEYS = {
    "context": (WEB + 'context = "{}"', "images.web.context"),
    "containerfile": (WEB + 'containerfile = "{}/secret"', "images.web.containerfile"),
    "ignorefile": (WEB + 'ignorefile = "{}/secret"', "images.web.ignorefile"),
    "contexts": (WEB + 'contexts = {{ a = "{}" }}', "images.web.contexts.a"),
    "secrets": (
        WEB + 'secrets = [{{ id = "a", file = "{}/secret" }}]',
        "images.web.secrets[0].file",
    ),
    "ssh": (WEB + 'ssh = ["default={}/secret"]', "images.web.ssh[0]"),
    "output": ('output = "{}/new"\n' + WEB, "project.output"),
    "history": (WEB + '[history]\nfolder = "{}/new"', "history.folder"),
    "vex": (WEB + '[attest]\nvex = "{}/{{image}}.json"', "attest.vex"),
    "layout": (
        WEB + '[registries.a]\nkind = "layout"\npath = "{}/{{image}}"',
        "registries.a.path",
    ),
    "variable": (
        WEB + '[registries.a]\nkind = "layout"\npath = "{{env.PLACE}}/{{image}}"',
        "registries.a.path",
    ),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("way", ["absolute", "dots", "link", "link in the middle"])
def test_path_that_leads_out_needs_consent(
    tree: Path,
    outside: Path,
    key: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "absolute": str(outside),
        "dots": "../../outside",
        "link": "link",
        "link in the middle": "inner/../link/.",
    }
    (tree / "shop" / "inner").mkdir()
    (tree / "shop" / "link").symlink_to(outside)
    text, named = KEYS[key]
    monkeypatch.setenv("PLACE", places[way])
    folder = project(tree, text.format(places[way]))
    assert main(["check", "-C", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"{named}: " in error
    assert f"is outside of {tree}" in error
    assert "hint: --allow-outside " in error
    assert SECRET[:6] not in error
    assert not (outside / "new").exists()
    main(["check", "-C", str(folder), "--allow-outside", str(outside)])
    assert "is outside" not in capsys.readouterr().err
    monkeypatch.setenv("PODBUILD_ALLOW_OUTSIDE", f"/nowhere:{outside}")
    main(["check", "-C", str(folder)])
    assert "is outside" not in capsys.readouterr().err
    monkeypatch.setenv("PODBUILD_ALLOW_OUTSIDE", f"{outside}-not")
    assert main(["check", "-C", str(folder)]) == 2


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_refuses_before_it_reads_or_writes(
    tree: Path, outside: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tree, WEB + f'containerfile = "{outside}/secret"\n')
    assert main([*words, "-C", str(folder)]) == 2
    done = capsys.readouterr()
    assert SECRET[:6] not in done.out + done.err
    assert not (folder / "dist").exists()


@pytest.mark.parametrize(
    "name", ["Containerfile", ".dockerignore", "Containerfile.dockerignore", "podbuild.toml"]
)
def test_committed_link_that_leads_out_is_not_read(
    tree: Path, outside: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tree, WEB)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / "secret")
    assert main(["check", "-C", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "is outside of" in error
    assert SECRET[:6] not in error


def test_paths_within_the_work_tree_are_as_before(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "shop" / "link").symlink_to("../shared")
    (tree / "podbuild.toml").touch()  # which the Containerfile takes from the context
    text = 'output = "../dist"\n' + WEB + 'context = ".."\ncontexts = { a = "link" }\n'
    folder = project(tree, text + 'containerfile = "Containerfile"\n')
    assert main(["check", "-C", str(folder)]) == 0, capsys.readouterr().err


def test_without_a_work_tree_the_project_s_own_folder_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop").mkdir()
    folder = project(tmp_path, WEB + 'context = ".."\n')
    assert main(["check", "-C", str(folder)]) == 2
    assert f"is outside of {folder}" in capsys.readouterr().err


LINKS = (
    *("dist", "dist/logs", "dist/staging", "dist/registry", "dist/.podbuild", "dist/state.json"),
    *("dist/plan.json", "dist/summary.md", "dist/logs/web-linux-amd64.log", "dist/staging/blobs"),
    *("dist/staging/blobs/sha256", "dist/staging/.podbuild.lock", "dist/registry/web"),
    *("dist/registry/web/index.json", "dist/registry/web/blobs", "dist/.podbuild/cache/mounts"),
    "dist/state-1.0.0.json",
)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("words", [["check"], ["build"], ["clean"]], ids=lambda words: words[0])
def test_committed_link_below_dist_that_leads_out_is_refused(
    tree: Path,
    outside: Path,
    link: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = project(tree, WEB)
    path = folder / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    assert main([*words, "-C", str(folder)]) == 2
    assert str(path) in capsys.readouterr().err
    assert sorted(each.name for each in outside.iterdir()) == ["Containerfile", "secret"]


def test_layout_elsewhere_in_the_tree_is_looked_through_too(
    tree: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tree, WEB + '[registries.a]\nkind = "layout"\npath = "out/{image}"\n')
    (folder / "out/web").mkdir(parents=True)
    (folder / "out/web/blobs").symlink_to(outside)
    assert main(["check", "-C", str(folder)]) == 2
    assert "would write there" in capsys.readouterr().err


def test_other_links_below_dist_are_nobody_s_business(tree: Path, outside: Path) -> None:
    folder = project(tree, WEB)
    (folder / "dist").mkdir()
    (folder / "dist" / "theirs").symlink_to(outside)
    (folder / "dist" / "logs").symlink_to(tree / "shared")
    refuse_links(folder / "dist", Borders.around(folder), own=True)
    with pytest.raises(ConfigError):
        refuse_links(folder / "dist" / "theirs", Borders.around(folder))


def test_init_writes_through_no_link(
    tree: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tree / "shop"
    (folder / ".gitignore").symlink_to(outside / "secret")
    assert main(["init", "-C", str(folder)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert (outside / "secret").read_text() == f"{SECRET}\n"
    assert not (folder / "podbuild.toml").exists()


INTO_GIT = {
    "output": 'output = "{}"\n' + WEB,
    "layout": WEB + '[registries.here]\nkind = "layout"\npath = "{}/{{image}}"\n',
    "history": WEB + '[history]\nfolder = "{}"\n',
}


@pytest.mark.parametrize("key", INTO_GIT)
@pytest.mark.parametrize("place", ["../.git", "../.git/hooks", "link", "sub/.git/info"])
def test_nothing_is_written_into_git_s_own_folder(
    key: str, place: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tree, INTO_GIT[key].format(place))
    (folder / "link").symlink_to("../.git/modules")
    before = sorted(tree.joinpath(".git").rglob("*"))
    assert main(["-C", str(folder), "build"]) == 2
    assert "is in git's own folder" in capsys.readouterr().err
    assert sorted(tree.joinpath(".git").rglob("*")) == before
