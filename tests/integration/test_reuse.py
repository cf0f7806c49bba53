"""Never a wrong re-use: each input is changed in turn, through the command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builds import NATIVE
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

TOML = f"""\
[project]
name = "shop"

[defaults]
platforms = ["{NATIVE}"]
index = "always"

[images.base]
context = "base"

[images.app]
context = "app"
contexts = {{ base = "image:base", extra = "extra" }}
build-args = {{ FLAVOR = "slim" }}
labels = {{ team = "shop" }}
secrets = [{{ id = "key", env = "KEY" }}]

[images.other]
context = "other"
"""
FILES = {
    "podbuild.toml": TOML,
    ".gitignore": "/dist/\n",
    "base/Containerfile": "FROM scratch\nCOPY file /base\n",
    "base/file": "base",
    "app/Containerfile": "FROM base\nARG FLAVOR\nCOPY . /app\nCOPY --from=extra file /extra\n",
    "app/.containerignore": "left.txt\n",
    "app/left.txt": "left out",
    "app/main.txt": "main",
    "app/run": "run",
    "extra/file": "extra",
    "other/Containerfile": "FROM scratch\nCOPY file /other\n",
    "other/file": "other",
}
Change = Callable[[Shop], object]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Give a project whose first version is released, into a folder."""
    folder = tmp_path_factory.mktemp("reuse")
    shop = Shop(root=folder / "shop", environment={**environment(folder), "KEY": "one"})
    shop.root.mkdir()
    for name, text in FILES.items():
        shop.write(name, text)
    shop.git("init", "-q", "-b", "main")
    shop.commit()
    done = shop("release", "1.0.0")
    assert done.code == 0, done.text
    yield shop
    shop("clean", "--keep", "0")


@pytest.fixture
def shop(released: Shop, tmp_path: Path) -> Shop:
    """Give a copy of the released project: the same machine, another folder."""
    shutil.copytree(released.root, tmp_path / "shop", symlinks=True)
    return replace(released, root=tmp_path / "shop")


def release(shop: Shop, *options: str) -> dict[str, str]:
    """Release the next version; give each image's origin."""
    shop.commit()
    done = shop("release", "1.0.1", *options)
    assert done.code == 0, done.text
    return origins(shop)


def origins(shop: Shop) -> dict[str, str]:
    listed = json.loads((shop.root / "dist/artifacts.json").read_text())["artifacts"]
    return {each["name"]: each["extra"]["origin"] for each in listed if each["type"] == "image"}


def children(shop: Shop) -> dict[str, str]:
    listed = json.loads((shop.root / "dist/artifacts.json").read_text())["artifacts"]
    return {each["name"]: each["digest"] for each in listed if each["type"] == "image"}


def edit(name: str, old: str, new: str) -> Change:
    def change(shop: Shop) -> None:
        text = (shop.root / name).read_text()
        assert old in text
        shop.write(name, text.replace(old, new))

    return change


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a file of the context": (edit("app/main.txt", "main", "edit"), {"app"}),
    "a new file": (lambda shop: shop.write("app/new.txt", ""), {"app"}),
    "a file is gone": (lambda shop: (shop.root / "app/main.txt").unlink(), {"app"}),
    "a file's mode": (lambda shop: (shop.root / "app/run").chmod(0o755), {"app"}),
    "a file's name": (
        lambda shop: (shop.root / "app/main.txt").rename(shop.root / "app/other.txt"),
        {"app"},
    ),
    "the Containerfile": (edit("app/Containerfile", "/extra", "/elsewhere"), {"app"}),
    "the ignore file": (edit("app/.containerignore", "left.txt", "none"), {"app"}),
    "an extra context": (edit("extra/file", "extra", "edit!"), {"app"}),
    "a build argument": (edit("podbuild.toml", '"slim"', '"full"'), {"app"}),
    "a label": (edit("podbuild.toml", 'team = "shop"', 'team = "web"'), {"app"}),
    "a secret's name": (edit("podbuild.toml", 'id = "key"', 'id = "other"'), {"app"}),
    "the base": (edit("base/file", "base", "edit"), {"base", "app"}),
    "the format": (
        edit("podbuild.toml", 'context = "other"', 'context = "other"\nformat = "docker"'),
        {"other"},
    ),
    "layers": (
        edit("podbuild.toml", 'context = "other"', 'context = "other"\nlayers = false'),
        {"other"},
    ),
    "compression": (
        edit("podbuild.toml", 'context = "other"', 'context = "other"\ncompression = "zstd"'),
        {"other"},
    ),
    "the project's description": (
        edit("podbuild.toml", 'name = "shop"', 'name = "shop"\ndescription = "new"'),
        {"base", "app", "other"},
    ),
}
NO_CHANGES: dict[str, Change] = {
    "nothing": lambda _shop: None,
    "file times": lambda shop: os.utime(shop.root / "app/main.txt", (1, 1)),
    "what is left out": edit("app/left.txt", "left", "still left"),
    "a file of no image": lambda shop: shop.write("README.md", "new"),
    "the tags": lambda shop: shop.write(
        "podbuild.toml", f'{TOML}\n[tags]\nrelease = ["{{version}}", "newest"]\n'
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_input_builds_exactly_what_it_reaches(name: str, shop: Shop) -> None:
    before = children(shop)
    change, reached = CHANGES[name]
    change(shop)
    found = release(shop)
    assert {image for image, origin in found.items() if origin == "built"} == reached
    after = children(shop)
    assert all(after[image] == before[image] for image in before.keys() - reached)


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_reaches_no_image_builds_nothing(name: str, shop: Shop) -> None:
    before = children(shop)
    NO_CHANGES[name](shop)
    assert set(release(shop).values()) == {"reused"}
    assert children(shop) == before


def test_another_machine_finds_what_the_registry_holds(shop: Shop, tmp_path: Path) -> None:
    before = children(shop)
    elsewhere = shop.having(XDG_CACHE_HOME=str(tmp_path / "cache"))
    (shop.root / "dist/state.json").unlink()
    shutil.rmtree(shop.root / "dist/staging")
    assert set(release(elsewhere).values()) == {"reused"}
    assert children(shop) == before


@pytest.mark.parametrize("options", [("--no-reuse",), ("--no-reuse", "--no-cache")])
def test_no_reuse_builds_the_same_again(options: tuple[str, ...], shop: Shop) -> None:
    before = children(shop)
    assert set(release(shop, *options).values()) == {"built"}
    assert children(shop) == before


def test_one_worker_and_many_cold_and_cached_give_the_same(shop: Shop, tmp_path: Path) -> None:
    before = children(shop)
    cold = shop.having(XDG_CACHE_HOME=str(tmp_path / "cold"))
    for version, jobs in (("2.0.0", "1"), ("2.0.1", "6")):
        done = cold("release", version, "--jobs", jobs, "--no-reuse")
        assert done.code == 0, done.text
        assert set(origins(shop).values()) == {"built"}
        assert children(shop) == before
    cold("clean", "--keep", "0")


def test_the_report_says_why_each_image_was_built_or_not(shop: Shop) -> None:
    edit("app/main.txt", "main", "an edit of this test alone")(shop)
    release(shop)
    listed = json.loads((shop.root / "dist/artifacts.json").read_text())["artifacts"]
    reasons = {each["name"]: each["extra"]["reason"] for each in listed if each["type"] == "image"}
    assert reasons["app"] == "its inputs are new"
    assert reasons["base"].startswith("unchanged")
    metrics = json.loads((shop.root / "dist/metrics.json").read_text())
    (job,) = metrics["jobs"]
    assert (job["image"], job["cached_steps"] < job["steps"]) == ("app", True)
