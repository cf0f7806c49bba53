"""Builds on another machine: an sshd on loopback, real engines on both sides."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builds import NATIVE, busybox
from tests.machines import Machine, machine
from tests.registries import make_authority, registry_server
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

SECRET = "a-secret-that-nothing-keeps"
TOML = f"""\
[project]
name = "shop"

[defaults]
platforms = ["{NATIVE}"]

[images.base]
context = "base"
publish = false

[images.app]
context = "app"
containerfile = "app.Containerfile"
contexts = {{ base = "image:base", more = "more" }}
secrets = [{{ id = "token", env = "TOKEN" }}]

[images.small]
context = "app"
containerfile = "small.Containerfile"
compression = "zstd"
layers = false
contexts = {{ base = "image:base" }}

[builders.b1]
host = "builder"
"""
BASE = """\
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir /tmp"]
SHELL ["/bin/sh", "-ec"]
"""
APP = """\
FROM base
ARG WHAT=nothing
ENV WHAT=$WHAT
RUN <<EOF
echo "$WHAT" > /made
EOF
COPY --chmod=640 . /app/
COPY --from=more . /more/
COPY <<EOF /text
a text with $WHAT
EOF
RUN --mount=type=secret,id=token,env=TOKEN --mount=type=cache,target=/kept \\
    [ -n "$TOKEN" ] && echo kept >> /kept/file
RUN --mount=type=bind,target=/context ls -lR /context | grep -c . > /seen
HEALTHCHECK CMD ["/bin/true"]
CMD ["sh"]
"""


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine") / "m") as found:
        yield found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, builder: Machine) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("builders")
    found = Shop(root=folder / "shop", environment=environment(folder / "own"))
    path = f"{builder.path}:{found.environment['PATH']}"
    found = found.having(PATH=path, TOKEN=SECRET)
    found.write("podbuild.toml", TOML)
    found.write("base/Containerfile", BASE)
    (found.root / "base/busybox").write_bytes(busybox(NATIVE.architecture).read_bytes())
    found.write("app.Containerfile", APP)
    found.write("app/.containerignore", "left-out\n")
    found.write("app/left-out/file", "not for builds")
    found.write("app/dir/program", "#!/bin/sh\n").chmod(0o755)
    (found.root / "app/link").symlink_to("dir/program")
    (found.root / "app/empty").mkdir()
    found.write("more/file", "more")
    found.write("small.Containerfile", "FROM base\nCOPY dir /dir\nRUN echo small > /made\n")
    found.git("init", "-q", "-b", "main")
    found.write(".gitignore", "/dist/\n")
    found.commit("v1.0.0")
    yield found
    found("clean", "--keep", "0")


def digests(shop: Shop) -> dict[str, str]:
    built = json.loads((shop.root / "dist/state.json").read_text())["built"]
    return {job: record["digest"] for job, record in built.items()}


def holding(text: str, *folders: Path) -> list[str]:
    argv = ("grep", "-rlsaF", "--", text, *map(str, folders))
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout.split()


def test_a_builder_gives_what_this_machine_gives(shop: Shop, builder: Machine) -> None:
    done = shop("build", "--no-builders", "--no-reuse")
    assert done.code == 0, done.text
    here = digests(shop)
    done = shop("build", "--no-reuse", "--builder", "b1")
    assert done.code == 0, done.text
    assert (digests(shop), "on b1" in done.text) == (here, True), done.text
    builder.wait_until_empty()
    assert holding(SECRET, builder.home, shop.root / "dist") == []


def test_a_builder_is_connected_to_where_something_must_be_built(shop: Shop) -> None:
    before, connects = digests(shop), "connect to builders"
    done = shop("build")
    assert (done.code, connects in done.text, digests(shop)) == (0, False, before), done.text
    written = shop.write("podbuild.toml", f"{TOML}[builders]\nlocal = false\n")
    [record] = (shop.root.parent / "own/cache/podbuild/records").glob("*/builder-facts.json")
    known = json.loads(record.read_text())
    # Another engine would give another result: what it is now counts.
    known["b1"]["facts"] = known["b1"]["facts"].replace(" 1.", " 0.")
    record.write_text(json.dumps(known))
    done = shop("build")
    assert (done.code, connects in done.text, digests(shop)) == (0, True, before), done.text
    done = shop("build")
    assert (done.code, connects in done.text, digests(shop)) == (0, False, before), done.text
    written.write_text(TOML)


def steps(shop: Shop, image: str) -> list[tuple[str, bool]]:
    metrics = json.loads((shop.root / "dist/metrics.json").read_text())
    job = next(each for each in metrics["jobs"] if each["image"] == image)
    return [(each["text"], each["cached"]) for each in job["step_times"]]


def test_the_next_build_there_reuses_steps_and_what_lasts_there_is_bounded(
    shop: Shop, builder: Machine
) -> None:
    shop.write("app.Containerfile", f"{APP}RUN : > /changed\n")
    done = shop("build", "app", "--builder", "b1")
    shop.write("app.Containerfile", APP)
    assert done.code == 0, done.text
    done_anew = [text for text, cached in steps(shop, "app") if not cached and text[:4] != "FROM"]
    assert done_anew[-1] == "RUN : > /changed"
    assert not [text for text in done_anew if text.startswith(("RUN", "COPY")) and "/c" not in text]
    stored = json.loads(shop("builders", "--json").out)["builders"][0]["stored"]
    assert stored > 2_000_000
    used = builder.home / ".cache/podbuild-builder/used"
    before = {each.name for each in used.iterdir()}
    done = shop("clean", "--builders", "--keep", f"{stored - 10_000}", "--json")
    assert json.loads(done.out)["builders"][0]["after"] < stored
    after = {each.name for each in used.iterdir()}
    assert after < before
    assert after  # the oldest went, and no more
    done = shop("clean", "--builders", "--keep", "0", "--json")
    assert json.loads(done.out)["builders"][0]["after"] < 2_000_000
    builder.wait_until_empty()


def test_root_builds_there_alike_until_its_disk_is_full(
    shop: Shop, builder: Machine, tmp_path: Path
) -> None:
    before = digests(shop)[f"base {NATIVE}"]
    written = shop.write("podbuild.toml", f'{TOML}[builders.b2]\nhost = "small"\n')
    large = 'RUN ["/bin/busybox", "dd", "if=/dev/zero", "of=/large", "bs=1M", "count=99"]\n'
    with machine(tmp_path / "m", "small", disk="30m", beside=builder) as small:
        alike = shop("build", "base", "--no-reuse", "--builder", "b2")
        made = digests(shop)[f"base {NATIVE}"]
        shop.write("base/Containerfile", f"{BASE}{large}")
        done = shop("build", "base", "--builder", "b2")
        small.wait_until_empty()
    written.write_text(TOML)
    shop.write("base/Containerfile", BASE)
    assert (alike.code, made) == (0, before), alike.text
    line = f"podbuild: base {NATIVE}: no space left on the builder b2\n"
    assert (done.code, line in done.err) == (5, True), done.text


def test_a_killed_run_leaves_nothing_there(shop: Shop, builder: Machine) -> None:
    first, second = (10_000_000 * each + os.getpid() for each in (1, 2))  # nobody else's
    lasting = f"RUN --mount=type=secret,id=token setsid sleep {first} & sleep {second}\n"
    shop.write("app.Containerfile", f"{APP}{lasting}")
    process = shop.start("build", "app", "--builder", "b1")
    while not (running(first) and running(second)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    process.communicate()
    while running(first) or running(second):
        time.sleep(0.1)
    builder.wait_until_empty()
    shop.write("app.Containerfile", APP)
    assert holding(SECRET, builder.home, shop.root / "dist") == []


def test_a_private_base_needs_its_login_and_no_other(
    shop: Shop, builder: Machine, tmp_path: Path
) -> None:
    authority = make_authority(tmp_path / "ca")
    with registry_server(login=("ann", "the-login-of-bases"), authority=authority) as server:
        place = f'[registries.r]\nrepository = "{server.host}/acme/{{image}}"\nca = "{server.ca}"\n'
        there = shop.having(
            PODBUILD_R_USERNAME="ann",
            PODBUILD_R_TOKEN="the-login-of-bases",
            PODBUILD_OTHER_USERNAME="bob",
            PODBUILD_OTHER_TOKEN="the-login-of-targets",
        )
        folder = shop.root.parent / "private"
        shutil.copytree(shop.root, folder, symlinks=True)
        private = replace(there, root=folder)
        private.write("podbuild.toml", TOML.replace("publish = false", "") + place)
        done = private("build", "base", "--no-reuse", "--builder", "b1")
        assert (done.code, private("push", "base").code) == (0, 0), done.text
        staged = digests(private)[f"base {NATIVE}"]
        private.write("on.Containerfile", f"FROM {server.host}/acme/base@{staged}\nRUN : > /on\n")
        image = '[images.on]\ncontext = "app"\ncontainerfile = "on.Containerfile"\n'
        other = '[registries.other]\nrepository = "127.0.0.1:1/acme/{image}"\n'
        private.write("podbuild.toml", TOML + image + place + other)
        # What the builder has of it came under another name: it must be fetched.
        done = private("build", "on", "--builder", "b1")
        assert done.code == 0, done.text
        there_is = digests(private)[f"on {NATIVE}"]
        done = private("build", "on", "--no-builders", "--no-reuse")
        assert (done.code, digests(private)[f"on {NATIVE}"]) == (0, there_is), done.text
    texts = ("the-login-of-bases", "the-login-of-targets", login_of("ann", "the-login-of-bases"))
    assert [holding(text, builder.home) for text in texts] == [[], [], []]


def login_of(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def running(seconds: int) -> bool:
    argv = ("pgrep", "-f", f"^sleep {seconds}")
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE).returncode == 0
