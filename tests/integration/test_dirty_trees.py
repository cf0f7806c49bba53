"""A tree with changes: refused, or released with a mark that nobody adopts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.builds import NATIVE
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("dirty")
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.write(
        "podbuild.toml",
        '[project]\nname = "shop"\nrequire-tag = true\n'
        f'[images.web]\nplatforms = ["{NATIVE}"]\nindex = "always"\n',
    )
    shop.write("Containerfile", "FROM scratch\nCOPY file /\n")
    shop.write(".gitignore", "/dist/\n")
    shop.write("file", "as committed")
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.0.0")
    yield shop
    shop("clean", "--keep", "0")


def test_a_tree_with_changes_is_refused_or_marked_and_never_adopted(shop: Shop) -> None:
    for name in "abcde":
        shop.write(f"untracked-{name}", "")
    shop.write("file", "changed")
    refused = shop("release")
    assert refused.code == 2
    assert "(file, untracked-a, untracked-b and 3 more)" in refused.err
    assert "--allow-dirty" in refused.err
    assert not (shop.root / "dist/registry").exists()
    plan = shop("plan")
    assert (plan.code, "refuses it without --allow-dirty" in plan.err) == (0, True)
    done = shop.having(PODBUILD_ALLOW_DIRTY="1")("release")
    assert done.code == 0, done.text
    assert json.loads((shop.root / "dist/metadata.json").read_text())["dirty"] is True
    blobs = (shop.root / "dist/registry/web/blobs/sha256").iterdir()
    assert any(b'"io.github.podbuild.dirty":"true"' in blob.read_bytes() for blob in blobs)

    shop.git("checkout", "-q", "file")
    shop.git("clean", "-qf")
    clean = shop("release")
    assert (clean.code, "made from a work tree with changes" in clean.err) == (6, True), clean.text
    assert shop("release", "--allow-overwrite").code == 0
    assert json.loads((shop.root / "dist/metadata.json").read_text())["dirty"] is False
    assert shop("release").code == 0  # adopted
    untagged = shop("release", "1.1.0")
    assert (untagged.code, "require-tag" in untagged.err) == (3, True), untagged.text
