"""What is published without being built: images that a version tag holds already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podbuild.build.engines import adopted_images
from podbuild.errors import PublishError
from podbuild.oci.memory import MemoryStore
from tests.images import make_image
from tests.unit.plan.test_make import release


def test_an_adopted_image_that_is_gone_since_the_plan_ends_the_release() -> None:
    store = MemoryStore()
    manifest = make_image(store, b"layer")
    web = replace(release().image("web"), adopted=manifest.digest)
    assert adopted_images([web], lambda _image: store) == {"web": manifest}
    store.manifests.clear()
    with pytest.raises(PublishError, match=f"web: {manifest.digest} was this version's image"):
        adopted_images([web], lambda _image: store)
