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
ADD packed.tar /two/
WORKDIR /end/
USER 7
"""
TRIGGER = 'FROM base\nSHELL ["/bin/sh", "-e", "-c"]\nONBUILD CMD run me\n'
ON_USERS = "FROM web\nWORKDIR /last\n"


def pack(path: Path) -> None:
    """Write an archive that holds the folder itself, closed to others, and a file."""
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("./")
        folder.type, folder.mode, folder.uid = tarfile.DIRTYPE, 0o700, 9
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("./inside"))


def test_what_the_documents_say_of_the_engine(tmp_path: Path) -> None:
    bench = new_bench(tmp_path / "bench", EngineKind.BUILDAH)
    toml = bench.write_base(NATIVE)
    bench.write("web/Containerfile", TEXT)
    bench.write("web/other", "new\n")
    pack(bench.project / "web" / "packed.tar")
    bench.write("below/Containerfile", ON_USERS)
    bench.write("trigger/Containerfile", TRIGGER)
    bench.write("fired/Containerfile", "FROM trigger\n")
    toml += '[images.trigger]\ncontext = "trigger"\ncontexts = { base = "image:base" }\n'
    toml += '[images.fired]\ncontext = "fired"\ncontexts = { trigger = "image:trigger" }\n'
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
        config = place.config("web", built.images[Job("web", NATIVE)].manifest)["config"]
        fired = place.config("fired", built.images[Job("fired", NATIVE)].manifest)["config"]
    remove_bench(bench)
    assert (found["made"].mode, found["made/x"].mode) == (0o755, 0o640)  # BuildKit: both 0640
    assert "volume" in found  # BuildKit: not
    assert found["two"].isdir()  # BuildKit: a file, the last of both
    assert found["link"].isreg()  # BuildKit: still a link, and the file has the bytes
    assert found["last"].uid == 0  # BuildKit: 7
    assert (found["two"].mode, found["two"].uid) == (0o700, 9)  # BuildKit: 0755 and 0
    assert isinstance(config, dict)
    assert config["WorkingDir"] == "/end"  # BuildKit: /end/
    assert isinstance(fired, dict)
    assert fired["Cmd"] == ["/bin/sh", "-c", "run me"]  # BuildKit: /bin/sh -e -c
