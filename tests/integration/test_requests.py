"""What a registry is asked when a new version changes nothing: a whole release, as it came in.

What depends on how fast a machine is (a second look after some seconds) is not counted here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from tests.builds import NATIVE
from tests.faults import fault_proxy
from tests.registries import Server, registry_server
from tests.shops import BOTH, Shop, environment, oci_registry

pytestmark = pytest.mark.integration

OLD, NEW = "1.2.3", "1.2.4"
MOVING = ("1.2", "1", "latest")
IMAGES = ("one", "both")
STEPS = 2
TOML = f"""\
[project]
name = "shop"

[images.one]
context = "one"
platforms = ["{NATIVE}"]

[images.both]
context = "both"
platforms = {json.dumps(BOTH)}
"""

Asked = list[tuple[str, str]]  # method, and what follows the repository's name


@dataclass(frozen=True, kw_only=True)
class Released:
    """An image of two versions with nothing changed, and what the second release asked."""

    old: Manifest
    new: Manifest
    asked: Asked


def write_project(shop: Shop, host: str) -> None:
    shop.write("podbuild.toml", TOML + oci_registry("here", host, "insecure = true"))
    shop.write(".gitignore", "/dist/\n")
    for name in IMAGES:
        steps = "".join(f"COPY file{number} /\n" for number in range(STEPS))
        shop.write(f"{name}/Containerfile", f"FROM scratch\n{steps}")
        for number in range(STEPS):
            shop.write(f"{name}/file{number}", f"{name} {number}")
    shop.git("init", "-q", "-b", "main")


def release(shop: Shop, server: Server, version: str) -> dict[str, Manifest]:
    shop.commit(f"v{version}")
    done = shop("release", version)
    assert done.code == 0, done.text
    found = {name: server.store(f"acme/{name}").manifest(Tag(version)) for name in IMAGES}
    return {name: manifest for name, manifest in found.items() if manifest}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Released]]:
    """Release an image of one platform and one of two, twice, with four tags each."""
    folder = tmp_path_factory.mktemp("requests")
    shop = Shop(root=folder / "shop", environment=environment(folder))
    with registry_server() as server, fault_proxy(server.host) as proxy:
        write_project(shop, proxy.host)
        old = release(shop, server, OLD)
        begun = len(proxy.seen)
        new = release(shop, server, NEW)
        seen = [(each.method, each.path) for each in proxy.seen[begun:]]
    yield {
        name: Released(
            old=old[name],
            new=new[name],
            asked=[
                (method, path.removeprefix(f"/v2/acme/{name}/"))
                for method, path in seen
                if path.startswith(f"/v2/acme/{name}/")
            ],
        )
        for name in IMAGES
    }
    shop("clean", "--keep", "0")


def what(asked: Asked, method: str, kind: str) -> set[str]:
    """Give what was asked for so, of this kind."""
    parts = ((found, path.partition("/")) for found, path in asked)
    return {rest for found, (head, _, rest) in parts if (found, head) == (method, kind)}


def config_of(manifest: Manifest) -> str:
    assert manifest.config is not None
    return str(manifest.config.digest)


def test_nothing_has_changed(released: dict[str, Released]) -> None:
    one, both = released["one"], released["both"]
    assert one.old.digest != one.new.digest
    assert one.old.layers == one.new.layers
    assert len(one.new.layers) == STEPS
    assert both.old.digest != both.new.digest
    assert both.old.children == both.new.children


def test_no_layer_is_asked_for(released: dict[str, Released]) -> None:
    one, both = released["one"], released["both"]
    assert what(one.asked, "HEAD", "blobs") == {config_of(one.new)}
    assert what(one.asked, "GET", "blobs") == {config_of(one.old), config_of(one.new)}
    assert what(both.asked, "HEAD", "blobs") == what(both.asked, "GET", "blobs") == set()


@pytest.mark.parametrize("name", IMAGES)
def test_two_manifests_are_read(released: dict[str, Released], name: str) -> None:
    """The image of the version before, by the first tag that names it, and what was put."""
    found = released[name]
    assert what(found.asked, "GET", "manifests") == {MOVING[0], str(found.new.digest)}
    assert f"manifests/{OLD}" not in {path for _, path in found.asked}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("tag", [NEW, *MOVING])
def test_each_tag_is_looked_at_right_before_and_after_it_moves(
    released: dict[str, Released], name: str, tag: str
) -> None:
    asked, path = released[name].asked, f"manifests/{tag}"
    moved = asked.index(("PUT", path))
    assert asked[moved - 1] == ("HEAD", path)
    assert ("HEAD", path) in asked[moved + 1 :]


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_moves_before_all_was_read_back(released: dict[str, Released], name: str) -> None:
    found = released[name]
    first = found.asked.index(("PUT", f"manifests/{NEW}"))
    before = found.asked[:first]
    put = before.index(("PUT", f"manifests/{found.new.digest}"))
    assert ("GET", f"manifests/{found.new.digest}") in before[put:]
    for child in found.new.children:
        assert ("HEAD", f"manifests/{child.digest}") in before[:put]
