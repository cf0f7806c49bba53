"""Where an image's layers lie in an engine's storage, also in one that a kill has left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.build.engine.storage import DriverName, Storage, StorageDriver


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Give a storage with three layers, the lowest first: base, app, top."""
    records, below = [], ""
    for layer in ("base", "app", "top"):
        folder = tmp_path / "overlay" / layer
        (folder / "diff").mkdir(parents=True)
        (folder / "link").write_text(f"SHORT-{layer}")
        (folder / "lower").write_text("l/STALE")
        short = tmp_path / "overlay/l" / f"SHORT-{layer}"
        short.parent.mkdir(exist_ok=True)
        short.symlink_to(f"../{layer}/diff")
        records.append({"id": layer, "parent": below, "diff-digest": f"sha256:{layer}"})
        below = layer
    (tmp_path / "overlay-layers").mkdir()
    (tmp_path / "overlay-layers/layers.json").write_text(json.dumps(records))
    return Storage(graph=tmp_path, run=tmp_path / "run", driver=StorageDriver(DriverName.OVERLAY))


def below(storage: Storage, *layers: str) -> str | None:
    found = storage.layers([f"sha256:{layer}" for layer in layers])
    return None if found is None else found.below


def test_layers_have_their_short_names_whatever_those_above_say(storage: Storage) -> None:
    assert below(storage, "base", "app", "top") == "l/SHORT-top:l/SHORT-app:l/SHORT-base"
    assert below(storage, "base") == "l/SHORT-base"
    assert below(storage) == ""
    assert below(storage, "app") is None


def test_a_short_name_that_a_killed_engine_lost_is_done_without(storage: Storage) -> None:
    (storage.graph / "overlay/l/SHORT-app").unlink()
    assert below(storage, "base", "app", "top") == "l/SHORT-top:app/diff:l/SHORT-base"


def test_an_image_of_which_a_layer_is_gone_is_not_here(storage: Storage) -> None:
    (storage.graph / "overlay/app/diff").rmdir()
    assert below(storage, "base", "app", "top") is None
    assert below(storage, "base") == "l/SHORT-base"
