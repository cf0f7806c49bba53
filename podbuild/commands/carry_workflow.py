"""A workflow with docker/build-push-action as podbuild.toml; what else it runs is not read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from podbuild.commands.carry import (
    Carried,
    CarriedImage,
    LeftOut,
    distinct_names,
    image_name,
    named,
    plain_keys,
    repository_of,
    tag_of,
)
from podbuild.commands.carry_expressions import EXPRESSION, Expressions
from podbuild.commands.carry_matrix import matrix_values
from podbuild.commands.carry_metadata import CarriedTags, MetadataReader, Triggers, plain_lines
from podbuild.commands.carry_outputs import output_attributes
from podbuild.commands.carry_step import StepReader
from podbuild.commands.carry_yaml import Said, read_yaml
from podbuild.errors import ConfigError

_OUTPUT = re.compile(r"steps\.([\w-]+)\.outputs\.\S+")
_OF_A_JOB = re.compile(r"needs\.([\w-]+)\.outputs\.([\w-]+)")
_USER_SECRET = re.compile(  # no secret, but where it is kept
    r"\$\{\{\s*secrets\.(\w*(?:USER|USERNAME|ORG|OWNER|NAMESPACE))\s*\}\}", re.IGNORECASE
)
_PLACE = re.compile(r"(.*/[^/:]*|[^/:]*):[^/]*\$\{\{.*")  # a reference whose tag is an expression
_BUILD = "docker/build-push-action"
_BAKE = "docker/bake-action"
_META = "docker/metadata-action"
_KINDS = ("dockerfile", "containerfile")


def is_workflow(path: Path, file: str) -> bool:
    """Tell a workflow, or a composite action, from a compose file: it has jobs, or runs."""
    document = read_yaml(path, file).table
    return bool({"jobs", "runs"} & document.keys()) and "services" not in document


def read_workflow(path: Path, file: str) -> Carried:
    """Give what a workflow builds and how it tags that.

    Raises ConfigError where it builds nothing that can be read, ToolError without a reader.
    """
    folder = path.absolute().parent
    top = folder.parent.parent if folder.match(".github/workflows") else folder
    reader = _Workflow(read_yaml(path, file), top.name)
    carried = reader.carried()
    if not carried.images:
        baked = [each.hint for each in carried.left_out if each.what == _BAKE]
        hint = "podbuild init without --from guesses from the Containerfiles"
        raise ConfigError(f"{file}: no step uses {_BUILD}", hint=(baked or [hint])[0])
    return carried


@dataclass(frozen=True, kw_only=True)
class _Built:
    """One build step with the values of its job's matrix."""

    name: str
    keys: Mapping[str, object]
    references: tuple[str, ...]
    tags: CarriedTags


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """What a step of metadata-action says."""

    tags: CarriedTags = field(default_factory=CarriedTags)
    images: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Workflow:
    document: Said
    top: str = ""  # the name of the repository's folder
    left_out: list[LeftOut] = field(default_factory=list)
    expressions: Expressions = field(default_factory=Expressions)

    def carried(self) -> Carried:
        """Give everything; steps that differ only in the platform are one image."""
        built: list[_Built] = []
        for name, job in self._jobs().items():
            if uses := job.table.get("uses"):
                self._leave(uses.line, f"job {name}: {uses.text}", "--from that file, if it builds")
            for values in matrix_values(job):
                self._enter(job, values)
                built += self._job(name, job)
        self._defaults()
        merged = _merged(built)
        names = distinct_names(
            {key: image_name(each.references, each.name) for key, each in merged.items()}
        )
        rules = [each.tags.keys() for each in merged.values()]
        shared = rules[0] if rules and all(each == rules[0] for each in rules) else {}
        images = tuple(
            CarriedImage(
                name=names[key],
                keys={**each.keys, **({} if shared else _own(each.tags))},
                references=each.references,
            )
            for key, each in merged.items()
        )
        return Carried(
            images=images,
            left_out=tuple(sorted(dict.fromkeys(self.left_out), key=lambda each: each.line)),
            tags=shared,
        )

    def _jobs(self) -> Mapping[str, Said]:
        jobs = self.document.table.get("jobs")
        return jobs.table if jobs else {self.top: self.document.table["runs"]}

    def _inputs(self) -> Iterator[tuple[str, Said]]:
        """Give the defaults of what a caller may give."""
        on = self.document.table.get("on", Said(0, ""))
        rooms = [on.table.get(each, on).table for each in ("workflow_dispatch", "workflow_call")]
        for room in (*rooms, self.document.table):
            for name, node in room.get("inputs", Said(0, "")).table.items():
                if default := node.table.get("default"):
                    yield f"inputs.{name}", default

    def _defaults(self) -> None:
        for name, node in self._inputs():
            if name in self.expressions.used:
                self._leave(node.line, name, "its default is taken")

    def _enter(self, job: Said, values: Mapping[str, str]) -> None:
        """Take what expressions of a job stand for, by one row of its matrix."""
        given = [(name, node.text) for name, node in self._inputs()]
        fill = partial(self.expressions.filled, handlebars=True)
        self.expressions.values = {name: fill(text) for name, text in (*given, *values.items())}
        self.expressions.take_env((self.document, job))

    def _job(self, name: str, job: Said) -> Iterator[_Built]:
        meta: dict[str, _Metadata] = {}
        for step in job.table.get("steps", Said(0, "")).items:
            uses = step.table.get("uses", Said(0, "")).text.partition("@")[0]
            given = step.table.get("with", Said(step.line, "")).table
            self.expressions.take_env([step])
            if uses == _META:
                meta[step.table.get("id", Said(0, "")).text] = self._meta(given)
            elif uses == _BUILD:
                for each in (job, step):
                    if condition := each.table.get("if"):
                        hint = "release is for tags, snapshot for branches and pull requests"
                        self._leave(condition.line, f"if: {condition.text}", hint)
                yield self._build(name, given, meta)
            elif uses == _BAKE:
                self._leave(step.line, uses, "podbuild init --from docker-bake.hcl")
            elif "run" in step.table:
                self._commands(step.table["run"])

    def _commands(self, node: Said) -> None:
        for line, text in node.lines():
            if re.search(r"\b(docker|buildah|podman|skopeo|cosign)\b", text):
                self._leave(line, f"run: {text[:60]}", "commands are not read")

    def _meta(self, given: Mapping[str, Said]) -> _Metadata:
        reader = MetadataReader(
            triggers=self._triggers(),
            filled=partial(self.expressions.filled, handlebars=True),
            left_out=self.left_out,
        )
        tags = reader.read(given.get("tags"), given.get("flavor"))
        images = []
        every = given.get("images", Said(0, "")).lines()
        for line, text in (row for row in every if not row[1].startswith("#")):
            name = _USER_SECRET.sub(r"${{ vars.\1 }}", text.partition(",")[0].removeprefix("name="))
            filled = self.expressions.filled(name)
            if filled is None or (",enable=" in text and ",enable=true" not in text):
                self._leave(line, f"images: {text}", "a [registries] table for each place")
            if filled:
                images.append(filled)
        if "annotations" in given:
            hint = "annotations of an image, or [project]"
            self._leave(given["annotations"].line, "metadata-action: annotations", hint)
        labels = self._step().pairs(given.get("labels", Said(0, "")), "labels")
        return _Metadata(tags=tags, images=tuple(images), labels=labels)

    def _step(self) -> StepReader:
        return StepReader(expressions=self.expressions, left_out=self.left_out)

    def _metas_of(self, job: Said) -> Mapping[str, _Metadata]:
        """Give what metadata-action says in another job."""
        before = self.expressions.values
        self._enter(job, next(matrix_values(job)))
        found = {
            step.table.get("id", Said(0, "")).text: self._meta(step.table["with"].table)
            for step in job.table.get("steps", Said(0, "")).items
            if step.table.get("uses", Said(0, "")).text.startswith(_META) and "with" in step.table
        }
        self.expressions.values = before
        return found

    def _tagged_by(self, text: str, meta: Mapping[str, _Metadata]) -> _Metadata | None:
        """Give the metadata that tags are an output of, of this job or of one that it needs."""
        found = _OF_A_JOB.fullmatch(EXPRESSION.sub(r"\1", text))
        if found and (job := self._jobs().get(found[1])):
            meta = self._metas_of(job)
            text = job.table.get("outputs", job).table.get(found[2], job).text
        output = _OUTPUT.fullmatch(EXPRESSION.sub(r"\1", text))
        return meta.get(output[1]) if output else None

    def _joined_by(self, name: str) -> _Metadata | None:
        """Give the metadata of the job that joins what a job pushed by digest."""
        for job in self._jobs().values():
            needs = job.table.get("needs", Said(0, ""))
            if name in (needs.text, *(each.text for each in needs.items)):
                for found in self._metas_of(job).values():
                    return found
        return None

    def _triggers(self) -> Triggers:
        on = self.document.table.get("on", Said(0, ""))
        push = on.table.get("push")
        if push is None and "push" not in (on.text, *(each.text for each in on.items)):
            return Triggers()
        table = push.table if push else {}
        every = table.get("branches", Said(0, "")).items
        for each in every:
            if {*each.text} & {*"!?+"}:  # GitHub's own: ? is none or one of what stands before
                hint = "[tags] branches takes names, * and [a-z]"
                self._leave(each.line, f"branches: {each.text}", hint)
        branches = tuple(each.text for each in every if not {*each.text} & {*"!?+"})
        plain = [each for each in branches if not {*each} & {*"*["}]
        return Triggers(
            branches=branches if "branches" in table or "tags" in table else ("*",),
            tags="tags" in table or "branches" not in table,
            default=next(iter(plain), "main"),
        )

    def _build(self, job: str, given: Mapping[str, Said], meta: Mapping[str, _Metadata]) -> _Built:
        keys = plain_keys(self._step().keys(given), partial(self._leave_key, given))
        outputs = [output_attributes(text) for _, text in given.get("outputs", Said(0, "")).lines()]
        by_digest = any("push-by-digest" in each for each in outputs)
        said = self._joined_by(job) if by_digest else None
        references = list[str]()
        for line, written in plain_lines(given.get("tags")):
            if tagged := self._tagged_by(written, meta):
                said = tagged
                references += tagged.images
                continue
            text = _USER_SECRET.sub(r"${{ vars.\1 }}", written)
            filled = self.expressions.filled(text)
            if filled is None:
                self._leave(line, f"tags: {written}", "[tags] says which tags are written")
                place = _PLACE.fullmatch(text)
                filled = self.expressions.filled(place[1]) if place else None
                references += [filled] if filled else []
                continue
            references.append(filled)
            if tag_of(filled) or not by_digest:
                self._leave(line, f"the tag of {text}", "[tags] says which tags are written")
        named_by_others = by_digest or "tags" not in given
        said = said or (next(iter(meta.values()), None) if named_by_others else None)
        said = said or _Metadata()
        if not references and named_by_others:  # pushed by digest, and joined by another job
            names = [name for each in outputs for name in each.get("name", "").split(",") if name]
            references += said.images or filter(None, map(self.expressions.filled, names))
        if said.labels:
            own = keys.get("labels")
            keys["labels"] = {**said.labels, **(own if isinstance(own, dict) else {})}
        name = self._name(keys, job)
        places = tuple(dict.fromkeys(references))
        return _Built(name=name, keys=keys, references=places, tags=said.tags)

    def _leave_key(self, given: Mapping[str, Said], key: str, hint: str) -> None:
        written = "file" if key == "containerfile" and "file" in given else key
        node = given.get(written, given.get("context", Said(0, "")))
        self._leave(node.line, f"build-push-action: {written}", hint)

    def _name(self, keys: Mapping[str, object], job: str) -> str:
        """Name an image after its folder or file, else after the repository; jobs say `build`."""
        context, file = str(keys["context"]), str(keys["containerfile"])
        if context != ".":
            return context.rpartition("/")[2]
        parts = file.rpartition("/")[2].lower().split(".")
        return next((p for p in parts if p not in _KINDS), self.top or job)

    def _leave(self, line: int, what: str, hint: str) -> None:
        self.left_out.append(LeftOut(line, what, hint))


def _own(tags: CarriedTags) -> dict[str, object]:
    found = tags.keys()
    return {"tags": found} if found else {}


def _merged(built: Iterable[_Built]) -> dict[str, _Built]:
    """Make one image of steps that differ in nothing but the platform."""
    found: dict[str, _Built] = {}
    for each in built:
        keys = {name: value for name, value in each.keys.items() if name != "platforms"}
        places = sorted(set(map(repository_of, each.references)))
        key = f"{each.name} {places} {keys}"
        known = found.setdefault(key, each)
        platforms = [*_platforms(known), *_platforms(each)]
        if platforms:
            merged = {**known.keys, "platforms": tuple(dict.fromkeys(platforms))}
            found[key] = replace(known, keys=merged)
    found = {key: each for key, each in found.items() if not _tries(each, found.values())}
    by_name: dict[str, set[object]] = {}
    for each in found.values():
        by_name.setdefault(each.name, set()).add(each.keys["context"])
    found = {  # folders of one name tell images apart by their whole path
        key: replace(each, name=named(str(each.keys["context"])))
        if len(by_name[each.name]) > 1 else each
        for key, each in found.items()
    }  # fmt: skip
    counted = itertools.count(1)
    return {
        each.name if sum(o.name == each.name for o in found.values()) == 1
        else f"{each.name}-{next(counted)}": each
        for each in found.values()
    }  # fmt: skip


def _tries(each: _Built, others: Iterable[_Built]) -> bool:
    """Tell whether a step only tries what another one publishes."""
    return each.keys.get("publish") is False and any(
        "publish" not in other.keys and _inputs_of(other) == _inputs_of(each) for other in others
    )


def _inputs_of(each: _Built) -> dict[str, object]:
    apart = ("publish", "platforms", "labels", "annotations", "compression")
    return {name: value for name, value in each.keys.items() if name not in apart}


def _platforms(each: _Built) -> tuple[str, ...]:
    found = each.keys.get("platforms", ())
    return found if isinstance(found, tuple) else ()
