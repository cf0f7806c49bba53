from pathlib import Path

import pytest

from podbuild.model import Tag
from podbuild.store import PushRight
from podbuild.store.copy import copy_image
from podbuild.store.layout import LayoutStore
from podbuild.store.memory import MemoryStore
from tests.images import make_image, make_index
from tests.registries import registry_server

pytestmark = pytest.mark.integration


def test_an_index_goes_through_two_registries_and_a_folder_and_stays_the_same(
    tmp_path: Path,
) -> None:
    source = MemoryStore()
    index = make_index(
        source,
        amd64=make_image(source, b"a" * 3_000_000, b"shared"),
        arm64=make_image(source, b"b" * 10, b"shared", architecture="arm64"),
    )
    with registry_server() as one, registry_server() as two:
        assert one.store().check_push() is PushRight.UNKNOWN
        assert copy_image(source, one.store(), index, tag=Tag("1.0.0")) == 5
        layout = LayoutStore(tmp_path / "layout")
        copy_image(one.store(), layout, index, tag=Tag("1.0.0"))
        copy_image(layout, two.store(), index, tag=Tag("1.0.0"))
        found = two.store().manifest(Tag("1.0.0"))
        assert found == index
        assert two.store().tags() == (Tag("1.0.0"),)
        assert one.store().check_push() is PushRight.ALLOWED
        assert copy_image(source, one.store(), index) == 0
