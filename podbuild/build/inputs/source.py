"""The part of a child's inputs that commit and configuration decide, as one hash.

It stands on the index beside the input hash, and tells a release whether a version's tag holds its
result (design, invariant 4). Neither the engine, nor bases, nor file modes, nor the machine count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import decided_inputs, hashed
from podbuild.build.inputs.reach import EVERYTHING, Wanted
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.build.inputs.views import Extra
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.plan.model import Job, Plan
from podbuild.system.records import JSONValue

_SCHEMA = 1
_WHOLE = "whole:"  # a base's ONBUILD or ENV had a say in what is taken: all files count


def is_whole(source: str) -> bool:
    """Tell whether a source hash is over everything that its contexts hold."""
    return source.startswith(_WHOLE)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Gives source hashes; asks no engine and no registry.

    `output` is the project's dist, `history` the folder of its entries.
    """

    plan: Plan
    output: Path
    contents: Contents
    history: Path | None = None
    readings: Readings = field(default_factory=Readings)
    _recipes: dict[Job, Recipe] = field(default_factory=dict)
    _hashes: dict[tuple[Job, bool], str] = field(default_factory=dict)
    _whole: set[Job] = field(default_factory=set)

    def made_by(self, recipe: Recipe) -> str:
        """Give the source hash of a recipe's image; those it builds on must have been asked for.

        Raises ConfigError for a file that can't be read.
        """
        own = self._recipe(recipe.job)
        inner = {*recipe.inner.jobs, *own.inner.jobs}
        if _takes(own) != _takes(recipe) or inner & self._whole:
            self._whole.add(recipe.job)
        return self.of(recipe.job, whole=recipe.job in self._whole)

    def of(self, job: Job, *, whole: bool) -> str:
        """Give the source hash of a job's image; raises ConfigError for what can't be read."""
        if (job, whole) not in self._hashes:
            self._hashes[job, whole] = self._hash(self._recipe(job), whole=whole)
        return self._hashes[job, whole]

    def files(self, job: Job, *, whole: bool) -> Iterator[Path]:
        """Give the files that an image's source hash is over, those it builds on left out."""
        recipe = self._recipe(job)
        yield recipe.containerfile
        for extra in (_main(recipe), *recipe.extras.values()):
            wanted = EVERYTHING if whole else extra.wanted
            found = self.contents.sent(extra.folder, extra.matcher, wanted).reach.entries
            yield from (extra.folder / name for name, each in found.items() if not each.is_folder)

    def _recipe(self, job: Job) -> Recipe:
        """Give the recipe as if bases handed nothing on and each job ran at home."""
        if job not in self._recipes:
            around = Surroundings(
                build=job.platform,
                output=self.output,
                blank=BaseFacts(),
                history=self.history,
                readings=self.readings,
            )
            image = self.plan.image(job.image)
            self._recipes[job] = make_recipe(self.plan, image, job.platform, around)
        return self._recipes[job]

    def _hash(self, recipe: Recipe, *, whole: bool) -> str:
        def content(extra: Extra) -> str:
            wanted = EVERYTHING if whole else extra.wanted
            return self.contents.of(extra.folder, extra.matcher, wanted).source

        everything: dict[str, JSONValue] = {
            "schema": _SCHEMA,
            **decided_inputs(recipe),
            "context": content(_main(recipe)),
            "folders": {name: content(each) for name, each in recipe.extras.items()},
            "inner": {
                **{name: self.of(job, whole=whole) for name, job in recipe.inner.here.items()},
                **{
                    f"{recipe.parsed.stages[at].line} {job.platform}": self.of(job, whole=whole)
                    for at, job in recipe.inner.across.items()
                },
            },
            "bases": [*recipe.unpinned],
        }
        return f"{_WHOLE if whole else ''}{hashed(everything)}"


def _main(recipe: Recipe) -> Extra:
    return Extra(recipe.context, recipe.patterns, recipe.wanted)


def _takes(recipe: Recipe) -> Mapping[str, frozenset[Wanted]]:
    extras = {name: frozenset(each.wanted) for name, each in recipe.extras.items()}
    return {"": frozenset(recipe.wanted), **extras}
