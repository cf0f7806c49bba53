"""Whole releases by the command line, on real registries, with an engine that is quick.

2 images x 2 platforms x 2 registries; the registries hold an earlier release with all its tags.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.toolchain.emulation import native_architecture
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import Store
from tests.images import make_image, make_index
from tests.registries import Server

ROOT = Path(__file__).parents[2]
IMAGES = ("api", "web")
OLD = ("1.2.2", "1.2", "1", "latest")
NEW = ("1.2.3", "1.2", "1", "latest")
PLATFORMS = (f"linux/{native_architecture()}", f"linux/{native_architecture()}/v2")
PATIENCE = 240  # seconds; a run that takes longer is stuck

CONFIG = """\
[project]
name = "soak"

[defaults]
platforms = {platforms}

[images.api]
context = "api"

[images.web]
context = "web"

[registries.one]
kind = "oci"
repository = "{{env.ONE}}/{{env.TRIAL}}/{{image}}"
insecure = true

[registries.two]
kind = "oci"
repository = "{{env.TWO}}/{{env.TRIAL}}/{{image}}"
insecure = true
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended (a negative code: by that signal), and what it said."""

    code: int
    said: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One project with two registries of its own (repositories that nobody else uses).

    `one` and `two` are the hosts that podbuild talks to; `servers` what stands behind them.
    """

    folder: Path
    name: str
    servers: tuple[Server, Server]
    one: str
    two: str
    extra: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write and commit the project, and put the earlier release on both registries."""
        for image in IMAGES:
            place = self.folder / "project" / image
            place.mkdir(parents=True)
            (place / "Containerfile").write_text(f"FROM scratch\nCOPY . /{image}\n")
        text = CONFIG.format(platforms=json.dumps(PLATFORMS))
        (self.project / "podbuild.toml").write_text(text)
        (self.project / ".gitignore").write_text("/dist/\n")
        self._git("init", "-q", "-b", "main")
        self._git("add", "-A")
        self._git("commit", "-qm", "first")
        self._git("tag", "v1.2.3")
        for store in self.stores().values():
            index = self._old(store)
            for tag in OLD:
                store.put_manifest(index, Tag(tag))

    @property
    def project(self) -> Path:
        """Give the project's folder."""
        return self.folder / "project"

    def stores(self) -> dict[str, Store]:
        """Give the real repositories, past any proxy, by registry and image."""
        return {
            f"{registry}/{image}": server.store(f"{self.name}/{image}")
            for registry, server in zip(("one", "two"), self.servers, strict=True)
            for image in IMAGES
        }

    def release(self, *options: str, kill: tuple[int, str] = (0, "before")) -> Ended:
        """Call `podbuild release v1.2.3` and wait for its end; kill it at a journal write."""
        with self.start(*options, kill=kill) as process:
            return self.finish(process)

    def start(self, *options: str, kill: tuple[int, str] = (0, "before")) -> subprocess.Popen[str]:
        """Call it and do not wait."""
        number, moment = kill
        podbuild = (sys.executable, "-m", "tests.soak.killing", str(number), moment)
        return subprocess.Popen(
            (*podbuild, "release", "-C", str(self.project), "v1.2.3", *options),
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a run's end."""
        said, _ = process.communicate(timeout=PATIENCE)
        return Ended(code=process.returncode, said=said)

    def release_signalled(self, *signals: tuple[float, int]) -> Ended:
        """Send signals to a run, each after some seconds, wherever it is then."""
        with self.start() as process:
            timers = [
                threading.Timer(seconds, process.send_signal, (number,))
                for seconds, number in signals
            ]
            for timer in timers:
                timer.start()
            ended = self.finish(process)
            for timer in timers:
                timer.cancel()
        return ended

    def engine_folder(self) -> Path:
        """Give a folder with the fake engine, run by this Python: no other may be installed."""
        program = self.folder / "bin" / "buildah"
        if not program.exists():
            program.parent.mkdir()
            text = (Path(__file__).parents[1] / "fakes" / "buildah").read_text()
            program.write_text(f"#!{sys.executable} -IS\n" + text.split("\n", maxsplit=1)[1])
            program.chmod(0o755)
        return program.parent

    def environment(self) -> dict[str, str]:
        """Give the environment of a run: the fake engine first on PATH, folders of its own."""
        return {
            "PATH": f"{self.engine_folder()}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "PODBUILD_TOOLCHAIN": "system",
            "PYTHONPATH": str(ROOT),
            "ONE": self.one,
            "TWO": self.two,
            "TRIAL": self.name,
            "KILLING_COUNT": str(self.folder / "count"),
            **self.extra,
        }

    def writes(self) -> int:
        """Give how often the last run wrote its journal."""
        return int((self.folder / "count").read_text())

    def builds(self) -> list[str]:
        """Give every build that the engine has carried out."""
        with suppress(FileNotFoundError):
            return (self.project / "dist" / "fake-engine.log").read_text().splitlines()
        return []

    def journalled(self) -> set[str]:
        """Give the jobs whose result stands in the journal."""
        with suppress(FileNotFoundError):
            return set(json.loads((self.project / "dist" / "state.json").read_text())["built"])
        return set()

    # What must hold

    def tags(self) -> dict[str, dict[str, Digest]]:
        """Give what each tag names, by registry and image."""
        found: dict[str, dict[str, Digest]] = {}
        for key, store in self.stores().items():
            heads = {tag: store.head(Tag(tag)) for tag in {*OLD, *NEW}}
            found[key] = {tag: head.digest for tag, head in heads.items() if head}
        return found

    def check_nothing_partial(self) -> None:
        """Fail where a tag names something that is not complete on every registry."""
        stores, every = self.stores(), self.tags()
        for image in IMAGES:
            named = {key: tags for key, tags in every.items() if key.endswith(image)}
            for key, tags in named.items():
                assert set(OLD) <= set(tags), f"{key} lost a tag: {tags}"
            for digest in {digest for tags in named.values() for digest in tags.values()}:
                for key in named:
                    assert _pulls(stores[key], digest), f"{digest} is not complete on {key}"
        if any("1.2.3" in tags for tags in every.values()):
            self._check_every_image_is_there()

    def _check_every_image_is_there(self) -> None:
        """As soon as one tag is new, all images of the release are on all registries.

        They are found by what the journal says is published.
        """
        state = json.loads((self.project / "dist" / "state.json").read_text())
        stores = self.stores()
        for image in IMAGES:
            digest = Digest(state["assembled"][image])
            for registry in ("one", "two"):
                store = stores[f"{registry}/{image}"]
                assert _pulls(store, digest), f"{image} is not complete on {registry}"

    def check_finished(self) -> dict[str, Digest]:
        """Fail unless every tag names the release on both registries; give its digests."""
        found: dict[str, Digest] = {}
        for key, tags in self.tags().items():
            image = key.partition("/")[2]
            new = {tags.get(tag) for tag in NEW}
            assert len(new) == 1, f"{key}: {tags}"
            digest = tags["1.2.3"]
            assert found.setdefault(image, digest) == digest, f"{key} has another digest"
        self.check_nothing_partial()
        return found

    def check_nothing_left(self) -> None:
        """Fail where a run has left processes, mounts or temporary folders."""
        left = [
            str(path)
            for folder in ("cache/podbuild/runs", "runtime/podbuild/runs")
            for path in (self.folder / folder).glob("*/")
        ]
        left += [str(path) for path in (self.project / "dist").glob(".*.part")]
        assert left == []
        assert _processes_of(self.folder) == []
        assert str(self.folder) not in Path("/proc/self/mounts").read_text()

    def _old(self, store: Store) -> Manifest:
        return make_index(store, **{native_architecture(): make_image(store, b"an old layer")})

    def _git(self, *argv: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        fixed = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
        subprocess.run(
            ("git", *who, *argv),
            cwd=self.project,
            check=True,
            capture_output=True,
            env={**os.environ, **fixed},
        )


def _pulls(store: Store, digest: Digest) -> bool:
    manifest = store.manifest(digest)
    return (
        manifest is not None
        and all(store.has_blob(blob) for blob in manifest.blobs)
        and all(_pulls(store, child.digest) for child in manifest.children)
    )


def _processes_of(folder: Path) -> list[str]:
    """Give the command lines of processes that work for a trial."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes()
            if str(folder).encode() in environment:
                found.append((process / "cmdline").read_bytes().decode(errors="replace"))
    return [line for line in found if line]


def moments(seed: int, writes: int) -> tuple[int, str]:
    """Choose a journal write and a moment of it."""
    chance = random.Random(seed)
    return chance.randrange(1, writes + 1), chance.choice(("before", "torn", "after"))
