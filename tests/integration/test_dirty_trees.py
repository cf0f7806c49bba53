"""A tree with changes: refused, or released with a mark that nobody adopts."""

from __future__ import annotations

import json
import shutil
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
    shop.write("Containerfile", "FROM scratch\nCOPY file gen /\n")
    shop.write(".gitignore", "/dist/\n/gen/\n")
    shop.write("file", "as committed")
    shop.write("gen/version", "generated")
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


def test_files_that_no_commit_holds_keep_a_tag_from_being_adopted(shop: Shop) -> None:
    assert shop("release", "--allow-overwrite").code == 0
    (shop.root / "file").chmod(0o600)  # git does not look at it, nor does a version
    assert shop("release").code == 0
    (shop.root / "file").chmod(0o644)
    shop.write("gen/version", "generated anew")
    plan, refused = shop("plan"), shop("release")
    assert (plan.code, refused.code) == (6, 6), refused.text
    assert "(no commit holds gen/version)" in refused.err
    assert "--allow-overwrite" in refused.err
    shop.write("gen/version", "generated")
    shop.git("update-index", "--skip-worktree", "file")
    shop.write("file", "not as committed")
    hidden = shop("release")
    assert (hidden.code, "no commit holds file, gen/version" in hidden.err) == (6, True), (
        hidden.text
    )
    shop.git("update-index", "--no-skip-worktree", "file")
    shop.git("checkout", "-q", "file")
    assert shop("release").code == 0
    assert shop("release", "--allow-overwrite").code == 0


def test_lists_of_what_was_built_from_changes_are_marked_though_the_tree_is_clean(
    shop: Shop,
) -> None:
    shop.write("file", "changed")
    assert shop("build").code == 0
    shop.git("checkout", "-q", "file")
    listed = shop("manifest")
    assert (listed.code, "built from a work tree with changes" in listed.err) == (0, True)
    assert json.loads((shop.root / "dist/metadata.json").read_text())["dirty"] is True
    assert any(
        b'"io.github.podbuild.dirty":"true"' in blob.read_bytes()
        for blob in (shop.root / "dist/staging/blobs/sha256").iterdir()
    )
    shop.write("untracked", "")  # reaches no image
    assert shop("build").code == 0
    (shop.root / "untracked").unlink()
    assert shop("build").code == 0  # nothing to do, and from a clean tree now
    clean = shop("manifest")
    assert (clean.code, "with changes" in clean.err) == (0, False), clean.text
    assert json.loads((shop.root / "dist/metadata.json").read_text())["dirty"] is False


def test_what_runs_leave_in_the_history_makes_nothing_dirty(shop: Shop) -> None:
    configuration = (shop.root / "podbuild.toml").read_text()
    shop.write("podbuild.toml", configuration + '[history]\nfolder = "ci/history"\n')
    shop.write("Containerfile", "FROM scratch\nCOPY . /\n")
    shop.write("ci/kept", "")
    shop.write(".gitignore", "/gen/\n")
    shutil.rmtree(shop.root / "dist", ignore_errors=True)
    shop.commit("v2.0.0")
    first, page = shop("release"), shop("report")
    assert (first.code, page.code) == (0, 0), first.text
    assert list((shop.root / "ci/history").glob("run-*.json"))
    shop.git("tag", "v2.1.0")
    second = shop("release", "2.1.0")
    assert second.code == 0, second.text
