"""Which image of an engine's storage a job's steps came to, noted so that later builds find it.

The engine says only what the last step made. The images of those before are found by their
history: it is the beginning of that of the image which they became.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from podbuild.build.engine.storage import Storage
from podbuild.build.inputs.shortened import Shortened, images_made
from podbuild.system.records import Records, json_of, string_map

_MOST = 500  # steps that are remembered of a job
_AROUND = "around"  # among the keys of steps, which are digests


@dataclass(frozen=True)
class _Grown:
    """What an image was made by: the entries of its history, and its layers' contents."""

    history: tuple[str, ...]
    contents: tuple[str, ...]

    def at(self, length: int) -> _Grown:
        """Give what the image was made by when its history had so many entries."""
        entries = self.history[:length]
        layers = sum('"empty_layer": true' not in each for each in entries)
        return _Grown(entries, self.contents[:layers])


class StepImages:
    """The images of one job's steps in a storage; `name` is that of the record that notes them.

    `around` says what RUN has that its text does not show, such as a network.
    """

    def __init__(self, storage: Storage, name: str, around: str) -> None:
        self._storage = storage
        self._around = around
        self._records = Records(storage.graph.parent / "steps")
        self._name = name
        self._before = storage.images
        self._grown: dict[str, _Grown | None] = {}

    @property
    def were_made_otherwise(self) -> bool:
        """Tell whether the engine's layer cache has steps that were made with something else."""
        return self._noted.get(_AROUND, self._around) != self._around

    def image(self, key: str) -> str | None:
        """Give the image that steps with this key came to, if the storage has all of it."""
        found = self._noted.get(key)
        grown = self._made_by(found) if found else None
        if grown is None or self._storage.layers(grown.contents) is None:
            return None
        return found

    def note(self, found: Shortened, end: str, cached: Iterable[str]) -> None:
        """Note what the steps of a build came to: `end` is its image.

        `cached` are images of the storage that the engine said it has taken.
        """
        new = self._storage.images - self._before
        there = {each: grown for each in (*new, *cached) if (grown := self._made_by(each))}
        noted = (each for key, each in self._noted.items() if key != _AROUND)
        there |= {each: grown for each in noted if (grown := self._made_by(each))}
        grown_to: dict[_Grown, list[str]] = {}
        for each, grown in there.items():
            grown_to.setdefault(grown, []).append(each)

        def image(of: str, length: int) -> str | None:
            grown = self._made_by(of)
            match grown_to.get(grown.at(length), []) if grown else []:
                case [only]:
                    return only
                case _:  # none, or several that only their configuration tells apart
                    return None

        def history(of: str) -> tuple[str, ...] | None:
            grown = self._made_by(self._storage.named(of) or of)
            return grown.history if grown else None

        ends = dict(_ends(found, there))
        ends[found.stages[-1].index] = end
        latest = {**found.used, **images_made(found, ends, history, image)}
        before = {key: each for key, each in self._noted.items() if key not in latest}
        kept = [*{**before, **latest}.items()][-_MOST:]  # what was used last goes last
        self._records.write(self._name, {**dict(kept), _AROUND: self._around})

    @cached_property
    def _noted(self) -> Mapping[str, str]:
        return string_map(dict(self._records.read(self._name)))

    def _made_by(self, image: str) -> _Grown | None:
        if image not in self._grown:
            self._grown[image] = self._read(image)
        return self._grown[image]

    def _read(self, image: str) -> _Grown | None:
        try:
            data = self._storage.config(image)
        except OSError:
            return None
        match json_of(data):
            case {"history": list(entries), "rootfs": {"diff_ids": list(contents)}}:
                return _Grown(tuple(map(json.dumps, entries)), tuple(map(str, contents)))
            case _:
                return None


def _ends(found: Shortened, there: Mapping[str, _Grown]) -> Iterator[tuple[int, str]]:
    """Give the image of each stage that has a mark, by the stage's number in the copy."""
    for index, mark in found.marks.items():
        for image, grown in there.items():
            if grown.history and mark in grown.history[-1]:  # an ARG's, after those before it
                yield index, image
