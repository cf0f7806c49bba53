"""Where the engine differs from BuildKit and nothing is done about it (docs/docker-build.md)."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from podbuild.plan.model import Job
from tests.builds import NATIVE, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

TEXT = """\
FROM base
COPY --chmod=640 Containerfile /made/x
VOLUME /volume
RUN true
WORKDIR /last
"""


def test_what_the_documents_say_of_the_engine(tmp_path: Path) -> None:
    bench = new_bench(tmp_path / "bench", EngineKind.BUILDAH)
    toml = bench.write_base(NATIVE)
    bench.write("web/Containerfile", TEXT)
    toml += '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n'
    with opened(bench) as place:
        built = place.build(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        modes: dict[str, int] = {}
        for layer in built.images[Job("web", NATIVE)].manifest.layers:
            with place.store("web").blob(layer) as blob:
                data = io.BytesIO(b"".join(blob.chunks()))
            with tarfile.open(fileobj=data) as archive:
                modes |= {entry.name.strip("/"): entry.mode for entry in archive}
    remove_bench(bench)
    assert (modes["made"], modes["made/x"]) == (0o755, 0o640)  # BuildKit: both 0640
    assert "volume" in modes  # BuildKit: not
    assert "last" not in modes  # BuildKit: it is
