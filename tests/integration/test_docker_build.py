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
RUN echo old > /file; ln -s file /link
COPY Containerfile other /two
COPY other /link
USER 7
"""
ON_USERS = "FROM web\nWORKDIR /last\n"


def test_what_the_documents_say_of_the_engine(tmp_path: Path) -> None:
    bench = new_bench(tmp_path / "bench", EngineKind.BUILDAH)
    toml = bench.write_base(NATIVE)
    bench.write("web/Containerfile", TEXT)
    bench.write("web/other", "new\n")
    bench.write("below/Containerfile", ON_USERS)
    toml += '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n'
    toml += '[images.below]\ncontext = "below"\ncontexts = { web = "image:web" }\n'
    with opened(bench) as place:
        built = place.build(f'[defaults]\nplatforms = ["{NATIVE}"]\n{toml}')
        found: dict[str, tarfile.TarInfo] = {}
        for layer in built.images[Job("below", NATIVE)].manifest.layers:
            with place.store("below").blob(layer) as blob:
                data = io.BytesIO(b"".join(blob.chunks()))
            with tarfile.open(fileobj=data) as archive:
                found |= {entry.name.strip("/"): entry for entry in archive}
    remove_bench(bench)
    assert (found["made"].mode, found["made/x"].mode) == (0o755, 0o640)  # BuildKit: both 0640
    assert "volume" in found  # BuildKit: not
    assert found["two"].isdir()  # BuildKit: a file, the last of both
    assert found["link"].isreg()  # BuildKit: still a link, and the file has the bytes
    assert found["last"].uid == 0  # BuildKit: 7
