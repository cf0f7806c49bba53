"""What podbuild promises of its answers, files and CI outputs: read from outputs.txt.

docs/outputs.md and docs/schemas/ are written from it, and tests hold what podbuild gives against
it. No command loads this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from podbuild.build.model import Origin, TrialOutcome
from podbuild.config.choices import Compression, Format
from podbuild.oci import kinds
from podbuild.oci.names import RegistryKind
from podbuild.plan.guards import Decision
from podbuild.plan.tags import TagKind
from podbuild.report.model import ReleaseResult, TagOutcome
from podbuild.system.records import JSONValue

Shape = dict[str, JSONValue]

_ENUMS: tuple[type[StrEnum], ...] = (
    Compression, Decision, Format, Origin, RegistryKind, ReleaseResult, TagKind, TagOutcome,
    TrialOutcome,
)  # fmt: skip
_TYPES: Mapping[str, Shape] = {
    "text": {"type": "string"},
    "count": {"type": "integer", "minimum": 0},
    "number": {"type": "integer"},
    "seconds": {"type": "number", "minimum": 0},
    "flag": {"type": "boolean"},
    "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    "moment": {"type": "string", "format": "date-time"},
    "schema": {"const": 1},
    "object": {"type": "object"},
    "map": {"type": "object"},
    "list": {"type": "array"},
    **{each.__name__: {"enum": [value.value for value in each]} for each in _ENUMS},
}


@dataclass(frozen=True, kw_only=True)
class ContractKey:
    """One key: the way to it, its type, what it means."""

    path: str
    type: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class JsonOutput:
    """One JSON answer or file; a part of others is met nowhere."""

    name: str
    where: str
    help: str
    keys: tuple[ContractKey, ...]

    def schema(self, *, strict: bool = False) -> Shape:
        """Give its JSON schema (2020-12); a strict one refuses keys that are not declared.

        What readers get is not strict: a key may be added without another schema number.
        """
        top: Shape = {"type": "object"}
        for each in self.keys:
            _put(top, each)
        if strict:
            _close(top)
        title = f"podbuild: {self.where}"
        head: Shape = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
        return {**head, "description": self.help, **top}


def promised() -> tuple[JsonOutput, ...]:
    """Give every answer and file that is met somewhere, in the order of the declaration."""
    return tuple(each for each in _blocks().values() if each.where)


def _blocks() -> Mapping[str, JsonOutput]:
    found: dict[str, JsonOutput] = {}
    text = files("podbuild.report").joinpath("outputs.txt").read_text()
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, *lines = block.strip().split("\n")
        name, where, meaning = (part.strip() for part in head.split("|"))
        keys = tuple(key for line in lines for key in _keys(line, found))
        found[name] = JsonOutput(name=name, where=where, help=meaning, keys=keys)
    return found


def _keys(line: str, known: Mapping[str, JsonOutput]) -> Iterator[ContractKey]:
    if line.startswith("@"):
        name, _, prefix = line[1:].partition(" ")
        for each in known[name].keys:
            path = f"{prefix}.{each.path}" if prefix else each.path
            yield ContractKey(
                path=path, type=each.type, meaning=each.meaning, optional=each.optional
            )
        return
    path, kind, meaning = (*re.split(r" {2,}", line, maxsplit=2), "")[:3]
    yield ContractKey(
        path=path.removeprefix("~"), type=kind, meaning=meaning, optional=path.startswith("~")
    )


def _put(top: Shape, key: ContractKey) -> None:
    """Put one key into the schema that holds it."""
    found, holder, last = top, top, ""
    for step in re.findall(r"\[\]|\*|[^.\[\]*]+", key.path):
        if step not in ("[]", "*"):
            holder, last = found, step
        found = _inner(found, step)
    found.update({name: value for name, value in _shape(key.type).items() if name not in found})
    if found.get("type") == "object" and key.type.endswith("?"):
        found["type"] = ["object", "null"]
    if key.meaning:
        found["description"] = key.meaning
    if key.optional:
        named = holder.get("required")
        while isinstance(named, list) and last in named:
            named.remove(last)


def _shape(kind: str) -> Shape:
    plain = kind.removesuffix("?")
    shape = _TYPES.get(plain) or {"enum": [*plain.split("|")]}
    if not kind.endswith("?"):
        return dict(shape)
    if "type" in shape:
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [dict(shape), {"type": "null"}]}


def _inner(holder: Shape, step: str) -> Shape:
    """Give the schema of one step further in, made if need be."""
    if step == "[]":
        holder.setdefault("type", "array")
        return _child(holder, "items")
    if step == "*":
        holder.setdefault("type", "object")
        return _child(holder, "additionalProperties")
    holder.setdefault("type", "object")
    fields = _child(holder, "properties")
    if step not in fields:
        required = holder.setdefault("required", [])
        if isinstance(required, list):
            required.append(step)
    return _child(fields, step)


def _child(holder: Shape, name: str) -> Shape:
    found = holder.setdefault(name, {})
    assert isinstance(found, dict)  # noqa: S101  # made here alone
    return found


def _close(shape: JSONValue) -> None:
    if isinstance(shape, list):
        for each in shape:
            _close(each)
    if isinstance(shape, dict):
        if "properties" in shape and "required" in shape:
            shape.setdefault("additionalProperties", False)
        for name, inner in shape.items():
            if name != "enum":
                _close(inner)


# $GITHUB_OUTPUT; Forgejo and Gitea read it too.
GITHUB_OUTPUTS: Mapping[str, str] = {
    "result": "published, partial, skipped or failed",
    "version": "the version without a leading v; empty for a snapshot",
    "tag": "the git tag, or a snapshot's branch",
    "tag-names": "tags that name this release's images, a line each, without repositories",
    "tags": "the same with their repositories",
    "digest": "the image's digest; of several images a line `image=digest` each",
    "digest-REGISTRY": "the same of what that registry has",
    **{home.output: f"the same of a registry of kind {kind}" for kind, home in kinds.HOMES.items()},
    "platforms": "platforms, joined by commas",
    "cache_hit": "true: nothing had to be built",
    "build_duration": "seconds, rounded",
    "matrix": "JSON for a matrix: include is a list of image, platform, digest",
    "json": "the answer `summary` in one line",
}
# dist/podbuild.env; what is empty is left out.
VARIABLES: Mapping[str, str] = {
    "RELEASE_RESULT": "published, partial, skipped or failed",
    "RELEASE_VERSION": "the version without a leading v",
    "RELEASE_TAG": "the git tag",
    "RELEASE_PREVIOUS_TAG": "the git tag of the version before",
    "RELEASE_BRANCH": "the branch",
    "RELEASE_COMMIT": "the commit",
    "RELEASE_DIGEST": "the digest, of a project with one published image",
    "RELEASE_PLATFORMS": "platforms, joined by commas",
    "RELEASE_CACHE_HIT": "true: nothing had to be built",
    "RELEASE_BUILD_DURATION": "seconds, rounded",
    "RELEASE_TAG_NAMES": "tags that name this release's images, joined by commas",
    "RELEASE_TAGS": "the same with their repositories",
    "RELEASE_DIGESTS": "image=digest of each image, joined by commas",
}


def page() -> str:
    """Give docs/outputs.md."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield from ("# Answers, files and CI outputs", "")
    yield "Written by `scripts/reference.py` from `podbuild/report/outputs.txt`; don't edit."
    yield from (
        "",
        "`--json` gives a command's answer as JSON on stdout, also when it fails. Each answer and",
        "each JSON file has a `schema` number. Keys may be added while it stays the same; where",
        "one goes or means something else, the number is raised. The JSON schemas stand in",
        "[schemas/](schemas). `dist/state.json` is podbuild's own: nothing of it is promised.",
        "Three answers are not podbuild's to shape, and `--json` only shapes their failures: `run`",
        "gives what the program prints, `sbom` an SPDX document, `completion` a script.",
        "",
        "In paths `a[]` is each item of a list, `a.*` each value of an object whose keys are free.",
        "",
    )
    for each in promised():
        yield from (f"## `{each.name}`: {each.help}", "", f"{_first_up(each.where)}.", "")
        yield from (f"[Schema](schemas/{each.name}.schema.json)", "")
        yield from ("| key | type | meaning |", "|---|---|---|")
        for key in each.keys:
            kind = f"{key.type}{', may be missing' if key.optional else ''}"
            yield f"| `{key.path}` | {kind.replace('|', ' or ')} | {key.meaning} |"
        yield ""
    yield from ("## Values", "", "| type | values |", "|---|---|")
    for enum in _ENUMS:
        yield f"| {enum.__name__} | {', '.join(f'`{value.value}`' for value in enum)} |"
    yield from ("", "## `$GITHUB_OUTPUT`", "", "Also of Forgejo and Gitea.", "")
    yield from _named("output", GITHUB_OUTPUTS)
    yield from ("", "## `dist/podbuild.env`", "", "For GitLab's `artifacts:reports:dotenv`.", "")
    yield from _named("variable", VARIABLES)
    yield from ("", "## `dist/digests.txt`", "")
    yield "A line `<hex of the digest>  <reference>` for each tag that names this release, sorted."


def _named(what: str, found: Mapping[str, str]) -> Iterator[str]:
    yield from (f"| {what} | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in found.items())


def _first_up(text: str) -> str:
    return text if text.startswith(("podbuild", "dist/")) else text[:1].upper() + text[1:]
