"""The example in containerfiles/, released as a user would, read by skopeo and run."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from podbuild.system.records import JSONValue
from tests.registries import free_port
from tests.toolchains import skopeo

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BOTH = ("linux/amd64", "linux/arm64")
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
PODBUILD = Path(sys.executable).with_name("podbuild")
MODULES = 125  # of podbuild's own, for a release that has nothing to build
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A released copy of the example, what podbuild printed, and the secret it was built with."""

    root: Path
    printed: str
    secret: str
    environment: Mapping[str, str]

    def layout(self, registry: str, image: str) -> str:
        """Give skopeo's name of what a registry holds."""
        return f"oci:{self.root}/dist/{registry}/{image}:1.2.3"

    def raw(self, registry: str, image: str) -> bytes:
        """Give the bytes of what a tag names."""
        return skopeo("inspect", "--raw", self.layout(registry, image))

    def config(self, image: str, platform: str) -> Mapping[str, JSONValue]:
        """Give the config of one platform's image."""
        system, architecture = platform.split("/")
        found = json.loads(
            skopeo(
                f"--override-os={system}",
                f"--override-arch={architecture}",
                *("inspect", "--config", "--raw", self.layout("registry", image)),
            )
        )
        assert isinstance(found, dict)
        return found


def copy_example(folder: Path) -> None:
    """Make a repository of the example with the tag v1.2.3, the same commit each time."""
    shutil.copytree(ROOT / "containerfiles", folder / "containerfiles")
    shutil.copy(ROOT / "podbuild.toml", folder)
    (folder / ".gitignore").write_text("/dist/\n/containerfiles/base/rootfs-*.tar\n")
    date = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    for argv in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "shop")):
        subprocess.run((*GIT, *argv), cwd=folder, check=True, env={**os.environ, **date})
    subprocess.run((*GIT, "tag", "v1.2.3"), cwd=folder, check=True)


def release(folder: Path) -> Example:
    """Release a fresh copy of the example with empty caches."""
    project = folder / "shop"
    project.mkdir()
    copy_example(project)
    secret = secrets.token_hex(20)
    environment = {
        **os.environ,
        "SHOP_SEAL_KEY": secret,
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    done = subprocess.run(
        (PODBUILD, "release", "v1.2.3", "-v"),
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return Example(root=project, printed=printed, secret=secret, environment=environment)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return release(tmp_path_factory.mktemp("example"))


@pytest.mark.parametrize("image", ["web", "worker"])
def test_both_registries_hold_the_same_index_of_both_platforms(
    example: Example, image: str
) -> None:
    raw = example.raw("registry", image)
    assert raw == example.raw("mirror", image)
    platforms = [child["platform"] for child in json.loads(raw)["manifests"]]
    assert [f"{each['os']}/{each['architecture']}" for each in platforms] == list(BOTH)


def test_a_release_again_loads_little(example: Example, tmp_path: Path) -> None:
    """A release that finds its result published waits for nothing that builds or uploads."""
    shutil.copytree(example.root, tmp_path / "shop")
    program = (
        "import sys\nfrom podbuild.cli import main\ncode = main()\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'podbuild'))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        (sys.executable, "-c", program, "release", "v1.2.3"),
        cwd=tmp_path / "shop",
        env={**example.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to build" in done.stdout + done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert "podbuild.build.inputs.hash" in loaded
    assert len(loaded) <= MODULES, sorted(loaded)


def test_the_base_is_published_nowhere(example: Example) -> None:
    assert not (example.root / "dist/registry/base").exists()
    assert not (example.root / "dist/mirror/base").exists()


@pytest.mark.parametrize("platform", BOTH)
def test_the_health_check_is_kept(example: Example, platform: str) -> None:
    config = example.config("web", platform)["config"]
    assert isinstance(config, dict)
    assert config["Healthcheck"] == {
        "Test": ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/cgi-bin/health"],
        "Interval": 10_000_000_000,
        "Timeout": 3_000_000_000,
    }


@pytest.mark.parametrize("platform", BOTH)
def test_the_worker_answers_with_what_its_build_sealed(example: Example, platform: str) -> None:
    done = subprocess.run(
        (PODBUILD, "run", "--platform", platform, "worker:1.2.3"),
        cwd=example.root,
        env=example.environment,
        input="de 1000\nfr 500\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["architecture"] == MACHINES[platform]
    assert (answer["orders"], answer["net"], answer["tax"]) == (2, 1500, 290)
    assert len(answer["seal"]) == 12


@pytest.mark.parametrize("platform", BOTH)
def test_the_web_service_answers(example: Example, platform: str) -> None:
    with serving(example, platform) as address:
        health = ask(f"{address}/cgi-bin/health")
        assert health == {"status": "ok", "architecture": MACHINES[platform], "items": 3}
        prices = ask(f"{address}/prices.json")
        assert isinstance(prices, dict)
        assert prices["currency"] == "EUR"


@contextmanager
def serving(example: Example, platform: str) -> Iterator[str]:
    port = free_port()
    argv = (PODBUILD, "run", "--platform", platform, "web:1.2.3", "-p", f"127.0.0.1:{port}")
    with subprocess.Popen(argv, cwd=example.root, env=example.environment) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)


def ask(url: str) -> JSONValue:
    """Ask until somebody listens there."""
    with requests.Session() as session:
        patience = urllib3.Retry(total=30, backoff_factor=0.1, backoff_max=5)
        session.mount("http://", HTTPAdapter(max_retries=patience))
        answer = session.get(url, timeout=30)
        answer.raise_for_status()
        found: JSONValue = answer.json()
        return found


def test_the_secret_is_found_nowhere(example: Example) -> None:
    secret = example.secret.encode()
    assert example.secret not in example.printed
    files = [path for path in example.root.rglob("*") if path.is_file()]
    assert any(path.parent.name == "sha256" for path in files)
    holding = [path for path in files if secret in unpacked(path.read_bytes())]
    assert holding == []


def unpacked(data: bytes) -> bytes:
    """Give a layer's archive; anything else as it is."""
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_the_same_commit_gives_the_same_bytes_without_any_cache(
    example: Example, tmp_path: Path
) -> None:
    again = release(tmp_path)
    assert again.raw("registry", "web") == example.raw("registry", "web")
