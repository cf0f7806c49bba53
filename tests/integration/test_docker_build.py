"""Where the engine differs from BuildKit and nothing is done about it (docs/docker-build.md)."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from podbuild.build.jobs import build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job
from tests.builds import NATIVE, Open, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

TEXT = """\
FROM base AS other
RUN mkdir /o /o/in; echo 1 > /o/in/beyond; ln -s /o/in /way
FROM base
COPY --chmod=640 Containerfile /made/x
VOLUME /volume
RUN echo old > /file; test -e /no || ln -s file /link; test -e /no || ln -s gone /lost
RUN ls -d /run > /names
COPY . /all/
COPY Containerfile other /two
COPY other /link
COPY other /lost
ADD packed.tar /two/
WORKDIR /end/
USER 7
COPY --from=other */beyond /by/link/
"""
IMAGES = {  # by name: what it starts from, and its Containerfile
    "web": ("base", TEXT),
    "below": ("web", "FROM web\nWORKDIR /last\n"),
    "trigger": ("base", 'FROM base\nSHELL ["/bin/sh", "-e", "-c"]\nONBUILD CMD run me\n'),
    "fired": ("trigger", "FROM trigger\n"),
    "linked": (
        "base",
        "FROM base\n# define there gone\nRUN mkdir -m 700 /there\nCOPY --link other /there/\n",
    ),
    "nobody": ("base", "FROM base\nCOPY --chown=joe other /\n"),
    "homeless": ("base", "FROM base\nUSER joe\nWORKDIR /home/joe\n"),
    "clash": ("base", "FROM base\nRUN echo old > /tree\nCOPY . /\n"),
    "nothing": ("base", "FROM base AS x\nFROM base\nCOPY --from=x /nothing* /here/\n"),
}


def pack(path: Path) -> None:
    """Write an archive that holds the folder itself, closed to others, and a file."""
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("./")
        folder.type, folder.mode, folder.uid = tarfile.DIRTYPE, 0o700, 9
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("./inside"))


def files_of(place: Open, job: Job, manifest: Manifest) -> dict[str, tarfile.TarInfo]:
    """Give what is in an image, later layers winning."""
    found: dict[str, tarfile.TarInfo] = {}
    for layer in manifest.layers:
        with place.store(job.image).blob(layer) as blob:
            data = io.BytesIO(b"".join(blob.chunks()))
        with tarfile.open(fileobj=data) as archive:
            found |= {entry.name.strip("/"): entry for entry in archive}
    return found


def test_what_the_documents_say_of_the_engine(tmp_path: Path) -> None:
    bench = new_bench(tmp_path / "bench", EngineKind.BUILDAH)
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}'
    for name, (base, text) in IMAGES.items():
        file = f"{name}/Containerfile{'.in' if name == 'linked' else ''}"
        bench.write(file, text)
        bench.write(f"{name}/other", "new\n")
        toml += f'[images.{name}]\ncontext = "{name}"\ncontexts = {{ {base} = "image:{base}" }}\n'
        toml += f'layers = {str(name != "linked").lower()}\ncontainerfile = "{file}"\n'
    (bench.project / "web" / "setgid").mkdir()
    (bench.project / "web" / "setgid").chmod(0o2755)
    bench.write("clash/tree/leaf", "new\n")
    bench.write("web/setuid", "new\n").chmod(0o4755)
    os.mknod(bench.project / "web" / "socket", 0o755 | stat.S_IFSOCK)
    pack(bench.project / "web" / "packed.tar")
    with opened(bench) as place:
        built = build_all(place.work(bench.plan(toml)))
        images = {job.image: (job, image.manifest) for job, image in built.images.items()}
        found = files_of(place, *images["below"])
        linked = files_of(place, *images["linked"])
        clash = files_of(place, *images["clash"])
        config = place.config("web", images["web"][1])["config"]
        fired = place.config("fired", images["fired"][1])["config"]
    remove_bench(bench)
    failed = {job.image: error for job, error in built.failed.items()}
    assert "Containerfile:2: nobody" in failed.pop("nobody").message  # BuildKit: root's
    assert "Containerfile:3: homeless" in failed.pop("homeless").message  # BuildKit: root's
    ((_, failure),) = failed.items()  # BuildKit: an image without /here
    assert "Containerfile:3: nothing" in failure.message
    assert "nothing there has such a name" in failure.hint
    assert "by/link/beyond" in found  # BuildKit: not, the link /way is not followed
    assert found["names"].size  # BuildKit: no /run
    assert "run" not in found
    assert found["all/setgid"].mode == 0o755  # BuildKit: 02755
    assert found["all/setuid"].mode == 0o755  # BuildKit: 04755
    assert "all/socket" not in found  # BuildKit: an empty file
    assert linked["there"].mode == 0o700  # BuildKit: 0755; of a file that cpp would change
    assert (found["made"].mode, found["made/x"].mode) == (0o755, 0o640)  # BuildKit: both 0640
    assert "volume" in found  # BuildKit: not
    assert found["two"].isdir()  # BuildKit: a file, the last of both
    assert found["link"].isreg()  # BuildKit: still a link, and the file has the bytes
    assert found["gone"].isdir()  # BuildKit: a file
    assert clash["tree"].isdir()  # BuildKit: an error
    assert found["last"].uid == 7  # of the base
    assert (found["two"].mode, found["two"].uid) == (0o700, 9)  # BuildKit: 0755 and 0
    assert isinstance(config, dict)
    assert config["WorkingDir"] == "/end"  # BuildKit: /end/
    assert isinstance(fired, dict)
    assert fired["Cmd"] == ["/bin/sh", "-c", "run me"]  # BuildKit: /bin/sh -e -c
