"""Legs that hand over through a registry, and the join, each with a cache of its own."""

from __future__ import annotations

import json
import random
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Tag
from tests.builds import busybox
from tests.registries import Server, registry_server
from tests.shops import BOTH, Done, Shop, environment, oci_registry

pytestmark = pytest.mark.integration

CONFIG = """\
[project]
name = "shop"

[defaults]
platforms = ["linux/amd64", "linux/arm64"]

[images.web]
context = "web"

[images.tool]
context = "tool"
platforms = ["linux/amd64"]
"""
FILES = "FROM scratch\nCOPY . /\n"  # any platform's, with no engine of that platform


def write_project(shop: Shop, registries: str) -> None:
    """Write a project of two images with incompressible layers, committed and tagged."""
    shop.root.mkdir(parents=True)
    shop.write("podbuild.toml", CONFIG + registries)
    shop.write(".gitignore", "/dist/\n")
    for name in ("web", "tool"):
        shop.write(f"{name}/Containerfile", FILES)
        data = shop.write(f"{name}/data", "")
        data.write_bytes(random.Random(name).randbytes(1 << 20))
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.2.3")


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A project, registries, and machines that share nothing but these."""

    folder: Path
    origin: Shop
    servers: tuple[Server, Server]

    def release(self, number: str) -> Release:
        """Commit a change of every image under a new version's tag."""
        for name in ("web", "tool"):
            data = random.Random(name + number).randbytes(1 << 20)
            (self.origin.root / name / "data").write_bytes(data)
        self.origin.commit(f"v{number}")
        return Release(yard=self, number=number)

    def machine(self, name: str, number: str) -> Shop:
        """Give a clone of the project at a version; what a machine has cached lasts."""
        shop = Shop(root=self.folder / name / number, environment=environment(self.folder / name))
        if not shop.root.exists():
            origin = str(self.origin.root)
            self.origin.git("clone", "-q", f"--branch=v{number}", origin, str(shop.root))
        return shop


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version on its way."""

    yard: Yard
    number: str

    @property
    def tag(self) -> Tag:
        return Tag(self.number)

    def place(self, platform: str) -> str:
        """Give where a leg leaves what it has built."""
        name = f"{self.number}-{platform.replace('/', '-')}"
        return f"oci:{self.yard.servers[0].host}/acme/hand-over:{name}"

    def machine(self, name: str) -> Shop:
        """Give a machine that works on this version."""
        return self.yard.machine(name, self.number)

    def leg(self, platform: str, *options: str) -> Done:
        """Run a leg."""
        machine = self.machine(platform.rpartition("/")[2])
        return machine("build", "--platform", platform, "--push", *options)

    def join(self, name: str = "join") -> Done:
        """Run the join on a machine."""
        places = (word for each in BOTH for word in ("--from", self.place(each)))
        return self.machine(name)("release", f"v{self.number}", *places)

    @property
    def tagged(self) -> list[bool]:
        """Tell which registries have this version."""
        return [self.tag in each.store("acme/web").tags() for each in self.yard.servers]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    with ExitStack() as stack:
        one, two = (stack.enter_context(registry_server()) for _ in range(2))
        origin = Shop(root=folder / "origin", environment=environment(folder / "origin"))
        config = oci_registry("one", one.host, "insecure = true")
        write_project(origin, config + oci_registry("two", two.host, "insecure = true"))
        yield Yard(folder=folder, origin=origin, servers=(one, two))


def delete(server: Server, path: str) -> None:
    """Take something from a registry behind everybody's back."""
    request = urllib.request.Request(f"http://{server.host}/v2/acme/{path}", method="DELETE")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202


def layer_of(server: Server) -> Descriptor:
    """Give the layer of an image that a leg has named."""
    store = server.store("acme/web")
    (tag,) = (tag for tag in store.tags() if str(tag).startswith("leg-"))
    found = store.manifest(tag)
    assert found
    delete(server, f"web/manifests/{found.digest}")  # the name goes; then the leg may push it anew
    store.put_manifest(found)
    return found.layers[0]


def test_what_one_registry_has_lost_comes_from_the_other(yard: Yard) -> None:
    one, two = yard.servers
    release = yard.release("1.3.0")
    for platform, options in zip(BOTH, ((), ("--tag-children",)), strict=True):
        leg = release.leg(platform, "--hand-over", release.place(platform), *options)
        assert leg.code == 0, leg.text
        assert f"handed over: {release.place(platform)}, " in leg.err
    assert release.tagged == [False, False]
    lost = layer_of(one)
    delete(two, f"web/blobs/{lost.digest}")
    done = release.join()
    assert done.code == 0, done.text
    assert two.store("acme/web").has_blob(lost)
    metrics = json.loads((release.machine("join").root / "dist/metrics.json").read_text())
    assert metrics["bytes_sent"] < 2 * lost.size  # and nothing else
    assert release.tagged == [True, True]

    parcel = one.store("acme/hand-over").manifest(Tag("1.3.0-linux-amd64"))
    assert parcel
    assert sum(each.size for each in parcel.layers) < 4096
    delete(one, f"hand-over/manifests/{parcel.digest}")
    for name in ("join", "another"):
        assert release.join(name).code == 0  # it is out already, whoever asks


def test_a_join_names_every_leg_to_run_again(yard: Yard) -> None:
    one, _ = yard.servers
    release = yard.release("1.3.1")
    leg = release.leg(BOTH[0], "--hand-over", release.place(BOTH[0]), "--tag-children")
    assert leg.code == 0, leg.text
    lost = layer_of(one)
    for server in yard.servers:
        delete(server, f"web/blobs/{lost.digest}")
    refused = release.join()
    assert refused.code == 2
    assert f"{lost.digest} is missing" in refused.err
    assert f"{release.place(BOTH[1])}: nothing was handed over there" in refused.err
    for platform in BOTH:
        assert f"podbuild build web --platform {platform}" in refused.err.partition("hint:")[2]
    assert release.tagged == [False, False]
    for platform in BOTH:  # the lost layer goes out again, and nothing is built again
        assert release.leg(platform, "--hand-over", release.place(platform)).code == 0
    assert release.join().code == 0


def test_what_no_join_could_use_is_refused_before_anything_is_built(yard: Yard) -> None:
    machine = yard.release("1.3.3").machine("amd64")
    text = (machine.root / "podbuild.toml").read_text().partition("[registries")[0]
    machine.write("podbuild.toml", text)
    answer = machine("build", "--push", "--thin")
    assert answer.code == 2
    assert "folders of this machine" in answer.err
    assert not (machine.root / "dist/staging").exists()


TESTS = """
[[images.web.tests]]
run = ["/busybox", "uname", "-m"]
match = "x86_64"
"""


def test_joined_images_are_tried_where_they_are_assembled(yard: Yard) -> None:
    web = yard.origin.root / "web"
    for architecture in ("amd64", "arm64"):
        shutil.copyfile(busybox(architecture), web / f"busybox-{architecture}")
    copied = "ARG TARGETARCH\nCOPY --chmod=755 busybox-$TARGETARCH /busybox\n"
    yard.origin.write("web/Containerfile", f"FROM scratch\n{copied}COPY . /\n")
    release = yard.release("1.4.0")
    assert release.leg(BOTH[0], "--hand-over", release.place(BOTH[0])).code == 0
    other = release.machine("arm64")
    assert other("build", "--platform", BOTH[1]).code == 0
    join = release.machine("join")
    with (join.root / "podbuild.toml").open("a") as config:
        config.write(TESTS)
    places = ("--from", release.place(BOTH[0]), "--from", str(other.root / "dist"))
    done = join("release", "v1.4.0", "--allow-dirty", *places)
    assert done.code == 10, done.text
    assert "web linux/amd64: run /busybox uname -m: passed" in done.text
    assert "web-linux-arm64-test-1.log has all that it said" in done.text
    assert release.tagged == [False, False]
