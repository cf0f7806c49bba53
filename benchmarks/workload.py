"""What every contestant builds: four images, one a base of the others, two platforms.

The root file systems are made of Debian packages, once, and kept in the user's cache folder;
everything else is seeded, so that every run of the benchmark builds the same bytes.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUITE = "trixie"
ARCHITECTURES = ("amd64", "arm64")
SERVICES = ("api", "web", "worker")
IMAGES = ("base", *SERVICES)
INSTANT = 946684800  # seconds; the time of every file
FILES = 35  # of 1 MB: each image's own data
MEGABYTE = 1_000_000

# About 90 MB unpacked, many small files and some large ones; busybox runs without the others.
PACKAGES = (
    *("base-files", "base-passwd", "bash", "busybox-static", "ca-certificates", "curl", "dash"),
    *("diffutils", "findutils", "grep", "gzip", "libc-bin", "libc6", "libgcc-s1", "libperl5.40"),
    *("libpython3.13-minimal", "libpython3.13-stdlib", "libssl3t64", "libstdc++6", "netbase"),
    *("perl-base", "python3.13-minimal", "sed", "tar"),
)

BASE = """\
FROM scratch
ARG TARGETARCH
ADD rootfs-$TARGETARCH.tar /
RUN <<EOT
set -e
/usr/bin/busybox mkdir -p /srv /etc/shop /usr/local/bin
/usr/bin/busybox --install -s /usr/local/bin
EOT
COPY data /srv/base
COPY <<EOT /etc/shop/base.conf
made = "for a benchmark"
EOT
ENV PATH=/usr/local/bin:/usr/bin
"""

SERVICE = """\
FROM base AS build
COPY source /src
RUN <<EOT
mkdir /out
awk 'BEGIN { for (i = 0; i < 60000; i++) sum = (sum * 31 + i) % 1000003; print sum }' >/out/sum
sha256sum /src/* >/out/sources
EOT

FROM base
COPY data /srv/data
COPY --from=build /out /srv/out
COPY <<EOT /etc/shop/NAME.conf
service = "NAME"
EOT
RUN <<EOT
test -s /srv/out/sum
ln -s /srv/data /srv/NAME
EOT
ENV SERVICE=NAME
CMD ["sh"]
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project on disk, and the hosts of the registries that it goes to."""

    folder: Path
    registries: tuple[str, ...]
    images: tuple[str, ...] = IMAGES
    architectures: tuple[str, ...] = ARCHITECTURES
    bases: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(SERVICES, "base"))
    edited: str = "web"  # whose files change between the releases

    def context(self, image: str) -> Path:
        """Give the folder with an image's Containerfile and data."""
        return self.folder / image

    def change(self, turn: int) -> None:
        """Change one source file of an image, and one of its data files, as an edit would."""
        image = self.edited
        (self.context(image) / "source" / "main.txt").write_text(f"edited, turn {turn}\n")
        data = self.context(image) / "data" / "part-00"
        if data.exists():
            data.write_bytes(data_file(f"edited-{image}-{turn}"))
        git(self.folder, "commit", "--quiet", "--all", "--message", f"change {image}, {turn}")


def make_project(
    folder: Path, registries: tuple[str, ...], roots: Mapping[str, Path], *, layers: bool = True
) -> Project:
    """Write the whole project: contexts, Containerfiles, podbuild.toml, a git commit."""
    for image in IMAGES:
        context = folder / image
        for name in ("data", "source"):
            (context / name).mkdir(parents=True)
        (context / "source" / "main.txt").write_text(f"{image}\n")
        for number in range(FILES):
            (context / "data" / f"part-{number:02}").write_bytes(data_file(f"{image}-{number}"))
        text = BASE if image == "base" else SERVICE.replace("NAME", image)
        (context / "Containerfile").write_text(text)
    for architecture, root in roots.items():
        shutil.copyfile(root, folder / "base" / f"rootfs-{architecture}.tar")
    (folder / "podbuild.toml").write_text("\n".join(configuration(registries, layers=layers)))
    (folder / ".gitignore").write_text("dist/\n*.tar\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "the workload")
    return Project(folder=folder, registries=registries)


def configuration(registries: tuple[str, ...], *, layers: bool = True) -> Iterator[str]:
    """Give the lines of podbuild.toml."""
    platforms = ", ".join(f'"linux/{architecture}"' for architecture in ARCHITECTURES)
    yield from ("[project]", 'name = "bench"', "[defaults]", f"platforms = [{platforms}]")
    yield f"layers = {str(layers).lower()}"
    for image in IMAGES:
        yield from (f"[images.{image}]", f'context = "{image}"')
        if image != "base":
            yield 'contexts = { base = "image:base" }'
    yield from registry_tables(registries)
    yield ""


def registry_tables(registries: tuple[str, ...]) -> Iterator[str]:
    """Give the tables of podbuild.toml that name where images go."""
    for number, host in enumerate(registries, start=1):
        yield from (f"[registries.r{number}]", 'kind = "oci"', "insecure = true")
        yield f'repository = "{host}/bench/{{image}}"'


def data_file(seed: str) -> bytes:
    """Give one megabyte that compresses to about two thirds."""
    source = random.Random(seed)
    half = source.randbytes(MEGABYTE // 3)
    return half + half.hex().encode()


def root_archives(scripts: Path) -> Mapping[str, Path]:
    """Give a root file system's tar per architecture, made of packages the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podbuild/bench"
    cache.mkdir(parents=True, exist_ok=True)
    archives = {name: cache / f"rootfs-{SUITE}-{name}.tar" for name in ARCHITECTURES}
    for architecture, archive in archives.items():
        if not archive.is_file():
            _make_root(scripts, architecture, archive)
    return archives


def _make_root(scripts: Path, architecture: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as work:
        debs, root = Path(work, "debs"), Path(work, "root")
        fetch = (str(scripts / "fetch-debs"), SUITE, architecture, str(debs))
        subprocess.run([*fetch, *PACKAGES], check=True)
        root.mkdir()
        for deb in sorted(debs.glob("*.deb")):
            with subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
            ) as unpacked:
                subprocess.run(
                    ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", "-C", str(root)],
                    stdin=unpacked.stdout,
                    check=True,
                )
        if not (root / "usr/bin/sh").is_symlink():
            (root / "usr/bin/sh").symlink_to("dash")
        for left_out in ("usr/share/man", "usr/share/locale", "usr/share/info"):
            shutil.rmtree(root / left_out, ignore_errors=True)
        part = archive.with_suffix(".part")
        with tarfile.open(part, "w") as tar:
            tar.add(root, arcname=".", filter=_plain)
        part.replace(archive)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = INSTANT, 0, 0, "", ""
    return entry


def git(folder: Path, *arguments: str) -> None:
    """Run git with an identity of the benchmark's own."""
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)
