"""build, manifest, push and the join of a fan-out, called as a user calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from podbuild.oci.layout import LayoutStore
from podbuild.oci.names import Digest, Tag
from podbuild.system.records import JSONValue
from tests.registries import registry_server
from tests.shops import BOTH, Done, Shop, new_shop, oci_registry

pytestmark = pytest.mark.integration

HERE = '\n[registries.here]\nkind = "layout"\npath = "dist/registry/{image}"\n'
VERSION = Tag("1.2.3")
IMAGES = ("app", "probe")


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """Two machines that built a platform each, and one that released everything by itself."""

    dists: Mapping[str, Path]
    whole: Shop
    folder: Path


def registry(shop: Shop, image: str) -> LayoutStore:
    """Give what a project's registry holds of an image."""
    return LayoutStore(shop.root / "dist" / "registry" / image)


def done(call: Done) -> Done:
    assert call.code == 0, call.text
    return call


@pytest.fixture(scope="module")
def fan_out(tmp_path_factory: pytest.TempPathFactory) -> FanOut:
    folder = tmp_path_factory.mktemp("fan-out")
    dists = {}
    for platform in BOTH:
        name = platform.rpartition("/")[2]
        machine = new_shop(folder / name, HERE)
        done(machine("build", "--platform", platform))
        dists[platform] = carry(machine, folder / f"dist-{name}")
    whole = new_shop(folder / "whole", HERE)
    done(whole("release", "v1.2.3"))
    return FanOut(dists=dists, whole=whole, folder=folder)


def carry(machine: Shop, target: Path) -> Path:
    """Copy what a machine hands over, and nothing else of it."""
    shutil.copytree(machine.root / "dist" / "staging", target / "staging")
    shutil.copy(machine.root / "dist" / "state.json", target)
    return target


def join(fan_out: FanOut) -> tuple[str, ...]:
    return tuple(word for each in fan_out.dists.values() for word in ("--from", str(each)))


def parts_of(answer: Done, image: str) -> Mapping[str, tuple[Digest, str]]:
    """Give digest and origin of each platform, as the JSON answer tells them."""
    report: JSONValue = json.loads(answer.out)
    match report:
        case {"images": {**images}}:
            found = images[image]
        case _:
            found = None
    match found:
        case {"platforms": {**platforms}}:
            return {str(name): _part(value) for name, value in platforms.items()}
        case _:
            raise AssertionError(answer.out)


def _part(value: object) -> tuple[Digest, str]:
    match value:
        case {"digest": str(digest), "origin": str(origin)}:
            return Digest(digest), origin
        case _:
            raise AssertionError(value)


def test_a_join_gives_the_indexes_of_an_undisturbed_release(
    fan_out: FanOut, tmp_path: Path
) -> None:
    shop = new_shop(tmp_path, HERE).having(NPM_SECRET=None)  # it builds nothing
    answer = done(shop("release", "v1.2.3", *join(fan_out), "--json"))
    for image in IMAGES:
        index = registry(shop, image).head(VERSION)
        assert index is not None
        assert index == registry(fan_out.whole, image).head(VERSION)
    assert {origin for _, origin in parts_of(answer, "app").values()} == {"joined"}
    assert not (shop.root / "dist" / "logs" / "app-linux-amd64.log").exists()


def test_a_join_without_one_platform_builds_nothing_and_ends(
    fan_out: FanOut, tmp_path: Path
) -> None:
    shop = new_shop(tmp_path, HERE)
    answer = shop("release", "v1.2.3", *join(fan_out)[:2])
    assert answer.code == 2
    assert "not staged: app linux/arm64" in answer.err
    assert not (shop.root / "dist" / "registry").exists()


def test_a_join_looks_for_folders_where_it_is_told_to_work(fan_out: FanOut, tmp_path: Path) -> None:
    shop = new_shop(tmp_path, HERE)
    shutil.copytree(fan_out.dists[BOTH[0]], shop.root / "dist-one")
    (shop.root / ".git/info/exclude").write_text("/dist-one/\n")  # or the tree has changes
    outside = replace(shop, root=tmp_path)
    answer = outside("-C", "shop", "release", "v1.2.3", "--from", "dist-one")
    assert "not staged: app linux/arm64" in answer.err  # so it has read what there is
    missing = outside("-C", "shop", "release", "v1.2.3", "--from", "shop/dist-one")
    assert missing.code == 2
    assert "shop/dist-one: no such folder" in missing.err


def test_a_join_refuses_another_commit_and_another_version(fan_out: FanOut, tmp_path: Path) -> None:
    shop = new_shop(tmp_path, HERE)
    other = shop("release", "v1.2.4", *join(fan_out))
    assert other.code == 2
    assert "1.2.4" in other.err
    assert "1.2.3" in other.err
    before = shop.git("rev-parse", "HEAD").strip()
    shop.write("app/more", "")
    shop.commit("v1.2.3")
    moved = shop("release", "v1.2.3", *join(fan_out))
    assert moved.code == 2
    assert before in moved.err
    assert shop.git("rev-parse", "HEAD").strip() in moved.err
    assert not (shop.root / "dist" / "registry").exists()


def test_an_image_of_one_platform_is_joined_without_any_engine(
    fan_out: FanOut, tmp_path: Path
) -> None:
    def single(name: str) -> Shop:
        shop = Shop(root=tmp_path / name, environment=fan_out.whole.environment)
        shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist"))
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", text.replace('"linux/amd64", "linux/arm64"', '"linux/amd64"'))
        shop.commit("v1.2.3")
        return shop

    builder, joiner = single("builder"), single("joiner").having(PODBUILD_TOOLCHAIN="system")
    done(builder("build"))
    answer = joiner("release", "v1.2.3", "--from", str(builder.root / "dist"))
    assert answer.code == 0, answer.text
    assert registry(joiner, "app").head(VERSION) is not None


def test_manifest_assembles_what_is_handed_over_and_push_publishes_it_without_tags(
    fan_out: FanOut, tmp_path: Path
) -> None:
    shop = new_shop(tmp_path, HERE).having(NPM_SECRET=None)
    done(shop("manifest", *join(fan_out)))
    assert not (shop.root / "dist" / "registry").exists()
    done(shop("push", "app"))
    index = registry(fan_out.whole, "app").head(VERSION)
    assert index is not None
    assert registry(shop, "app").head(index.digest) == index
    assert registry(shop, "app").tags() == ()
    assert not (shop.root / "dist" / "registry" / "probe").exists()


def test_push_takes_dist_where_the_cache_is_another_one(fan_out: FanOut, tmp_path: Path) -> None:
    shop = new_shop(tmp_path, HERE)
    shutil.copytree(fan_out.dists["linux/amd64"], shop.root / "dist")
    answer = done(shop("push", "--json"))
    digest, _ = parts_of(answer, "app")["linux/amd64"]
    assert registry(shop, "app").head(digest) is not None
    assert registry(shop, "app").tags() == ()


def test_a_build_goes_on_from_dist_where_the_cache_is_another_one(
    fan_out: FanOut, tmp_path: Path
) -> None:
    shop = new_shop(tmp_path, HERE).having(NPM_SECRET=None)  # a build would want it
    shutil.copytree(fan_out.dists["linux/amd64"], shop.root / "dist")
    answer = done(shop("build", "--platform", "linux/amd64", "--json"))
    assert {origin for _, origin in parts_of(answer, "app").values()} == {"reused"}


def test_nothing_staged_is_nothing_to_push(tmp_path: Path) -> None:
    answer = new_shop(tmp_path, HERE)("push")
    assert answer.code == 2
    assert "nothing is staged" in answer.err
    assert "hint: podbuild build" in answer.err


def test_a_release_of_one_platform_moves_no_tag_and_hands_over(
    fan_out: FanOut, tmp_path: Path
) -> None:
    shop = Shop(root=tmp_path / "shop", environment=fan_out.whole.environment)
    shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist"))
    answer = done(shop("release", "v1.2.3", "--platform", "linux/amd64", "--json"))
    assert json.loads(answer.out)["result"] == "partial"
    assert not (shop.root / "dist" / "registry").exists()
    tags = LayoutStore(shop.root / "dist" / "staging").tags()
    assert {Tag("app-linux-amd64"), Tag("probe-linux-amd64")} <= {*tags}
    assert not [tag for tag in tags if "index" in str(tag) or "arm64" in str(tag)]


@pytest.mark.parametrize("option", ["--no-reuse", "--no-cache"])
def test_build_makes_again_what_it_is_told_to_make_again(
    option: str, fan_out: FanOut, tmp_path: Path
) -> None:
    shop = Shop(root=tmp_path / "shop", environment=fan_out.whole.environment)
    shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist"))
    build = ("build", "probe", "--platform", "linux/amd64", "--json")
    for options, expected in (((), "reused"), ((option,), "built"), ((option,), "built")):
        answer = done(shop(*build, *options))
        ((_, origin),) = parts_of(answer, "probe").values()
        assert origin == expected, options
    assert list((shop.root / "dist" / "staging" / "blobs" / "sha256").iterdir())


def test_build_needs_no_git_and_loads_into_local_storage(fan_out: FanOut, tmp_path: Path) -> None:
    shop = Shop(root=tmp_path / "shop", environment=fan_out.whole.environment)
    shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist", ".git"))
    storage = tmp_path / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    local = shop.having(CONTAINERS_STORAGE_CONF=str(storage))
    answer = done(local("build", "probe", "--load"))
    assert "no commit is known" in answer.err
    listed = (tmp_path / "graph" / "vfs-images" / "images.json").read_text()
    assert "localhost/probe:latest" in listed


def test_a_failing_job_hands_over_what_the_others_built(fan_out: FanOut, tmp_path: Path) -> None:
    shop = Shop(root=tmp_path / "shop", environment=fan_out.whole.environment)
    shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist"))
    shop.write("probe/Containerfile", "FROM base\nRUN exit 3\n")
    answer = shop("build", "--platform", "linux/amd64")
    assert answer.code == 5
    tags = LayoutStore(shop.root / "dist" / "staging").tags()
    assert Tag("app-linux-amd64") in tags
    assert Tag("probe-linux-amd64") not in tags


def test_a_missing_build_secret_ends_before_anything_is_built_or_written(tmp_path: Path) -> None:
    with registry_server() as server:
        table = oci_registry("main", server.host, "insecure = true")
        shop = new_shop(tmp_path, table).having(NPM_SECRET=None)
        answer = shop("release", "v1.2.3")
        assert server.store("acme/app").tags() == ()
    assert answer.code == 4
    assert "NPM_SECRET" in answer.err
    assert not [*(shop.root / "dist").glob("logs/*.log")]


def test_a_fork_without_logins_is_told_to_skip_the_push_and_can(
    fan_out: FanOut, tmp_path: Path
) -> None:
    with registry_server(login=("ada", "a password")) as server:
        shop = Shop(root=tmp_path / "shop", environment=fan_out.whole.environment)
        shutil.copytree(fan_out.whole.root, shop.root, ignore=shutil.ignore_patterns("dist"))
        table = oci_registry("main", server.host, "insecure = true")
        text = (shop.root / "podbuild.toml").read_text()
        shop.write("podbuild.toml", text.replace(HERE, table))
        shop.commit("v1.2.3")
        refused = shop("release", "v1.2.3")
        built = done(shop("release", "v1.2.3", "--skip-push"))
    assert refused.code == 4
    assert "--skip-push" in refused.err
    assert "nothing that registries hold is re-used" in built.err
    assert Tag("app-index") in LayoutStore(shop.root / "dist" / "staging").tags()
