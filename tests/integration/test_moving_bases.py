"""`podbuild build` looks at moving bases anew; a mirror is asked only for what it may answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.oci.names import Tag
from podbuild.oci.store import Store
from tests.builds import NATIVE
from tests.integration.test_build_bases import put_base
from tests.registries import Server, registry_server
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as found:
        yield found


def push(store: Store, marker: str) -> None:
    store.put_manifest(put_base(store, marker), Tag("1"))


def make_shop(folder: Path, conf: str) -> Shop:
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.write("podbuild.toml", f'[project]\nname = "shop"\n[images.web]\nplatforms = ["{NATIVE}"]')
    shop.write("Containerfile", "FROM reg.example.test/base:1\nCOPY Containerfile /\n")
    shop.write("registries.conf", conf)
    return shop.having(CONTAINERS_REGISTRIES_CONF=str(shop.root / "registries.conf"))


def build(shop: Shop, *options: str) -> str:
    """Build, and give the image's digest."""
    done = shop("--json", "build", *options)
    found = re.findall(r"sha256:[0-9a-f]{64}", done.out)
    assert (done.code, len(set(found))) == (0, 1), done.text
    return str(found[0])


def test_a_build_follows_a_base_that_moves(server: Server, tmp_path: Path) -> None:
    base = server.store("moving/base")
    conf = f'[[registry]]\nprefix = "*.example.test"\nlocation = "{server.host}/moving"\n'
    shop = make_shop(tmp_path, f"{conf}insecure = true\n")
    push(base, "one")
    first = build(shop)
    assert build(shop) == first
    push(base, "two")
    second = build(shop)
    assert second != first
    push(base, "one")
    assert build(shop, "--no-cache", "--no-reuse") == first
    shop("clean", "--keep", "0")


def test_a_mirror_for_digests_alone_is_not_asked_what_a_tag_names(
    server: Server, tmp_path: Path
) -> None:
    push(server.store("stale/base"), "old")
    push(server.store("fresh/base"), "new")
    plain = f'[[registry]]\nprefix = "reg.example.test"\nlocation = "{server.host}/fresh"\n'
    plain += "insecure = true\n"
    mirror = f'[[registry.mirror]]\nlocation = "{server.host}/stale"\ninsecure = true\n'
    shop = make_shop(tmp_path, f"{plain}mirror-by-digest-only = true\n{mirror}")
    found = build(shop)
    shop.write("registries.conf", plain)
    assert build(shop) == found
    shop.write("registries.conf", f"{plain}{mirror}")
    assert build(shop) != found
    shop("clean", "--keep", "0")
