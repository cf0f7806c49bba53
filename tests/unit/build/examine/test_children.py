"""The images of a plan examined: beside what else goes on, each once."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.attest.catalog import catalog
from podbuild.build.examine.children import Examination, Ignored
from podbuild.build.staging.area import Staging
from podbuild.build.staging.pool import Pool
from podbuild.commands.judge import questions_of
from podbuild.config.load import parse_config
from podbuild.oci.examine import LAYERS, Examiner
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Request
from tests.images import make_image

AMD64 = Platform("linux", "amd64")
WEB, INNER = Job("web", AMD64), Job("inner", AMD64)
TOML = """
[project]
name = "shop"
[defaults]
platforms = ["linux/amd64"]
[images.web]
[images.inner]
publish = false
"""


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    pool = Pool(tmp_path / "blobs")
    yield Staging(pool)
    pool.close()


def examination(folder: Path, staging: Staging, more: str = "") -> Examination:
    (folder / "Containerfile").write_text("FROM scratch\nCOPY tool /bin/\n")
    config = parse_config(TOML + more, folder / "podbuild.toml", {})
    return Examination(
        plan=make_plan(config, Request(), Commit(branch="main")),
        staging=staging,
        cache=folder / "cache",
        build=AMD64,
        ignored=Ignored(),
        questions=questions_of(config),
    )


def foreign() -> bytes:
    """Give a layer with a program for arm64 on the PATH."""
    program = b"\x7fELF\x02\x01" + bytes(10) + b"\x02\x00\xb7\x00" + bytes(60)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("bin/tool")
        info.size, info.mode = len(program), 0o755
        archive.addfile(info, io.BytesIO(program))
    return gzip.compress(out.getvalue())


def test_what_was_begun_is_not_read_again(tmp_path: Path, staging: Staging) -> None:
    image = make_image(staging.repository("web"), foreign())
    with examination(tmp_path, staging) as examined:
        examined.begin(WEB, image)
        first = examined.judge({WEB: image})
        for layer in image.layers:
            staging.pool.path(layer.digest).unlink()
        assert examined.judge({WEB: image}) == first
    assert "arm64" in first.faults[WEB]


def test_an_sbom_reads_no_layer_again(tmp_path: Path, staging: Staging) -> None:
    repository = staging.repository("web")
    image = make_image(repository, foreign())
    with examination(tmp_path, staging, "[attest]\n") as examined:
        examined.judge({WEB: image})
    for layer in image.layers:
        staging.pool.path(layer.digest).unlink()
    found = catalog(Examiner(tmp_path / "cache" / LAYERS), repository, image)
    assert not found.packages


def test_what_is_not_published_is_not_examined(tmp_path: Path, staging: Staging) -> None:
    image = make_image(staging.repository("inner"), foreign())
    with examination(tmp_path, staging) as examined:
        examined.begin(INNER, image)
        assert not examined.judge({INNER: image}).findings
    assert not (tmp_path / "cache").exists()
