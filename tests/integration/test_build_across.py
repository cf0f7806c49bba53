"""A stage on the build platform's image of the same project, as compilers have it, and not under
qemu: the files are those that BuildKit (Docker 28.5, `target:base` as context) makes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.jobs import build_all
from podbuild.build.model import Known
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from tests.builds import NATIVE, Bench, busybox, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

FOREIGN = Platform("linux", "arm64" if native_architecture() == "amd64" else "amd64")
BOTH = tuple(sorted((NATIVE, FOREIGN)))
TOML = f"""
[images.base]
context = "base"
platforms = ["{BOTH[0]}", "{BOTH[1]}"]
publish = false
[images.app]
context = "app"
contexts = {{ base = "image:base" }}
platforms = ["{FOREIGN}"]
"""
BASE = """\
FROM scratch
ARG TARGETARCH
COPY --chmod=755 busybox-$TARGETARCH /bin/busybox
COPY $TARGETARCH /platform
ENV ARCH=$TARGETARCH
ONBUILD COPY triggered /
"""
APP = """\
FROM --platform=$BUILDPLATFORM base AS build
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox uname -m > /machine"]
COPY --from=base /platform /copied
COPY <<EOF /text
$ARCH
EOF
FROM base
COPY --from=build /platform /machine /copied /text /triggered /built/
"""


@pytest.fixture(params=list(EngineKind))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    found = new_bench(tmp_path, request.param)
    found.write("base/Containerfile", BASE)
    for platform in BOTH:
        name = platform.architecture
        found.write(f"base/{name}", name)
        shutil.copyfile(busybox(name), found.project / f"base/busybox-{name}")
    found.write("app/Containerfile", APP)
    found.write("app/triggered", "by the base")
    yield found
    remove_bench(found)


def test_each_from_has_its_own_platform(bench: Bench) -> None:
    with opened(bench) as place:
        plan = bench.plan(TOML)
        built = build_all(work := place.work(plan))
        built.check()
        app, home = Job("app", FOREIGN), Job("base", NATIVE)
        files = place.files("app", built.images[app].manifest)
        machine = {"amd64": b"x86_64\n", "arm64": b"aarch64\n"}[NATIVE.architecture]
        assert {name: data for name, data in files.items() if "/" in name} == {
            "bin/busybox": busybox(FOREIGN.architecture).read_bytes(),
            "built/platform": NATIVE.architecture.encode(),
            "built/machine": machine,
            "built/copied": FOREIGN.architecture.encode(),
            "built/text": f"{NATIVE.architecture}\n".encode(),
            "built/triggered": b"by the base",
        }
        # what staging has lost of the base is made again
        lost = built.images[home].manifest
        place.registry.staging.pool.path(lost.layers[0].digest).unlink()
        known = {
            job: Known(manifest=each.manifest, reason="known") for job, each in built.images.items()
        }
        del known[app]
        again = build_all(replace(work, known=known.get))
        assert {job for job, each in again.images.items() if not each.reused} == {app, home}
        assert {job: each.manifest.digest for job, each in again.images.items()} == {
            job: each.manifest.digest for job, each in built.images.items()
        }
