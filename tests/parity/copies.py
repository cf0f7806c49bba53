"""COPY and ADD drawn at random, the same each time, many in one Containerfile.

Each copies to a folder of its own, whose number says which one went wrong. What
docs/docker-build.md names as different is not drawn.
"""

from __future__ import annotations

import json
import posixpath
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SEED = 11
EACH = 32  # instructions of a Containerfile
# An ignore file, and the sources that it leaves nothing of: to name these is refused.
IGNORED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "copies": ("", ()),
    "copies-of-a-stage": ("", ()),
    "copies-but-ignored": ("**/*.md\n!d/y.md\n.hidden\nd/e/deep\nm/private\n", ("m/private",)),
    "copies-brought-back": (
        "*\n!d\nd/e\n!d/e/z.txt\n!*.txt\n!m/sub\n!dirlink\n!abs\n!c.sh\n",
        ("e", "m/private"),
    ),
    "copies-without-folders": (
        "d/empty\n**/.env\ne/**\n!e/x.txt\n*link*\n",
        ("link.txt", "dirlink", "d/link"),
    ),
}
FILES = {
    "a.txt": "a",
    "b.md": "b",
    "c.sh": "#!/bin/sh\n",
    ".hidden": "h",
    "e/x.txt": "ex",
    "d/x.txt": "dx",
    "d/y.md": "dy",
    "d/.env": "K=1",
    "d/e/z.txt": "dez",
    "d/e/w.md": "dew",
    "d/e/deep/v.txt": "v",
    "m/private": "p",
    "m/open": "o",
    "m/sub/n.txt": "n",
}
FOLDERS = ("d/empty",)
MODES = {"c.sh": 0o755, "m/private": 0o600, "m/open": 0o666, "m/sub": 0o700, "d/e": 0o750}
LINKS = {
    "link.txt": "a.txt",
    "dirlink": "d",
    "abs": "/d/e",
    "d/link": "x.txt",
    "d/out": "../c.sh",
    "d/e/up": "..",
    "m/sub/gone": "nowhere",
}
_ONE = (
    *("a.txt", "c.sh", "./a.txt", "/a.txt", "../a.txt", "d/../a.txt", "d/x.txt", "m/private"),
    *("link.txt", "dirlink/x.txt", "d/link", "abs/z.txt", "d//x.txt", "dirlink/e/z.txt"),
)
_FOLDERS = ("d", "d/", "d/.", "./d", "dirlink", "dirlink/", "m", "abs", "e", "m/sub", "d/e", "/d")
_GLOBS = (
    *("*.txt", "d/*", "*/x.txt", "[!x]*.txt", "m/*", "d/*.*", "*/*.txt", "[a-d]*", "?", "d/?.txt"),
    *("?.sh", "d/[w-x].txt", "*/e", "d/e/*", "[^a]/*", "d*"),
)
_EXCLUDED = ("*.txt", "**/*.txt", "e", "x.txt", "**/z.txt", "e/*", "*.sh", "sub/**", "!x.txt", "**")
_OWNERS = ("12:34", "12", "0:0", "56:0")
_CHMODS = ("755", "0640", "600", "0444", "1777", "+x", "u=rwX,go=rX", "go=", "a-w,u+w")


@dataclass(frozen=True)
class _Draw:
    by: random.Random
    from_stage: bool
    hidden: tuple[str, ...]
    made: list[str] = field(default_factory=list)  # folders that are there before

    def instruction(self, number: int) -> str:
        """Give one COPY or ADD."""
        sources, several = self._sources()
        flags = list(self._flags(sources))
        place = self.by.choice((f"/o/{number}", f"{number}", f"./{number}"))
        at_hand = self._sometimes(0.3) or any(flag.startswith("--chmod") for flag in flags)
        if at_hand:  # so that --chmod makes no folder
            self.made.append(str(number))
            place += self.by.choice(("", "/"))
        elif several or self._sometimes(0.5):
            place += self.by.choice(("/", "/in/", "/in/deep/"))
        word = "COPY" if self.from_stage else self.by.choice(("COPY", "COPY", "ADD"))
        words = (*sources, place)
        text = json.dumps(words) if self._sometimes(0.2) else " ".join(words)
        return " ".join((word, *flags, text))

    def _sources(self) -> tuple[tuple[str, ...], bool]:
        """Give sources, and if they may be several files."""
        drawn: tuple[str, ...]
        kind = self.by.random()
        if kind < 0.3:
            drawn, several = (self.by.choice(_ONE),), False
        elif kind < 0.5:
            drawn, several = (self.by.choice(_FOLDERS),), False
        elif kind < 0.75:
            drawn, several = (self.by.choice(_GLOBS),), True
        else:
            drawn, several = tuple(self.by.sample((*_ONE, *_FOLDERS, *_GLOBS), 2)), True
        unfit = any(map(self._is_unfit, drawn))
        return self._sources() if unfit else (drawn, several)

    def _is_unfit(self, source: str) -> bool:
        path = posixpath.normpath(f"/{source}").lstrip("/")
        # in a stage links beyond a wildcard are followed, and it must match something
        in_stage = self.from_stage and bool(re.search(r"[*?\]]/|!", path))
        return in_stage or any(f"{path}/".startswith(f"{each}/") for each in self.hidden)

    def _flags(self, sources: tuple[str, ...]) -> Iterator[str]:
        if self.from_stage:
            yield "--from=files"
        if self._sometimes(0.25):
            yield f"--chown={self.by.choice(_OWNERS)}"
        if self._sometimes(0.25):
            yield f"--chmod={self.by.choice(_CHMODS[: 5 if self.from_stage else None])}"
        known = not self.from_stage or not re.search(r"[*?\]]", "".join(sources))
        if known and self._sometimes(0.25):
            yield f"--exclude={self.by.choice(_EXCLUDED[: 7 if self.from_stage else None])}"

    def _sometimes(self, often: float) -> bool:
        return self.by.random() < often


def drawn_containerfile(name: str) -> str:
    """Give the Containerfile of one of IGNORED."""
    from_stage = name == "copies-of-a-stage"
    draw = _Draw(random.Random(f"{SEED} {name}"), from_stage, IGNORED[name][1])
    copies = [draw.instruction(number) for number in range(EACH)]
    lines = ["FROM base AS files", "COPY . /"] if from_stage else []
    lines += ["FROM base", "WORKDIR /o", f"RUN mkdir {' '.join(draw.made)}", *copies]
    return "\n".join(lines) + "\n"
