"""Stages that go on from what an earlier build came to: the image is what it would be anyway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podbuild.build.model import BuiltImage
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import BuildError
from podbuild.plan.model import Job
from tests.builds import NATIVE, Bench, new_bench, opened, remove_bench

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("steps")]

WEB = """\
FROM base AS tools
ARG FLAVOR=plain
COPY tool /t/
RUN echo $FLAVOR >>/t/tool
COPY more /t/
RUN cat /t/more >>/t/tool
FROM base
ENV MADE=yes
RUN --mount=from=tools,source=/t,target=/m cp /m/tool /first
COPY --from=tools /t/tool /srv/
COPY main /srv/
CMD ["cat", "/srv/main"]
"""
FILES = ("tool", "more", "main")


@pytest.fixture(params=list(EngineKind), scope="module")
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    found = new_bench(tmp_path_factory.mktemp("steps"), request.param)
    for name in FILES:
        found.write(f"web/{name}", f"{name}\n")
    found.write("web/Containerfile", WEB)
    build(found)
    yield found
    remove_bench(found)


def build(bench: Bench) -> BuiltImage:
    """Build in a run of its own."""
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n' + bench.write_base(NATIVE)
    toml += '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n'
    with opened(bench) as place:
        return place.build(toml).images[Job("web", NATIVE)]


def anew(bench: Bench, folder: Path) -> BuiltImage:
    """Build the same files where nothing was built before."""
    other = new_bench(folder, bench.toolchain.engine.kind)
    for name in (*FILES, "Containerfile"):
        other.write(f"web/{name}", (bench.project / "web" / name).read_text())
    try:
        return build(other)
    finally:
        remove_bench(other)


def log(bench: Bench) -> str:
    return (bench.project / "dist/logs" / f"web-{NATIVE.slug}.log").read_text()


def records(bench: Bench) -> list[Path]:
    return [*(bench.folders.cache / "engines").glob("*/*/steps/*web*")]


def test_only_what_an_edit_changes_is_done_again(bench: Bench, tmp_path: Path) -> None:
    bench.write("web/main", "edited\n")
    edited = build(bench)
    assert [line.partition(": ")[2] for line in log(bench).splitlines() if "STEP" in line][1:] == [
        "COPY main /srv/",
        'CMD ["cat", "/srv/main"]',
    ]
    assert log(bench).startswith("8 instructions: as an earlier build did them\n")
    assert edited.metrics.steps - edited.metrics.cached_steps == 3  # with FROM
    bench.write("web/more", "edited\n")
    inner = build(bench)
    assert "tool /t/" not in log(bench)
    assert "COPY more /t/" in log(bench)
    assert inner.manifest == anew(bench, tmp_path / "anew").manifest


def test_a_step_that_fails_is_named_by_its_line_in_the_file(bench: Bench) -> None:
    whole = (bench.project / "web/Containerfile").read_text()
    bench.write("web/Containerfile", whole.replace("RUN cat /t/more >>/t/tool", "RUN false"))
    with pytest.raises(BuildError, match=r"Containerfile:6: .*RUN false ended with code 1"):
        build(bench)
    bench.write("web/Containerfile", whole)


def without_an_image(record: Path, images: dict[str, str]) -> None:
    """Let the record name what is not there."""
    record.write_text(json.dumps(dict.fromkeys(images, "0" * 64)))


def no_record(record: Path, _images: dict[str, str]) -> None:
    record.write_text("{")


def without_manifests(record: Path, images: dict[str, str]) -> None:
    """Let the engine fail where a stage starts from one of the images."""
    for image in images.values():
        for file in record.parent.parent.glob(f"graph/*-images/{image}/manifest"):
            file.unlink()


ONE_ENGINE = pytest.mark.parametrize("bench", [EngineKind.BUILDAH], indirect=True)


@ONE_ENGINE
@pytest.mark.parametrize("damage", [without_an_image, no_record, without_manifests])
def test_what_is_not_there_any_more_is_done_again(
    bench: Bench, damage: Callable[[Path, dict[str, str]], None]
) -> None:
    bench.write("web/main", f"{damage.__name__}\n")
    before = build(bench)
    (record,) = records(bench)
    damage(record, json.loads(record.read_text()))
    bench.write("web/main", f"{damage.__name__} again\n")
    said = len(bench.text)
    build(bench)
    assert ("built again" in bench.text[said:]) == (damage is without_manifests)
    bench.write("web/main", f"{damage.__name__}\n")
    assert build(bench).manifest == before.manifest


SHOWN = """\
FROM base AS s
COPY value /value
FROM base AS t
COPY --from=s /value /here
RUN --mount=source=value,target=/m cat /m >/context
RUN --mount=target=/m \\
    cat /m/value >/whole
RUN --mount=from=other,target=/m <<E
cat /m/value >/other
E
RUN --mount=type=bind,from=s,source=/value,target=/m cat /m >/stage
RUN --mount=from=image,source=/value,target=/m cat /m >/image
FROM t
RUN --mount=from=t,source=/here,target=/m cat /m >/below
"""


def test_a_run_is_done_again_when_its_mounts_show_something_else(bench: Bench) -> None:
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}'
    toml += '[images.image]\ncontext = "image"\ncontexts = { base = "image:base" }\n'
    toml += '[images.shown]\ncontext = "shown"\ncontexts = { base = "image:base", other = "other"'
    toml += ', image = "image:image" }\n'
    bench.write("shown/Containerfile", SHOWN)
    bench.write("image/Containerfile", "FROM base\nCOPY value /value\n")
    for value in ("one", "two", "one"):  # of what fits, the engine takes what it has built last
        for folder in ("shown", "other", "image"):
            bench.write(f"{folder}/value", f"{value}\n")
        for record in (bench.folders.cache / "engines").glob("*/*/steps/*-shown-*"):
            record.unlink()  # so that it is the engine that decides
        with opened(bench) as place:
            built = place.build(toml).images[Job("shown", NATIVE)].manifest
            files = place.files("shown", built)
        names = ("context", "whole", "other", "stage", "image", "here", "below")
        assert {name: files[name].decode().strip() for name in names} == dict.fromkeys(names, value)


@ONE_ENGINE
@pytest.mark.parametrize("first", ["", "VOLUME /v\n"])  # with steps to go on from, and without
def test_what_run_was_given_besides_its_text_is_seen(bench: Bench, first: str) -> None:
    run = "RUN cut -d: -f1 /proc/net/dev | tail -n +3 >/net"
    bench.write("net/Containerfile", f"FROM base\n{first}{run}\n")
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{bench.write_base(NATIVE)}'
    toml += '[images.net]\ncontext = "net"\ncontexts = { base = "image:base" }\n'
    found = []
    for more in ("", 'network = "none"\n', ""):
        with opened(bench) as place:
            built = place.build(toml + more).images[Job("net", NATIVE)].manifest
            found.append(place.files("net", built)["net"].decode().split())
    assert found[1] == ["lo"]
    assert found[0] == found[2] != found[1]
