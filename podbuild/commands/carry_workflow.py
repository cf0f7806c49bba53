"""A workflow with docker/build-push-action as podbuild.toml; what else it runs is not read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.commands.carry import (
    NETWORKS,
    Carried,
    CarriedImage,
    LeftOut,
    below,
    containerfile_of,
    distinct_names,
    image_name,
    is_path,
    literal,
    repository_of,
    way_for,
)
from podbuild.commands.carry_matrix import matrix_values
from podbuild.commands.carry_metadata import CarriedTags, MetadataReader, Triggers, plain_lines
from podbuild.commands.carry_yaml import Said, read_yaml
from podbuild.errors import ConfigError

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OUTPUT = re.compile(r"steps\.([\w-]+)\.outputs\.\S+")
_BUILD = "docker/build-push-action"
_BAKE = "docker/bake-action"
_META = "docker/metadata-action"
_ODD_OUTPUT = re.compile(r"push-by-digest|type=(?:local|tar|cacheonly)")
_CLONE = "{{defaultContext}}"
_KINDS = ("dockerfile", "containerfile")
_NEEDLESS = frozenset({  # podbuild does it, or needs none of it
    "push", "load", "builder", "github-token", "pull", "annotations-from", "outputs"
})  # fmt: skip
_HINTS = {
    "cache-from": "[cache] repository keeps layers between runners",
    "cache-to": "[cache] repository keeps layers between runners",
    "provenance": "[attest] says what is said of images",
    "sbom": "[attest] says what is said of images",
    "attests": "[attest] says what is said of images",
    "outputs": "`podbuild ci init github` writes legs and their join",
    "no-cache": "podbuild build --no-cache",
}


def is_workflow(path: Path, file: str) -> bool:
    """Tell a workflow from a compose file: it has jobs."""
    document = read_yaml(path, file).table
    return "jobs" in document and "services" not in document


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


@dataclass
class _Workflow:
    document: Said
    top: str = ""  # the name of the repository's folder
    left_out: list[LeftOut] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)  # of matrix and env, by expression

    def carried(self) -> Carried:
        """Give everything; steps that differ only in the platform are one image."""
        built: list[_Built] = []
        for name, job in self.document.table["jobs"].table.items():
            if uses := job.table.get("uses"):
                self._leave(uses.line, f"job {name}: {uses.text}", "--from that file, if it builds")
            for values in matrix_values(job):
                self.values = values | self._env(self.document, job)
                built += self._job(name, job)
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

    def _env(self, *tables: Said) -> dict[str, str]:
        found = {}
        for table in tables:
            for name, node in table.table.get("env", Said(0, "")).table.items():
                if "${{" not in node.text:
                    found[f"env.{name}"] = node.text
                    continue
                filled = self._filled(node.text)
                if filled is not None:
                    found[f"env.{name}"] = filled
        return found

    def _job(self, name: str, job: Said) -> Iterator[_Built]:
        meta: dict[str, tuple[CarriedTags, tuple[str, ...]]] = {}
        for step in job.table.get("steps", Said(0, "")).items:
            uses = step.table.get("uses", Said(0, "")).text.partition("@")[0]
            given = step.table.get("with", Said(step.line, "")).table
            self.values |= self._env(step)
            if uses == _META:
                meta[step.table.get("id", Said(0, "")).text] = self._meta(given)
            elif uses == _BUILD:
                yield self._build(name, given, meta)
            elif uses == _BAKE:
                self._leave(step.line, uses, "podbuild init --from docker-bake.hcl")
            elif "run" in step.table:
                self._commands(step.table["run"])

    def _commands(self, node: Said) -> None:
        for line, text in node.lines():
            if re.search(r"\b(docker|buildah|podman|skopeo|cosign)\b", text):
                self._leave(line, f"run: {text[:60]}", "commands are not read")

    def _meta(self, given: Mapping[str, Said]) -> tuple[CarriedTags, tuple[str, ...]]:
        reader = MetadataReader(
            triggers=self._triggers(), filled=self._filled, left_out=self.left_out
        )
        tags = reader.read(given.get("tags"), given.get("flavor"))
        images = []
        for line, text in given.get("images", Said(0, "")).lines():
            name = text.partition(",")[0].removeprefix("name=")
            filled = self._filled(name)
            if filled is None or (",enable=" in text and ",enable=true" not in text):
                self._leave(line, f"images: {text}", "a [registries] table for each place")
            if filled:
                images.append(filled)
        for key in ("labels", "annotations"):
            if key in given:
                hint = f"{key} of an image, or [project]"
                self._leave(given[key].line, f"metadata-action: {key}", hint)
        return tags, tuple(images)

    def _triggers(self) -> Triggers:
        on = self.document.table.get("on", Said(0, ""))
        push = on.table.get("push")
        if push is None and "push" not in (on.text, *(each.text for each in on.items)):
            return Triggers()
        table = push.table if push else {}
        branches = tuple(each.text for each in table.get("branches", Said(0, "")).items)
        plain = [each for each in branches if not {*each} & {*"*?![+"}]
        return Triggers(
            branches=branches if "branches" in table or "tags" in table else ("*",),
            tags="tags" in table or "branches" not in table,
            default=next(iter(plain), "main"),
        )

    def _build(
        self,
        job: str,
        given: Mapping[str, Said],
        meta: Mapping[str, tuple[CarriedTags, tuple[str, ...]]],
    ) -> _Built:
        keys = self._keys(given)
        tags, references = CarriedTags(), list[str]()
        for line, text in plain_lines(given.get("tags")):
            output = _OUTPUT.fullmatch(_EXPRESSION.sub(r"\1", text))
            if output and output[1] in meta:
                tags, images = meta[output[1]]
                references += images
                continue
            filled = self._filled(text)
            if filled is None:
                self._leave(line, f"tags: {text}", "[tags] says which tags are written")
            else:
                references.append(filled)
                self._leave(line, f"the tag of {text}", "[tags] says which tags are written")
        if not references:  # pushed by digest, and joined by another job
            references += next((images for _, images in meta.values()), ())
            tags = next((found for found, _ in meta.values()), tags)
        name = self._name(keys, job)
        return _Built(name=name, keys=keys, references=tuple(dict.fromkeys(references)), tags=tags)

    def _name(self, keys: Mapping[str, object], job: str) -> str:
        """Name an image after its folder or file, else after the repository; jobs say `build`."""
        context, file = str(keys["context"]), str(keys["containerfile"])
        if context != ".":
            return context.rpartition("/")[2]
        parts = file.rpartition("/")[2].lower().split(".")
        return next((p for p in parts if p not in _KINDS), self.top or job)

    def _keys(self, given: Mapping[str, Said]) -> dict[str, object]:
        context, own = self._context(given.get("context"))
        file = self._plain(given.get("file"), "file")
        kept: dict[str, object] = {
            "context": context,
            # A file is named from the workspace, or from the folder of the action's own clone.
            "containerfile": below(context if own else "", file or "")
            if file
            else containerfile_of(context, ""),
        }
        for key, node in given.items():
            if key in ("context", "file", "tags"):
                continue
            found = self._value(key, node)
            if found is not None:
                name, value = found
                known = kept.get(name)
                if isinstance(known, tuple) and isinstance(value, tuple):
                    value = (*known, *value)
                kept[name] = value
            elif key == "labels" and _OUTPUT.search(node.text):
                continue
            elif key == "push" and node.text == "false":
                kept["publish"] = False
            elif key not in _NEEDLESS or (key == "outputs" and _ODD_OUTPUT.search(node.text)):
                self._leave(node.line, f"build-push-action: {key}", _HINTS.get(key) or way_for(key))
        return kept

    def _context(self, node: Said | None) -> tuple[str, bool]:
        """Give the folder, and whether it is one of the action's own clone."""
        own = node is None or node.text.startswith(_CLONE)
        if node is not None and own:
            node = replace(node, value=node.text.removeprefix(_CLONE).lstrip(":"))
        text = self._plain(node, "context")
        if text and not is_path(text):
            self._leave(node.line if node else 0, f"context: {text}", "clone it, name the folder")
            text = ""
        return below("", text or "."), own

    def _value(self, key: str, node: Said) -> tuple[str, object] | None:
        found: object = None
        match key:
            case "platforms":
                texts = [self._plainly(line, text, key) for line, text in node.lines()]
                every = (part.strip() for text in texts for part in text.split(","))
                found = tuple(filter(None, every))
            case "target":
                found = self._plain(node, key)
            case "build-args" | "build-contexts":
                found = self._pairs(node, key)
            case "labels" if not _OUTPUT.search(node.text):
                found = self._pairs(node, key)
            case "secrets" | "secret-envs" | "secret-files":
                found = tuple(self._secrets(key, node))
            case "ssh":
                # Where the agent is on a runner says nothing of other machines.
                lines = (text for _, text in node.lines())
                found = tuple(t.partition("=")[0] if "${{" in t else t for t in lines)
            case "network" if node.text in NETWORKS:
                found = node.text
            case _:
                return None
        named = {"build-contexts": "contexts", "secret-envs": "secrets", "secret-files": "secrets"}
        return named.get(key, key), found

    def _pairs(self, node: Said, key: str) -> dict[str, str]:
        found = {}
        for line, written in node.lines():
            text = written[1:-1] if written[:1] == written[-1:] == '"' else written
            name, equals, value = text.partition("=")
            filled = self._filled(value) if equals else None
            if filled is None:
                self._leave(line, f"{key}: {name}", _secret_hint(value))
            else:
                found[name] = filled
        return found

    def _secrets(self, key: str, node: Said) -> Iterator[dict[str, str]]:
        for line, text in node.lines():
            name, _, value = text.strip('"').partition("=")
            expression = _EXPRESSION.fullmatch(value)
            if key == "secret-files":
                yield {"id": name, "file": below("", value)}
            elif key == "secret-envs":
                yield {"id": name, "env": value}
            elif expression and _NAME.fullmatch(expression[1].rpartition(".")[2]):
                yield {"id": name, "env": expression[1].rpartition(".")[2]}
            else:
                self._leave(line, f"secrets: {name}", f'{{ id = "{name}", env = "NAME" }}')

    def _plain(self, node: Said | None, key: str) -> str:
        return self._plainly(node.line, node.text.strip(), key) if node else ""

    def _plainly(self, line: int, text: str, key: str) -> str:
        """Give a text that podbuild.toml takes without placeholders."""
        filled = self._filled(text)
        if filled is None or re.search(r"(?<!\{)\{env\.", filled):
            self._leave(line, f"{key}: {text}", "write its value")
            return ""
        return filled.replace("{{", "{").replace("}}", "}") if key != "context" else text_of(filled)

    def _filled(self, text: str) -> str | None:
        """Put values and `{env.NAME}` in the place of expressions; None for one that can't be."""
        parts, end = [], 0
        for found in _EXPRESSION.finditer(text):
            parts.append(_braces(text[end : found.start()]))
            end = found.end()
            value = self._evaluated(found[1])
            if value is None:
                return None
            parts.append(value)
        return "".join((*parts, _braces(text[end:])))

    def _evaluated(self, expression: str) -> str | None:
        if expression in self.values:
            return self.values[expression]
        room, _, name = expression.partition(".")
        known = {
            "github.repository": "{env.GITHUB_REPOSITORY}",
            "github.repository_owner": "{env.GITHUB_REPOSITORY_OWNER}",
            "github.sha": "{env.GITHUB_SHA}",
            "github.ref_name": "{env.GITHUB_REF_NAME}",
            "github.actor": "{env.GITHUB_ACTOR}",
            "github.run_number": "{env.GITHUB_RUN_NUMBER}",
        }
        if expression in known:
            return known[expression]
        if room in ("vars", "env") and _NAME.fullmatch(name):
            return f"{{env.{name}}}"
        return None

    def _leave(self, line: int, what: str, hint: str) -> None:
        self.left_out.append(LeftOut(line, what, hint))


def text_of(filled: str) -> str:
    """Give a text with its literal braces as they were."""
    return filled.replace("{{", "{").replace("}}", "}")


def _braces(text: str) -> str:
    """Keep {{...}} of the action's own, make other braces literal."""
    return text if "{{" in text else literal(text)


def _secret_hint(value: str) -> str:
    if "secrets." in value:
        return "a secret is no build argument: secrets = [...] and RUN --mount=type=secret"
    return "write its value, or {env.NAME}"


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
    counted = itertools.count(1)
    return {
        each.name if sum(o.name == each.name for o in found.values()) == 1
        else f"{each.name}-{next(counted)}": each
        for each in found.values()
    }  # fmt: skip


def _platforms(each: _Built) -> tuple[str, ...]:
    found = each.keys.get("platforms", ())
    return found if isinstance(found, tuple) else ()
