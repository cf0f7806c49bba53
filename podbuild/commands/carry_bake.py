"""A bake file (HCL, or the JSON that `docker buildx bake --print` gives) as podbuild.toml.

The keys are those of Docker's bake reference. What its expressions say is known only where they
name variables; functions and conditions are listed instead.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
    named,
    secret_of,
    way_for,
)
from podbuild.errors import ConfigError, ToolError
from podbuild.system.records import parse_json

_REFERENCE = re.compile(r"\$\{\s*([^{}]*?)\s*\}")
_NAME = re.compile(r"[A-Za-z_]\w*")
_MERGED = ("args", "labels", "contexts")
_SAID = ("inherits", "matrix", "name", "description", "output", "tags")
_HINTS = {
    "attest": "podbuild's own statements come with a release",
    "annotations": '[images.NAME] annotations = { "key" = "value" }',
}


class _UnknownValueError(Exception):
    """An expression that is more than names of variables."""


def read_bake(path: Path, file: str) -> Carried:
    """Give what a bake file says.

    Raises ConfigError for what is no bake file, ToolError where HCL can't be read here.
    """
    text = path.read_text("utf-8")
    is_json = path.suffix == ".json"
    try:
        document = parse_json(text) if is_json else _hcl(text)
    except ValueError as error:
        raise ConfigError(
            f"{file}: {error}", hint="`docker buildx bake --print` reads it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}: its values stand too deep in each other") from None
    if not isinstance(document, dict) or not _blocks(document, "target"):
        raise ConfigError(f"{file}: there is no target in it", hint="a bake file names targets")
    return _Reader(document, text, is_json=is_json).carried()


def _hcl(text: str) -> object:
    try:
        hcl = importlib.import_module("hcl2")
    except ImportError:
        raise ToolError(
            "HCL is read with python-hcl2, which is not installed",
            hint="pip install 'podbuild[init]', or give the output of "
            "`docker buildx bake --print` as a .json file",
        ) from None
    try:
        return hcl.loads(text)
    except Exception as error:  # noqa: BLE001  # the parser's own, of many kinds
        raise ValueError(str(error).partition("\n")[0]) from None


def _blocks(document: Mapping[str, object], kind: str) -> dict[str, dict[str, object]]:
    """Give blocks by their names: JSON has a table of them, HCL's reader a list of tables."""
    found = document.get(kind)
    tables = found if isinstance(found, list) else [found]
    return {
        name.strip('"'): {key.strip('"'): value for key, value in block.items()}
        for table in tables
        if isinstance(table, dict)
        for name, block in table.items()
        if isinstance(block, dict)
    }


@dataclass
class _Reader:
    document: Mapping[str, object]
    text: str
    is_json: bool
    left_out: list[LeftOut] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    targets: dict[str, dict[str, object]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unpublished: frozenset[str] = frozenset()

    def carried(self) -> Carried:
        """Give everything."""
        self.targets = _blocks(self.document, "target")
        self.variables = dict(self._variables())
        expanded = [each for name in self._wanted() for each in self._expanded(name)]
        self.names = distinct_names(
            {
                name: image_name(self._texts(target.get("tags"), scope), name)
                for name, target, scope in expanded
            }
        )
        images = tuple(self._image(*each) for each in expanded)
        return Carried(images=images, left_out=tuple(self.left_out))

    def _variables(self) -> Iterator[tuple[str, str]]:
        for name, block in _blocks(self.document, "variable").items():
            try:
                value = self._text(block.get("default"), {})
            except _UnknownValueError:
                value = ""
            yield name, value or f"{{env.{name}}}"
            if value:
                self._leave(f"variable {name}", f"its default is taken; {{env.{name}}} reads it")

    def _wanted(self) -> Iterator[str]:
        """Give the targets of all groups, else those that no other one inherits."""
        groups = _blocks(self.document, "group")
        used = {each for group in groups.values() for each in self._texts(group.get("targets"))}
        inherited = {
            each for target in self.targets.values() for each in self._texts(target.get("inherits"))
        }
        chosen = used & self.targets.keys() or self.targets.keys() - inherited
        contexts = (self._merged(name).get("contexts") for name in chosen)
        values = (
            str(value).strip('"')
            for table in contexts
            if isinstance(table, dict)
            for value in table.values()
        )
        needed = {each.removeprefix("target:") for each in values if each.startswith("target:")}
        self.unpublished = frozenset(needed - chosen)
        for name in self.targets:
            if name in chosen or name in needed:
                yield name
            elif name not in inherited:
                self._leave(f"target {name}", "no group names it")

    def _merged(self, name: str) -> dict[str, object]:
        target = self.targets.get(name, {})
        found: dict[str, object] = {}
        for base in self._texts(target.get("inherits")):
            found = _over(found, self._merged(base))
        return _over(found, target)

    def _expanded(self, name: str) -> Iterator[tuple[str, dict[str, object], dict[str, str]]]:
        """Give a target once for each combination of its matrix."""
        target = self._merged(name)
        matrix = target.get("matrix")
        if not isinstance(matrix, dict):
            yield name, target, {}
            return
        axes = [[(axis.strip('"'), each) for each in values] for axis, values in matrix.items()]
        for chosen in itertools.product(*axes):
            scope = {axis: self._text(value, {}) for axis, value in chosen}
            title = self._text(target.get("name"), scope) or "-".join((name, *scope.values()))
            yield title, target, scope

    def _image(
        self, name: str, target: Mapping[str, object], scope: Mapping[str, str]
    ) -> CarriedImage:
        keys = dict(self._keys(name, target, scope))
        context = below(".", str(keys.pop("context", ".")))
        written = str(keys.pop("dockerfile", ""))
        keys = {"context": context, "containerfile": containerfile_of(context, written), **keys}
        if "args" in keys:
            keys["build-args"] = keys.pop("args")
        if "secret" in keys:
            keys["secrets"] = keys.pop("secret")
        if name in self.unpublished:
            keys["publish"] = False
        references = tuple(self._texts(target.get("tags"), scope))
        tags = target.get("tags")
        if isinstance(tags, list) and len(references) < len(tags):
            self._leave(f"target {name}: tags", "an expression is not known here", name, "tags")
        return CarriedImage(name=self.names[name], keys=keys, references=references)

    def _keys(
        self, name: str, target: Mapping[str, object], scope: Mapping[str, str]
    ) -> Iterator[tuple[str, object]]:
        for key, written in target.items():
            if key in _SAID or key.startswith("__") or written in (None, [], {}):
                continue
            try:
                value = self._value(key, written, scope)
            except _UnknownValueError:
                self._leave(f"target {name}: {key}", "its expression is not known here", name, key)
                continue
            if value is None:
                hint = _HINTS.get(key) or way_for(key)
                self._leave(f"target {name}: {key}", hint, name, key)
            else:
                yield key, value

    def _value(self, key: str, value: object, scope: Mapping[str, str]) -> object | None:
        """Give a key's value as podbuild.toml has it; None where it has none."""
        found: object | None = None
        match key:
            case "context" | "network" | "dockerfile" | "target":
                text = self._text(value, scope)
                fits = {"context": is_path(text), "network": text in NETWORKS}
                found = text if fits.get(key, True) else None
            case "platforms" | "ssh":
                found = tuple(self._strictly(value, scope))
            case "args" | "labels" if isinstance(value, dict):
                found = {
                    each.strip('"'): self._text(text, scope)
                    for each, text in value.items()
                    if text is not None and not each.startswith("__")
                }
            case "contexts" if isinstance(value, dict):
                names = {each.strip('"'): text for each, text in value.items()}
                found = {each: self._context(text, scope) for each, text in names.items()}
            case "secret":
                found = self._secrets(value, scope)
            case _:
                pass
        return found

    def _context(self, value: object, scope: Mapping[str, str]) -> str:
        text = self._text(value, scope)
        if text.startswith("target:"):
            target = text.removeprefix("target:")
            return f"image:{self.names.get(target, named(target))}"
        if not is_path(text) and not text.startswith("docker-image://"):
            raise _UnknownValueError
        return text

    def _secrets(self, value: object, scope: Mapping[str, str]) -> tuple[object, ...] | None:
        found = []
        for each in value if isinstance(value, list) else []:
            if isinstance(each, dict):
                parts = (f"{k.strip(chr(34))}={self._text(v, scope)}" for k, v in each.items())
                text = ",".join(parts)
            else:
                text = self._text(each, scope)
            secret = secret_of(text)
            if secret is None:
                return None
            found.append(secret)
        return tuple(found)

    def _texts(self, value: object, scope: Mapping[str, str] | None = None) -> Iterator[str]:
        """Give the texts that are known."""
        for each in value if isinstance(value, list) else []:
            try:
                yield self._text(each, scope or {})
            except _UnknownValueError:
                continue

    def _strictly(self, value: object, scope: Mapping[str, str]) -> Iterator[str]:
        if not isinstance(value, list):
            raise _UnknownValueError
        for each in value:
            yield self._text(each, scope)

    def _text(self, value: object, scope: Mapping[str, str]) -> str:
        """Give a value with variables put in; raises _UnknownValueError."""
        known = {**self.variables, **scope}
        match value:
            case None:
                return ""
            case bool():
                return str(value).lower()
            case int() | float():
                return str(value)
            case str() if self.is_json:
                return literal(value)
            case str() if value.startswith('"') and not value.startswith('"<<'):
                return _filled(value[1:-1].replace('\\"', '"'), known)
            case str():
                name = value.removeprefix("${").removesuffix("}").strip()
                if name not in known:
                    raise _UnknownValueError
                return known[name]
            case _:
                raise _UnknownValueError

    def _leave(self, what: str, hint: str, name: str = "", key: str = "") -> None:
        self.left_out.append(LeftOut(self._line(what, name, key), what, hint))

    def _line(self, what: str, name: str, key: str) -> int:
        """Find a block, and a key in it, in the text: its reader keeps no lines."""
        title = name or what.partition(" ")[2]
        titles = [title, *(each for each in self.targets_like(title))]
        for each in titles:
            block = re.search(rf'"{re.escape(each)}"\s*[:{{]', self.text)
            inner = re.compile(rf'^\s*"?{re.escape(key)}"?\s*[=:]', re.MULTILINE) if key else None
            place = block.start() if block else 0
            if inner and (found := inner.search(self.text, place)):
                place = found.end()
            if block:
                return self.text.count("\n", 0, place) + 1
        return 1

    def targets_like(self, title: str) -> Iterator[str]:
        """Give targets whose matrix may have made a name."""
        return (each for each in self.targets if title.startswith(each))


def _over(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Give a target over one that it inherits: tables are merged, all else is replaced."""
    found = {**base, **own}
    for key in _MERGED:
        tables = [each.get(key) for each in (base, own)]
        merged = [item for each in tables if isinstance(each, dict) for item in each.items()]
        if merged:
            found[key] = dict(merged)
    return found


def _filled(text: str, known: Mapping[str, str]) -> str:
    """Put values in the place of `${NAME}`; the rest is literal."""
    parts = []
    end = 0
    for found in _REFERENCE.finditer(text):
        if not _NAME.fullmatch(found[1]) or found[1] not in known:
            raise _UnknownValueError
        parts += [literal(text[end : found.start()]), known[found[1]]]
        end = found.end()
    return "".join((*parts, literal(text[end:])))
