"""The cases of the parity suite: cases.toml, and the contexts that they say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.parity import copies

HERE = Path(__file__).parent
RECORDS = HERE / "records.json"
# What the base is made of: `busybox` is a static one.
BASE = """\
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir -m 1777 /tmp"]
ENV FROM_BASE=yes GREETING="hello you"
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One Containerfile with its context; `args` and `secrets` are given to both builders."""

    name: str
    containerfile: str
    files: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    layers: bool = True

    def write(self, folder: Path) -> Path:
        """Write the context, with modes that no umask has a say in, and give the Containerfile."""
        for name in ("", *self.folders):
            (folder / name).mkdir(parents=True, exist_ok=True)
        file = folder / "Containerfile"
        file.write_bytes(self.containerfile.encode())
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode())
        for path in folder.rglob("*"):
            usual = 0o755 if path.is_dir() else 0o644
            path.chmod(self.modes.get(str(path.relative_to(folder)), usual))
        for name, target in self.links.items():
            (folder / name).symlink_to(target)
        return file


def written_cases() -> tuple[Case, ...]:
    """Give the cases of cases.toml."""
    tables = tomllib.loads((HERE / "cases.toml").read_text())
    return tuple(Case(name=name, **table) for name, table in tables.items())


def drawn_cases() -> tuple[Case, ...]:
    """Give those of copies.py."""
    return tuple(
        Case(
            name=name,
            containerfile=copies.drawn_containerfile(name),
            files=copies.FILES | ({".dockerignore": ignored} if ignored else {}),
            folders=copies.FOLDERS,
            modes=copies.MODES,
            links=copies.LINKS,
            layers=False,
        )
        for name, (ignored, _) in copies.IGNORED.items()
    )
