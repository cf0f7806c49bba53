"""The images of a plan examined: beside what else goes on, each once."""

from __future__ import annotations

import gzip
import io
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.attest.catalog import catalog
from podbuild.build.examine.children import Examination, Ignored
from podbuild.build.examine.hidden import over_hidden
from podbuild.build.inputs.lint import Level
from podbuild.build.staging.area import Pool, Staging
from podbuild.commands.judge import questions_of
from podbuild.config.load import parse_config
from podbuild.errors import InterruptedBySignal
from podbuild.oci.examine import LAYERS, Examiner
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Request
from tests.images import make_image
from tests.layers import tar

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


def test_a_stop_ends_the_reading_of_layers_and_keeps_nothing_of_it(
    tmp_path: Path, staging: Staging
) -> None:
    image = make_image(staging.repository("web"), foreign())
    with examination(tmp_path, staging) as examined:
        examined.cancel.request(signal.SIGINT)
        with pytest.raises(InterruptedBySignal):
            examined.judge({WEB: image})
        assert not examined.examiner.knows(image.layers, examined.questions)


LAYERS_OF_FILES = (
    {"opt/kept": b"k" * 3000, "opt/gone": b"g" * 2000, "var/lib/dpkg/status": b"s" * 9000},
    {"opt/.wh.gone": b"", "var/lib/dpkg/status": b"t" * 9000},  # a database that installs rewrite
    {"opt/kept": b"K" * 3000},
)
HIDING = "FROM scratch\nCOPY a /opt/\nRUN rm /opt/gone\nCOPY b /opt/\n"


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        ('hidden = "5kB"', 0),
        ('hidden = "4999B"', 10),
        ('hidden = "0B"\non = "warn"', 0),
    ],
)
def test_bytes_that_nobody_sees_have_a_budget(
    tmp_path: Path, staging: Staging, budget: str, code: int
) -> None:
    files = (gzip.compress(tar(files)) for files in LAYERS_OF_FILES)
    image = make_image(staging.repository("web"), *files)
    more = f"[images.web.budget]\n{budget}\n"
    with examination(tmp_path, staging, more) as examined:
        (tmp_path / "Containerfile").write_text(HIDING)
        examined.judge({WEB: image})
        for layer in image.layers:  # one pass has answered all
            staging.pool.path(layer.digest).unlink()
        found = tuple(over_hidden(examined, {WEB: image}, lambda name: (f"{name}.toml", 7)))
    assert [each.level for each in found] == (
        [Level.ERROR] if code else [Level.WARNING] if "warn" in budget else []
    )
    for each in found:
        assert str(each).startswith("web.toml:7: web linux/amd64: its layers hide 5.0 kB (5000 b")
        assert "replaces 3.0 kB of line" in each.message
        assert "deletes 2.0 kB of line" in each.message


def test_a_budget_says_so_where_layers_are_not_here(tmp_path: Path, staging: Staging) -> None:
    image = make_image(staging.repository("web"), foreign())
    staging.pool.path(image.layers[0].digest).unlink()
    with examination(tmp_path, staging, '[images.web.budget]\nhidden = "0B"\n') as examined:
        (found,) = over_hidden(examined, {WEB: image}, lambda _name: ("f", 1))
    assert (found.level, "not looked into" in found.message) == (Level.WARNING, True)


def test_what_is_not_published_is_not_examined(tmp_path: Path, staging: Staging) -> None:
    image = make_image(staging.repository("inner"), foreign())
    with examination(tmp_path, staging) as examined:
        examined.begin(INNER, image)
        assert not examined.judge({INNER: image}).findings
    assert not (tmp_path / "cache").exists()
