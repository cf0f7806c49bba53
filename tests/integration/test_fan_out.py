"""Legs that hand over through a registry, and the join, each with a cache of its own."""

from __future__ import annotations

import json
import random
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Tag
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
VERSION = Tag("1.2.3")


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
    machines: dict[str, Shop] = field(default_factory=dict)

    def machine(self, name: str) -> Shop:
        """Give a clone of the project with a cache of its own, the same one each time."""
        if name not in self.machines:
            shop = Shop(
                root=self.folder / name / "shop", environment=environment(self.folder / name)
            )
            self.origin.git("clone", "-q", str(self.origin.root), str(shop.root))
            self.machines[name] = shop
        return self.machines[name]

    def place(self, platform: str) -> str:
        """Give where a leg leaves what it has built."""
        return f"oci:{self.servers[0].host}/acme/hand-over:7-{platform.replace('/', '-')}"

    def leg(self, platform: str, *options: str) -> Done:
        """Run a leg."""
        machine = self.machine(platform.rpartition("/")[2])
        return machine("build", "--platform", platform, "--push", *options)

    def join(self, name: str = "join", *options: str) -> Done:
        """Run the join on a machine."""
        places = (word for each in BOTH for word in ("--from", self.place(each)))
        return self.machine(name)("release", "v1.2.3", *places, *options)

    def tags(self) -> list[tuple[Tag, ...]]:
        """Give the tags of the first image on each registry."""
        return [each.store("acme/web").tags() for each in self.servers]


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(registry_server()) for _ in range(2))
        one, two = servers
        origin = Shop(root=tmp_path / "origin", environment=environment(tmp_path / "origin"))
        write_project(
            origin,
            oci_registry("one", one.host, "insecure = true")
            + oci_registry("two", two.host, "insecure = true"),
        )
        yield Yard(folder=tmp_path, origin=origin, servers=(one, two))


def delete(server: Server, path: str) -> None:
    """Take something from a registry behind everybody's back."""
    request = urllib.request.Request(f"http://{server.host}/v2/acme/{path}", method="DELETE")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202


def layer_of(server: Server, tag: Tag) -> Descriptor:
    """Give the layer of an image's first platform."""
    store = server.store("acme/web")
    found = store.manifest(tag)
    child = store.manifest(found.children[0].digest) if found and found.children else found
    assert child
    return child.layers[0]


def sent(machine: Shop, answer: Done) -> int:
    """Give the bytes that went out."""
    assert answer.code == 0, answer.text
    found: int = json.loads((machine.root / "dist/metrics.json").read_text())["bytes_sent"]
    return found


def test_legs_hand_over_a_few_kilobytes_and_the_join_runs_any_number_of_times(yard: Yard) -> None:
    one, two = yard.servers
    first = yard.leg(BOTH[0], "--hand-over", yard.place(BOTH[0]), "--tag-children")
    assert first.code == 0, first.text
    assert f"handed over: {yard.place(BOTH[0])}, 1." in first.err  # kB
    early = yard.join()  # and nothing has moved
    assert early.code == 2
    assert f"{yard.place(BOTH[1])}: nothing was handed over there" in early.err
    assert "podbuild build web --platform linux/arm64" in early.err
    assert [[str(tag)[:4] for tag in tags] for tags in yard.tags()] == [["leg-"], ["leg-"]]

    broken = yard.machine("arm64")
    (broken.root / "web/data").rename(broken.root / "data")
    broken.write("web/Containerfile", "FROM scratch\nCOPY data /\n")
    assert yard.leg(BOTH[1], "--hand-over", yard.place(BOTH[1])).code == 2
    broken.git("reset", "-q", "--hard")
    (broken.root / "data").unlink()
    second = yard.leg(BOTH[1], "--hand-over", yard.place(BOTH[1]))
    assert second.code == 0, second.text

    (leg,) = one.store("acme/web").tags()
    lost = layer_of(one, leg)
    delete(two, f"web/blobs/{lost.digest}")
    done = yard.join()
    out = sent(yard.machine("join"), done)
    assert all(VERSION in tags for tags in yard.tags())
    assert two.store("acme/web").has_blob(lost)
    assert out < 2 * lost.size  # nothing but what one of them had lost

    for name in ("join", "another"):
        assert sent(yard.machine(name), yard.join(name)) < 10_000
    parcel = one.store("acme/hand-over").head(Tag("7-linux-amd64"))
    assert parcel
    assert parcel.size < 4096
    delete(one, f"hand-over/manifests/{parcel.digest}")
    assert yard.join("third").code == 0  # it is out already


def test_a_join_names_every_leg_to_run_again(yard: Yard) -> None:
    one, _ = yard.servers
    for platform in BOTH:
        leg = yard.leg(platform, "--hand-over", yard.place(platform), "--tag-children")
        assert leg.code == 0, leg.text
    lost = layer_of(one, one.store("acme/web").tags()[0])
    for server in yard.servers:
        delete(server, f"web/blobs/{lost.digest}")
    refused = yard.join()
    assert refused.code == 2
    assert f"{lost.digest} is missing" in refused.err
    assert refused.err.count("hint: run this leg again") == 1
    assert VERSION not in yard.tags()[0]
    for platform in BOTH:  # they go out again, and nothing is built
        assert yard.leg(platform, "--hand-over", yard.place(platform)).code == 0
    assert yard.join().code == 0


def test_a_thin_folder_and_a_leg_without_the_tag_are_joined(yard: Yard) -> None:
    legs = []
    for platform in BOTH:
        machine = yard.machine(platform.rpartition("/")[2])
        machine.git("tag", "-d", "v1.2.3")
        answer = yard.leg(platform, "--thin")
        assert answer.code == 0, answer.text
        folder = yard.folder / "legs" / platform.replace("/", "-")
        shutil.copytree(machine.root / "dist/staging", folder / "staging")
        shutil.copy(machine.root / "dist/state.json", folder)
        assert sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) < 20_000
        legs += ["--from", str(folder)]
    done = yard.machine("join")("release", "v1.2.3", *legs)
    assert done.code == 0, done.text
    assert all(VERSION in tags for tags in yard.tags())


def test_what_no_join_could_use_is_refused_before_anything_is_built(yard: Yard) -> None:
    machine = yard.machine("amd64")
    for options, says in (
        (("--hand-over", yard.place(BOTH[0])), "--hand-over needs --push"),
        (("--thin",), "--thin needs --push"),
        (("--push", "--hand-over", "legs"), "no registry's reference"),
        (("--push", "--hand-over", f"{yard.place(BOTH[0])[:-15]}"), "it has no tag"),
    ):
        answer = machine("build", *options)
        assert answer.code == 2, answer.text
        assert says in answer.err
    text = (machine.root / "podbuild.toml").read_text().partition("[registries")[0]
    machine.write("podbuild.toml", text)
    answer = machine("build", "--push", "--thin")
    assert answer.code == 2
    assert "folders of this machine" in answer.err
    assert not (machine.root / "dist/staging").exists()
