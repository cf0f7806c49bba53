"""The second workload, as real Containerfiles are: many small steps, several stages, little data.

Three images of 26, 41 and 86 steps: cache and bind mounts, small COPYs, stages that only hand files
on. The third workload is a monorepo: 30 small images that share the context `.`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from workload import ARCHITECTURES, Project, git, registry_tables

IMAGES = ("site", "service", "tools")
MONOREPO = tuple(f"part{number:02}" for number in range(30))
FILES = 40  # small ones of each context

START = """\
FROM scratch AS root
ARG TARGETARCH
COPY busybox-$TARGETARCH /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
"""


def make_steps(
    folder: Path,
    registries: tuple[str, ...],
    roots: Mapping[str, Path],
    *,
    architectures: tuple[str, ...] = ARCHITECTURES,
) -> Project:
    """Write the project of the many small steps."""
    texts = {"site": site(), "service": service(), "tools": tools()}
    for image, text in texts.items():
        context = folder / image
        write_sources(context / "source", image)
        (context / "Containerfile").write_text(text)
        put_busybox(context, roots)
    tables = (line for image in IMAGES for line in (f"[images.{image}]", f'context = "{image}"'))
    finish(folder, registries, architectures, tables)
    return Project(
        folder=folder,
        registries=registries,
        images=IMAGES,
        architectures=architectures,
        bases={},
        edited="site",
    )


def make_monorepo(folder: Path, registries: tuple[str, ...], roots: Mapping[str, Path]) -> Project:
    """Write 30 small images with one shared context."""
    for image in MONOREPO:
        write_sources(folder / image / "source", image)
        (folder / image / "Containerfile").write_text(
            START + f"COPY {image}/source /srv/{image}\n"
            f'RUN sha256sum /srv/{image}/* >/srv/sums\nCMD ["cat", "/srv/sums"]\n'
        )
    put_busybox(folder, roots)
    tables = (
        line
        for image in MONOREPO
        for line in (
            f"[images.{image}]",
            'context = "."',
            f'containerfile = "{image}/Containerfile"',
        )
    )
    finish(folder, registries, ARCHITECTURES, tables)
    return Project(
        folder=folder, registries=registries, images=MONOREPO, bases={}, edited=MONOREPO[7]
    )


def finish(
    folder: Path, registries: tuple[str, ...], architectures: Iterable[str], tables: Iterable[str]
) -> None:
    """Write podbuild.toml and commit all of it."""
    platforms = ", ".join(f'"linux/{architecture}"' for architecture in architectures)
    lines = ["[project]", 'name = "bench"', "[defaults]", f"platforms = [{platforms}]", *tables]
    lines += [*registry_tables(registries), ""]
    (folder / "podbuild.toml").write_text("\n".join(lines))
    (folder / ".gitignore").write_text("dist/\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "the workload")


def write_sources(folder: Path, seed: str) -> None:
    """Write the small files that COPY and bind mounts take; `main.txt` is what an edit changes."""
    folder.mkdir(parents=True)
    (folder / "main.txt").write_text(f"{seed}\n")
    for number in range(FILES):
        (folder / f"file{number:02}.txt").write_text(f"{seed} {number}\n" * 100)


def put_busybox(context: Path, roots: Mapping[str, Path]) -> None:
    """Put the one program of each architecture into a context."""
    for architecture, root in roots.items():
        with tarfile.open(root) as archive:
            found = archive.extractfile("./usr/bin/busybox")
            data = found.read() if found else b""
        program = context / f"busybox-{architecture}"
        program.write_bytes(data)
        program.chmod(0o755)


def site() -> str:
    """Give 26 steps: assets made in four stages of their own, which the last one gathers."""
    text = START
    for number in range(4):
        text += f"FROM root AS part{number}\nCOPY source/file{number:02}.txt /in/\n"
        text += f"RUN sha256sum /in/* >/part{number}\n"
    text += "FROM root\nWORKDIR /srv\n"
    text += "".join(f"COPY --from=part{number} /part{number} /srv/\n" for number in range(4))
    return text + 'COPY source/main.txt /srv/\nEXPOSE 8080\nCMD ["sh"]\n'


def service() -> str:
    """Give 41 steps: a build with cache and bind mounts, its tests, and what is shipped."""
    text = START + "FROM root AS build\nWORKDIR /made\n"
    for number in range(6):
        text += f"COPY source/file{number:02}.txt /made/\n"
        text += (
            "RUN --mount=type=cache,target=/cache --mount=type=bind,source=source,target=/src "
            f"cat /src/file{number:02}.txt >>/made/all && touch /cache/{number}\n"
        )
    text += "FROM build AS tested\nRUN test -s /made/all\nFROM root\n"
    text += "".join(f"ENV SETTING_{number}={number}\n" for number in range(5))
    for number in range(6, 12):
        text += f"COPY --chmod=644 source/file{number:02}.txt /etc/service/\n"
    text += "COPY --from=tested /made/all /srv/all\nCOPY source/main.txt /srv/\n"
    text += "RUN mkdir -p /var/lib/service && chmod 750 /var/lib/service\n"
    return text + 'WORKDIR /srv\nUSER 1000\nEXPOSE 8080\nLABEL kind=service\nCMD ["sh"]\n'


def tools() -> str:
    """Give 86 steps in one stage, as an image of tools grows over the years."""
    text = START
    for number in range(20):
        text += f"ARG VERSION_{number}={number}\nENV TOOL_{number}=$VERSION_{number}\n"
        text += f"RUN echo $TOOL_{number} >/etc/tool{number}\n"
    text += "".join(f"ARG OPTION_{number}\nENV OPTION_{number}=no\n" for number in range(6))
    text += "".join(f"COPY source/file{number:02}.txt /opt/\n" for number in range(6))
    return text + 'COPY source/main.txt /opt/\nWORKDIR /opt\nCMD ["sh"]\n'


def steps_in(text: str) -> int:
    """Count the instructions."""
    words = ("FROM", "ARG", "COPY", "RUN", "ENV", "WORKDIR", "EXPOSE", "USER", "LABEL", "CMD")
    return sum(line.startswith(words) for line in text.splitlines())


def sizes() -> Iterator[tuple[str, int]]:
    """Give each image of the many small steps with how many it has."""
    yield from (("site", steps_in(site())), ("service", steps_in(service())))
    yield "tools", steps_in(tools())
