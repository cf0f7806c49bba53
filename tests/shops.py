"""A small project in a folder of its own, and podbuild as a user calls it: by the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.builds import busybox
from tests.toolchains import SYSTEM_PATH

PODBUILD = Path(sys.executable).with_name("podbuild")
BOTH = ("linux/amd64", "linux/arm64")
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}

BASE = """\
FROM scratch
ARG TARGETARCH
COPY --chmod=755 busybox-$TARGETARCH /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir /tmp"]
"""

APP = """\
FROM base
RUN --mount=type=secret,id=npm,required=true <<EOF
set -eu
test -s /run/secrets/npm
uname -m > /machine
echo "made in a heredoc" > /heredoc
EOF
COPY <<EOF /greeting
hello from the shop
EOF
CMD ["cat", "/greeting", "/heredoc", "/machine"]
"""

PROBE = """\
FROM base
RUN <<EOF
echo probed > /probe
uname -m >> /probe
EOF
HEALTHCHECK --interval=10s CMD ["cat", "/probe"]
CMD ["cat", "/probe"]
"""

HEAD = """\
[project]
name = "shop"
description = "what the tests release"
source = "https://example.com/acme/shop"
licenses = "MIT"

[defaults]
platforms = ["linux/amd64", "linux/arm64"]

[images.base]
context = "base"
publish = false

[images.app]
context = "app"
contexts = { base = "image:base" }
secrets = [{ id = "npm", env = "NPM_SECRET" }]

[images.probe]
context = "probe"
contexts = { base = "image:base" }
format = "docker"
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a call of podbuild left."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Give everything that was printed."""
        return self.out + self.err


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A project, and the environment that podbuild is called with."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *argv: str) -> str:
        """Run git in the project; commits have a fixed author and date."""
        fixed = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        done = subprocess.run(
            ("git", *who, *argv),
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **fixed},
        )
        return done.stdout

    def commit(self, *tags: str) -> None:
        """Commit everything and set tags."""
        self.git("add", "-A")
        self.git("commit", "-qm", "a change", "--allow-empty")
        for tag in tags:
            self.git("tag", "-f", tag)

    def having(self, **environment: str | None) -> Shop:
        """Give the same project with other environment variables; None takes one away."""
        merged = {**self.environment, **environment}
        return replace(
            self, environment={name: value for name, value in merged.items() if value is not None}
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Call podbuild and don't wait."""
        return subprocess.Popen(
            (str(PODBUILD), *argv),
            cwd=self.root,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *argv: str) -> Done:
        """Call podbuild and wait for its end."""
        with self.start(*argv) as process:
            out, err = process.communicate()
        return Done(code=process.returncode, out=out, err=err)


def environment(folder: Path) -> dict[str, str]:
    """Give the environment of an ordinary user whose caches are in a folder of the test."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def new_shop(folder: Path, registries: str = "") -> Shop:
    """Make the project in a folder, committed and tagged v1.2.3."""
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop.root.mkdir(parents=True)
    write_files(shop, registries)
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.2.3")
    return shop.having(NPM_SECRET="a build secret")


def write_files(shop: Shop, registries: str) -> None:
    """Write the configuration and the three images."""
    shop.write("podbuild.toml", HEAD + registries)
    shop.write(".gitignore", "/dist/\n")
    shop.write("base/Containerfile", BASE)
    shop.write("app/Containerfile", APP)
    shop.write("probe/Containerfile", PROBE)
    for platform in BOTH:
        name = f"busybox-{platform.rpartition('/')[2]}"
        shutil.copyfile(busybox(platform.rpartition("/")[2]), shop.root / "base" / name)


def oci_registry(name: str, host: str, *lines: str) -> str:
    """Give the table of a registry."""
    return "\n".join(
        (
            "",
            f"[registries.{name}]",
            'kind = "oci"',
            f'repository = "{host}/acme/{{image}}"',
            *lines,
            "",
        )
    )
