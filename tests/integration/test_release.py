"""Releases that are stopped, killed, short of room or in odd surroundings, by the command line."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from podbuild.build.engine.namespace import open_namespace
from podbuild.system.folders import Folders
from tests.builds import NATIVE
from tests.contract import wrong_files
from tests.fakes.forges import served_forge
from tests.faults import Delay, On, Script, fault_proxy
from tests.registries import Server, registry_server
from tests.shops import PODBUILD, Shop, new_shop, oci_registry
from tests.toolchains import own_folders, plain_runner

pytestmark = pytest.mark.integration

TAGS = ["1", "1.2", "1.2.3", "latest"]
_PATIENCE = 500.0  # seconds; no test waits that long unless it is stuck
_STEP = 0.02  # seconds


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project with a cache of its own, and the registry that it goes to."""

    shop: Shop
    server: Server

    @property
    def cache(self) -> Path:
        """Give podbuild's cache folder of these tests."""
        return Path(self.shop.environment["XDG_CACHE_HOME"]) / "podbuild"

    @property
    def tags(self) -> dict[str, list[str]]:
        """Give the tags that each repository of the registry has."""
        folder = self.server.storage / "docker/registry/v2/repositories"
        found: dict[str, list[str]] = {}
        for link in sorted(folder.glob("acme/*/_manifests/tags/*/current/link")):
            found.setdefault(link.parents[4].name, []).append(link.parents[1].name)
        return found

    @property
    def digests(self) -> list[str]:
        """Give what the last release said about its images."""
        artifacts = json.loads((self.shop.root / "dist/artifacts.json").read_text())
        return re.findall(r"sha256:[0-9a-f]{64}", json.dumps(artifacts["artifacts"]))

    @property
    def slow(self) -> Shop:
        """Give the shop with the secret that makes the RUN of `take_time` last."""
        return self.shop.having(NPM_SECRET="a build secret that takes its time")

    def left_behind(self) -> list[str]:
        """Give what a run would have to remove: processes, mounts, containers, folders."""
        mine = str(self.cache.parent)
        found = lasting(mine)
        found += [line for line in Path("/proc/mounts").read_text().splitlines() if mine in line]
        for parent in (self.cache / "runs", self.cache / "guests"):
            found += [str(path) for path in parent.glob("*") if path.is_dir()]
        for listed in self.cache.glob("engines/*/*/graph/*-containers/containers.json"):
            found += [str(container) for container in json.loads(listed.read_text() or "[]")]
        return found


def processes() -> Iterator[str]:
    """Give the argv and environment of everything that this user runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name != str(os.getpid()):
            with suppress(OSError):  # it has ended, or is not ours
                said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                yield said.decode(errors="replace")


def lasting(mine: str) -> list[str]:
    """Give the processes that have this in what `processes` gives, once no more of them ends.

    What was killed needs its time to end; a RUN that nobody killed would last for longer.
    """
    until = time.monotonic() + _PATIENCE
    while (found := [line for line in processes() if mine in line]) and time.monotonic() < until:
        time.sleep(_STEP)
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Give a project for this machine's platform alone, with its base built."""
    folder = tmp_path_factory.mktemp("release")
    shop = new_shop(folder, oci_registry("one", "127.0.0.1:1", "insecure = true"))
    text = (shop.root / "podbuild.toml").read_text()
    shop.write("podbuild.toml", re.sub(r"platforms = .*", f'platforms = ["{NATIVE}"]', text))
    shop.commit("v1.2.3")
    yield shop
    shop("clean", "--keep", "0")


@pytest.fixture
def place(shared: Shop, tmp_path: Path) -> Iterator[Place]:
    """Give a clone of the project, and an empty registry; layers stay cached."""
    shop = replace(shared, root=tmp_path / "shop")
    shared.git("clone", "-q", str(shared.root), str(shop.root))
    with registry_server() as server:
        go_to(shop, server.host)
        yield Place(shop=shop, server=server)


def go_to(shop: Shop, host: str) -> None:
    """Let the project's images go to this registry."""
    text = (shop.root / "podbuild.toml").read_text()
    shop.write("podbuild.toml", re.sub(r"127\.0\.0\.1:\d+", host, text))
    shop.commit("v1.2.3")


def take_time(shop: Shop) -> Path:
    """Let the RUN of `app`, which was never built before, last with a long secret; give its log."""
    text = (shop.root / "app/Containerfile").read_text()
    pause = f"set -eu\n: {secrets.token_hex(8)}\necho begun\n"
    pause += "[ $(wc -c </run/secrets/npm) -lt 20 ] || sleep 600\n"
    shop.write("app/Containerfile", text.replace("set -eu\n", pause))
    shop.commit("v1.2.3")
    return shop.root / f"dist/logs/app-{NATIVE.slug}.log"


def wait_for(happened: Callable[[], bool], release: subprocess.Popen[str] | None = None) -> None:
    """Wait until something happened; fails when the release ends before."""
    turn = threading.Event()
    for _ in range(int(_PATIENCE / _STEP)):
        if happened():
            return
        assert release is None or release.poll() is None, "it ended before"
        turn.wait(_STEP)
    raise AssertionError("it never happened")


def says(log: Path, line: str) -> bool:
    return log.exists() and line in log.read_text().splitlines()


def stopped(place: Place, number: int) -> tuple[int, str]:
    """Release, send a signal as soon as the RUN has begun, and give the code and what was said."""
    log = take_time(place.shop)
    with place.slow.start("release", "v1.2.3") as release:
        wait_for(lambda: says(log, "begun"), release)
        release.send_signal(number)
        _, err = release.communicate()
    return release.returncode, err


def until_stopping(release: subprocess.Popen[str]) -> None:
    """Read what it says until it has heard a signal, or has ended."""
    assert release.stderr is not None
    for line in release.stderr:
        if "stopping; once more" in line:
            return


def undisturbed(place: Place, folder: Path) -> list[str]:
    """Give the digests of the same release from a clone that nobody stops."""
    shop = replace(place.shop, root=folder / "undisturbed")
    place.shop.git("clone", "-q", str(place.shop.root), str(shop.root))
    with registry_server() as server:
        text = (shop.root / "podbuild.toml").read_text()
        layout = '[registries.one]\nkind = "layout"\npath = "dist/registry/{image}"\n'
        shop.write("podbuild.toml", text[: text.index("[registries.one]")] + layout)
        shop.git("update-index", "--assume-unchanged", "podbuild.toml")  # the same commit
        done = shop("release", "v1.2.3", "--no-reuse")
        assert done.code == 0, done.text
        return [*map(str, Place(shop=shop, server=server).digests)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_build_leaves_nothing_and_the_same_command_goes_on(
    place: Place, number: signal.Signals
) -> None:
    code, err = stopped(place, number)
    assert code == 128 + number, err
    assert err.count("podbuild: interrupted; the same command continues") == 1
    assert "Traceback" not in err
    assert place.left_behind() == []
    assert place.tags == {}
    done = place.shop("release", "v1.2.3")
    assert done.code == 0, done.text
    assert place.tags == {"app": TAGS, "probe": TAGS}


def test_after_kill_9_the_same_command_cleans_up_and_gives_the_same_digests(
    place: Place, tmp_path: Path
) -> None:
    code, _ = stopped(place, signal.SIGKILL)
    assert code == -signal.SIGKILL
    wait_for(lambda: not any(str(place.cache.parent) in line for line in processes()))
    assert place.tags == {}
    done = place.shop("release", "v1.2.3")
    assert done.code == 0, done.text
    assert place.left_behind() == []
    assert place.tags == {"app": TAGS, "probe": TAGS}
    digests = place.digests
    assert len(digests) >= 2
    assert undisturbed(place, tmp_path) == digests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_in_an_upload_moves_no_tag_and_the_same_command_goes_on(
    place: Place, number: signal.Signals
) -> None:
    release_it = threading.Event()
    script = Script(On("PUT", "/manifests/", fault=Delay(release_it), times=99))
    with fault_proxy(place.server.host, script) as proxy:
        go_to(place.shop, proxy.host)
        with place.shop.start("release", "v1.2.3") as release:
            wait_for(lambda: any("/manifests/" in seen.path and seen.method == "PUT"
                                 for seen in proxy.seen), release)  # fmt: skip
            release.send_signal(number)
            until_stopping(release)
            release_it.set()
            _, err = release.communicate()
        expected = 130 if number == signal.SIGINT else -signal.SIGKILL
        assert release.returncode == expected, err
        assert place.tags == {}
        wait_for(lambda: not any(str(place.cache.parent) in line for line in processes()))
        done = place.shop("release", "v1.2.3")
    assert done.code == 0, done.text
    assert place.left_behind() == []
    assert place.tags == {"app": TAGS, "probe": TAGS}


def test_a_build_that_takes_too_long_is_stopped(place: Place) -> None:
    take_time(place.shop)
    done = place.slow("release", "v1.2.3", "--timeout", "6")
    assert done.code == 124, done.text
    assert "podbuild: the time given with --timeout is over" in done.err
    assert place.left_behind() == []
    assert place.tags == {}


def test_no_space_left_is_said_and_nothing_is_published(place: Place, tmp_path: Path) -> None:
    """The cache lies on a tmpfs that is too small, in a user namespace that may mount one."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    folders = Folders(cache=tmp_path, state=own_folders().state, runtime=own_folders().runtime)
    release = f"cd {place.shop.root} && exec {PODBUILD} release v1.2.3 --no-reuse"
    variables = {**place.shop.environment, "XDG_CACHE_HOME": str(tiny), "TMPDIR": str(tiny)}
    runner = replace(plain_runner(), env=variables)
    with open_namespace(runner, folders, {}) as namespace:
        inside = namespace.inside(runner)
        inside("mount", "-t", "tmpfs", "-o", "size=3m", "tiny", str(tiny))
        done = inside("sh", "-c", release, ok=(5,))
    said = "\n".join(done.tail)
    assert "no space left on device" in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert place.tags == {}


def test_a_version_without_a_git_tag_is_warned_of(place: Place) -> None:
    done = place.shop("release", "v2.0.0")
    assert done.code == 0, done.text
    assert "warning: there is no git tag v2.0.0" in done.err
    assert place.tags == {"app": ["2", "2.0", "2.0.0", "latest"]} | {
        "probe": ["2", "2.0", "2.0.0", "latest"]
    }


@pytest.mark.parametrize("argv", [("plan", "v1.2.3"), ("release", "v1.2.3", "--dry-run")])
def test_a_plan_needs_no_engine_and_changes_nothing(place: Place, argv: tuple[str, ...]) -> None:
    shop = place.shop.having(PODBUILD_TOOLCHAIN="system", PATH="/usr/bin:/bin")
    before = sorted(str(path) for path in shop.root.rglob("*") if ".git/" not in str(path))
    done = shop(*argv)
    assert done.code == 0, done.text
    assert f"{place.server.host}/acme/app" in done.out
    assert shop(*argv, "--json").code == 0
    assert place.tags == {}
    after = sorted(str(path) for path in shop.root.rglob("*") if ".git/" not in str(path))
    assert after == before


@pytest.mark.parametrize("home", [None, "/proc/1"])
def test_a_home_that_is_missing_or_read_only_does_not_matter(
    place: Place, home: str | None
) -> None:
    state = {"XDG_STATE_HOME": str(own_folders().state.parent)}  # where the toolchain is
    shop = place.shop.having(HOME=home, XDG_CACHE_HOME=None, XDG_RUNTIME_DIR=None, **state)
    try:
        done = shop("release", "v1.2.3")
        assert done.code == 0, done.text
        assert (shop.root / "dist/.podbuild/cache").is_dir()
        assert place.tags == {"app": TAGS, "probe": TAGS}
        assert shop.git("status", "--porcelain") == ""
    finally:
        shop("clean", "--keep", "0")


def test_github_gets_groups_and_outputs(place: Place, tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    shop = place.shop.having(GITHUB_ACTIONS="true", CI="true", **files)
    done = shop("release", "v1.2.3", "--no-reuse")
    assert done.code == 0, done.text
    assert re.search(rf"^::group::build app {NATIVE}: done in ", done.err, re.MULTILINE)
    assert done.err.count("::group::") == done.err.count("::endgroup::")
    outputs = read_outputs((tmp_path / "GITHUB_OUTPUT").read_text())
    assert outputs["version"] == "1.2.3"
    assert outputs["result"] == "published"
    assert f"{place.server.host}/acme/app:1.2.3" in outputs["tags"].splitlines()
    assert json.loads(outputs["json"])["schema"] == 1
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text().startswith("## shop 1.2.3: published")


def read_outputs(text: str) -> dict[str, str]:
    """Read what GitHub's runner reads: NAME<<MARK, lines, MARK."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, arrows, mark = line.partition("<<")
        assert arrows, line
        found[name] = "\n".join(iter(lambda: next(lines), mark))
    return found


def test_gitlab_gets_collapsed_sections(place: Place) -> None:
    done = place.shop.having(GITLAB_CI="true", CI="true")("release", "v1.2.3", "--no-reuse")
    assert done.code == 0, done.text
    starts = re.findall(r"section_start:\d+:([\w.-]+)\[collapsed=true\]", done.err)
    ends = re.findall(r"section_end:\d+:([\w.-]+)", done.err)
    assert len(starts) == 3
    assert starts == ends
    environs = (place.shop.root / "dist/podbuild.env").read_text().splitlines()
    assert "RELEASE_VERSION=1.2.3" in environs
    assert all(re.fullmatch(r"[A-Z_]+=.*", line) for line in environs)


def test_what_follows_a_release_is_done_and_never_changes_its_end(place: Place) -> None:
    shop = place.shop
    with served_forge("gitea") as forge:
        page = forge.add("v1.2.3", "What is new\n")
        follows = (
            f'\n[notes]\nupdate = true\nforge = "gitea"\napi = "http://{forge.wire.host}/api/v1"\n'
            '\n[deploy.all]\nfiles = ["deploy/*.yaml"]\nupdate = true\n'
        )
        shop.write("podbuild.toml", (shop.root / "podbuild.toml").read_text() + follows)
        shop.write("deploy/app.yaml", f"image: {place.server.host}/acme/app:latest  # ours\n")
        shop.commit("v1.2.3")
        done = shop.having(PODBUILD_NOTES_TOKEN="writer")("release", "v1.2.3")
        assert done.code == 0, done.text
        assert wrong_files(shop.root / "dist") == {}
        lock = json.loads((shop.root / "dist/images.lock.json").read_text())
        named = f"{place.server.host}/acme/app:1.2.3@{lock['images']['app']['digest']}"
        assert (shop.root / "deploy/app.yaml").read_text() == f"image: {named}  # ours\n"
        assert page.body.startswith("What is new\n\n<!-- podbuild:images begin -->\n")
        assert f"podman pull {named.replace(':1.2.3@', '@')}\n" in page.body
        shop.git("checkout", "-q", "deploy")
        page.body = ""
        refused = shop.having(PODBUILD_NOTES_TOKEN="reader")("release", "v1.2.3")
        assert refused.code == 0, refused.text
        assert "the notes are not updated" in refused.err
