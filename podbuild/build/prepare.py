"""What the engine is given of one job: its Containerfile rewritten, and what that needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from podbuild.build.engine.failure import FailedStep
from podbuild.build.inputs.across import name_across
from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.contents import Contents, Extra, Views
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.mounted import SecretFile
from podbuild.build.inputs.reach import Taken, Wanted
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.rewrite import Rewritten, rewrite_containerfile
from podbuild.build.inputs.secrets import BuildSecrets
from podbuild.build.inputs.selected import SelectedCopies, selections
from podbuild.build.inputs.shortened import ImageOf, Shortened, shortened
from podbuild.build.inputs.steps import ContentOf, engine_steps
from podbuild.build.inputs.values import uses_values
from podbuild.errors import BuildError
from podbuild.system.process import Runner


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The Containerfile for the engine, its target, and the contexts and secrets for it alone.

    `more` are lines of instructions, once for each step beyond their first, `fewer` of those that
    have none, `added` stages before which there is one more. `secrets` say where the engine finds
    a value, `environment` holds these values. `given` is what the engine need not do.
    `uncached`: it must not use its layer cache.
    """

    containerfile: Path
    target: str | None
    more: tuple[int, ...] = ()
    fewer: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    given: Shortened | None = None
    uncached: bool = False

    def step(self, recipe: Recipe, found: re.Match[str] | None) -> FailedStep | None:
        """Give what an engine's `STEP` stands for, for people; None as `instruction` gives it."""
        instruction = self.instruction(recipe, found) if found else None
        return FailedStep(instruction.place, str(instruction)) if instruction else None

    def instruction(self, recipe: Recipe, found: re.Match[str]) -> Instruction | None:
        """Give the instruction of an engine's `STEP`; None where steps are not those of the file.

        An ONBUILD of the base, which stands in no file, would shift them.
        """
        stages: list[Stage | None] = []
        for place in recipe.parsed.stages:
            stages += [*[None] * self.added.count(place.index), place]
        number = int(found["stage"] or 1) - 1
        stage = stages[number]
        if stage is None:
            return None
        steps: list[Instruction] = []
        for each in (stage.start, *stage.instructions):
            steps += [each] * (1 + self.more.count(each.line) - self.fewer.count(each.line))
        at = int(found["step"]) - 1
        at += self.given.skipped.get(number, 0) if self.given and at else 0
        made = at < len(steps) and steps[at].line in self.more  # by steps of other words
        if at < len(steps) and (made or steps[at].word == found["word"].upper()):
            return steps[at]
        return None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A folder that no disk has: where engines find it, where this process does, who chowns."""

    folder: Path
    here: Path
    inside: Runner

    def put(self, file: SecretFile, data: bytes) -> Path:
        """Write a secret into a context of its own and give the context."""
        place = self.here / file.context
        place.mkdir(mode=0o700)
        value = place / "value"
        value.touch(mode=0o600)
        value.write_bytes(data)
        context = self.folder / file.context
        if (file.uid, file.gid) != (0, 0):
            self.inside("chown", f"{file.uid}:{file.gid}", str(context / "value"))
        self.inside("chmod", f"{file.mode:o}", str(context / "value"))
        return context


class SecretFolders(Protocol):
    """Takes secrets that are files of contexts of their own."""

    def put(self, file: SecretFile, data: bytes) -> Path:
        """Take a secret and give its context."""


class Environments(Protocol):
    """Knows the ENV of images."""

    def environment(self, image: str) -> dict[str, str] | None:
        """Give the ENV of an image by id or name; None where it is not here."""


@dataclass(frozen=True, kw_only=True)
class BasesAtHand:
    """What a job builds on: ids by name, and where ENV is read, which heredocs may use.

    `fetch` brings another base into the storage. `content` gives the digest of what is taken of
    a context; `image_of` the image that steps came to before, where there are such.
    """

    ids: Mapping[str, str]
    storage: Environments
    fetch: Callable[[str], object]
    content: ContentOf
    image_of: ImageOf | None = None


def prepare(
    recipe: Recipe,
    secrets: BuildSecrets,
    folder: Path,
    *,
    memory: SecretFolders,
    bases: BasesAtHand,
    selected: Mapping[int, SelectedCopies] | None = None,
) -> Prepared:
    """Write what the engine is given into `folder`, and secrets into `memory` alone.

    `selected` are the copies that it is given for some, by the line of the instruction.

    Raises ConfigError for what can't be made to mean the same.
    """
    parsed, found = _rewritten(recipe, secrets, bases, selected)
    given = _given(recipe, parsed, found, bases)
    uncached = recipe.uncached or found.uncached or (given.uncached if given else recipe.layers)
    text = given.text if given else found.text
    path = recipe.containerfile
    if text != recipe.text or path.suffix == ".in":  # which engines would hand to cpp
        path = folder / "Containerfile"
        path.write_text(text, encoding="utf-8", newline="")
    files = {
        each.context: memory.put(each, secrets.content(each.secret, recipe.secrets))
        for each in found.files
    }
    names = {each.id: f"PODBUILD_SCRIPT_{at}" for at, each in enumerate(found.variables)}
    return Prepared(
        containerfile=path,
        target=found.target,
        more=(*found.more, *(given.more if given else ())),
        fewer=found.fewer,
        folders={**_written(found, folder / "heredocs"), **files},
        added=found.added,
        secrets={each: f"env={name}" for each, name in names.items()},
        environment={names[each]: text for each, text in _scripts(recipe, secrets, found)},
        given=given,
        uncached=uncached,
    )


def _rewritten(
    recipe: Recipe,
    secrets: BuildSecrets,
    bases: BasesAtHand,
    selected: Mapping[int, SelectedCopies] | None,
) -> tuple[Containerfile, Rewritten]:
    parsed = recipe.parsed
    if _needs_environments(recipe):
        parsed = _with_environments(recipe, bases)
    return parsed, rewrite_containerfile(
        parsed,
        recipe.text,
        target=recipe.target,
        variables=recipe.variables,
        secrets=[secret.id for secret in recipe.secrets],
        selected=selected,
        large=secrets.large(recipe.secrets),
        across={index: name_across(index) for index in recipe.inner.across},
    )


def _given(
    recipe: Recipe, parsed: Containerfile, found: Rewritten, bases: BasesAtHand
) -> Shortened | None:
    """Give the copy with what its steps rest on; None where no layer cache asks, or none may."""
    stages = engine_steps(recipe, parsed, found, bases.ids, bases.content) if recipe.layers else ()
    if not stages:
        return None
    known = None if recipe.uncached or found.uncached else bases.image_of
    return shortened(found.text, found.target, recipe.variables, stages, known)


def content_of(contents: Contents, recipe: Recipe) -> ContentOf:
    """Give what gives digests of what a recipe takes of a context; None where .git may change."""

    def content(place: str, wanted: Wanted) -> str | None:
        extra = recipe.extras.get(place, Extra(recipe.context, recipe.patterns))
        found = contents.of(extra.folder, extra.matcher, (wanted,))
        return None if found.has_git else found.digest

    return content


def _scripts(recipe: Recipe, secrets: BuildSecrets, found: Rewritten) -> Iterator[tuple[str, str]]:
    """Give the id and text of what sets each variable to its secret."""
    values = {secret.id: value.value for secret, value in secrets.known.items()}
    for each in found.variables:
        value = values.get(each.secret)
        if value is None:
            raise BuildError(
                f"{recipe.job}: the build secret {each.secret!r} fits no variable",
                hint="read it from its file: RUN --mount=type=secret without env",
            )
        yield each.id, each.script(value)


def selected_copies(contents: Contents, recipe: Recipe) -> Mapping[int, SelectedCopies]:
    """Give what means to the engine what wildcards, --exclude and modes mean to BuildKit."""

    def taken(name: str, wanted: Wanted) -> tuple[Taken, ...]:
        extra = recipe.extras.get(name)
        if extra is None:
            return contents.taken(recipe.context, recipe.matcher, wanted)
        return contents.taken(extra.folder, extra.matcher, wanted)

    return selections(recipe.selecting, taken)


def changed_contexts(
    views: Views, contents: Contents, recipe: Recipe, selected: Mapping[int, SelectedCopies]
) -> dict[str, Path]:
    """Give the views of contexts in which files have the modes that a copy gives them."""
    found = {}
    for line, each in selected.items():
        if changed := each.changed:
            extra = recipe.extras.get(changed.place, Extra(recipe.context, recipe.patterns))
            extra = replace(extra, wanted=(changed.wanted,), mode=changed.mode)
            found[changed.name(line)] = views.view(extra, contents, quiet=True)
    return found


def _written(found: Rewritten, place: Path) -> Mapping[str, Path]:
    folders = {}
    for context, files in found.contexts.items():
        folders[context] = place / context
        folders[context].mkdir(mode=0o755, parents=True)
        for name, text in files.items():
            path = folders[context] / name
            path.write_text(text, encoding="utf-8", newline="")
            path.chmod(0o755 if context in found.programs else 0o644)
    return folders


def _needs_environments(recipe: Recipe) -> bool:
    """Tell whether a text of the Containerfile may use what a base's ENV holds."""
    stages = recipe.parsed.needed(recipe.target, recipe.variables)
    return any(
        each.word == "ARG" or uses_values(each) for stage in stages for each in stage.instructions
    )


def _with_environments(recipe: Recipe, bases: BasesAtHand) -> Containerfile:
    found = dict(recipe.parsed.environments)
    for stage in recipe.parsed.needed(recipe.target, recipe.variables):
        base = next(recipe.parsed.uses(stage, recipe.variables))
        if recipe.parsed.earlier(stage, base) is not None:
            continue
        if stage.index in found:
            continue
        names = (name_across(stage.index), base.text, base.value)
        pins = (
            places[name] for places in (bases.ids, recipe.pins) for name in names if name in places
        )
        image = next(pins, base.value)
        known = bases.storage.environment(image)
        if known is None:
            bases.fetch(image)
            known = bases.storage.environment(image)
        found[stage.index] = known or {}
    return replace(recipe.parsed, environments=found)
