"""What an SBOM, provenance and signatures cost: the same release with and without, side by side.

Two images for two platforms with 60 MB of data and 400 packages each, published to two registries.
CPU seconds are those of podbuild and of all that it starts.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.registries import registry_server

CONFIG = """\
[project]
name = "shop"
{attest}
[defaults]
platforms = ["linux/amd64", "linux/arm64"]

[images.web]
context = "web"

[images.api]
context = "api"
"""
ATTEST = '\n[attest]\nsign = { key = "env:KEY" }\n'
PODBUILD = Path(sys.executable).with_name("podbuild")


def write(root: Path, hosts: list[str], attest: str) -> None:
    """Write the project, committed and tagged."""
    tables = "".join(
        f'\n[registries.r{number}]\nkind = "oci"\nrepository = "{host}/acme/{{image}}"\n'
        "insecure = true\n"
        for number, host in enumerate(hosts)
    )
    (root / "podbuild.toml").write_text(CONFIG.format(attest=attest) + tables)
    (root / ".gitignore").write_text("/dist/\n")
    for image in ("web", "api"):
        folder = root / image / "root" / "var" / "lib" / "dpkg"
        folder.mkdir(parents=True)
        (folder / "status").write_text("\n".join(_stanzas()))
        data = random.Random(image).randbytes(60_000_000)
        (root / image / "root" / "data").write_bytes(data)
        (root / image / "Containerfile").write_text("FROM scratch\nCOPY root /\n")
    for argv in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("-c", "user.name=b", "-c", "user.email=b@example.com", "commit", "-qm", "it"),
        ("tag", "v1.2.3"),
    ):
        subprocess.run(("git", *argv), cwd=root, check=True)


def _stanzas() -> Iterator[str]:
    for number in range(400):
        yield f"Package: p{number}\nStatus: install ok installed\nArchitecture: amd64"
        yield f"Version: 1.{number}\n"


def released(root: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Give wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    argv = (str(PODBUILD), "release", "v1.2.3")
    done = subprocess.run(argv, cwd=root, env=environment, check=False, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr.decode())
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu


def one_round(attest: str, place: Path) -> list[float]:
    """Give wall and CPU seconds of a cold release, then of one with nothing changed."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with ExitStack() as stack:
        hosts = [stack.enter_context(registry_server()).host for _ in range(2)]
        folder = Path(tempfile.mkdtemp(dir=place))
        (folder / "shop").mkdir()
        environment = {**os.environ, "KEY": pem, "XDG_CACHE_HOME": str(folder / "cache")}
        write(folder / "shop", hosts, attest)
        cold = released(folder / "shop", environment)
        same = released(folder / "shop", environment)
        shutil.rmtree(folder, ignore_errors=True)
    return [*cold, *same]


def main() -> None:
    """Print the medians as a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    found: dict[str, list[list[float]]] = {"without": [], "with": []}
    for number in range(rounds):
        for name in sorted(found, reverse=bool(number % 2)):
            found[name].append(one_round(ATTEST if name == "with" else "", place))
    print("| release | cold, s | cold, CPU s | unchanged, s | unchanged, CPU s |")
    print("|---|---|---|---|---|")
    for name, rows in found.items():
        print(
            f"| {name} | "
            + " | ".join(f"{median(each):.2f}" for each in zip(*rows, strict=True))
            + " |"
        )


if __name__ == "__main__":
    main()
