"""A bake file (HCL, or the JSON that `docker buildx bake --print` gives) as podbuild.toml.

The keys are those of Docker's bake reference. What its expressions say is known only where they
need nothing but the file (carry_hcl); what needs the clock or the environment is listed instead.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
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
    inline_file,
    is_path,
    line_of_block,
    merged_images,
    merged_over,
    named,
    plain_keys,
    plain_text,
    secret_of,
    tag_of,
    way_for,
)
from podbuild.commands.carry_bake_values import BakeValues
from podbuild.commands.carry_hcl import (
    Function,
    NullError,
    UnknownValueError,
    Value,
    as_text,
    blocks_of,
    load_hcl,
)
from podbuild.commands.carry_outputs import annotation_of, makes_image, output_keys
from podbuild.errors import ConfigError
from podbuild.system.records import parse_json

_EVALUATE = "`docker buildx bake --print > bake.json` evaluates it, --from bake.json reads that"
_SAID = ("inherits", "matrix", "name", "description", "output", "tags")
_HINTS = {
    "context": "clone it, and name the folder",
}


def read_bake(path: Path, file: str) -> Carried:
    """Give what a bake file says.

    Raises ConfigError for what is no bake file, ToolError where HCL can't be read here.
    """
    text = path.read_text("utf-8")
    is_json = path.suffix == ".json"
    try:
        document = parse_json(text) if is_json else load_hcl(text)
    except ValueError as error:
        raise ConfigError(
            f"{file}: {error}", hint="`docker buildx bake --print` reads it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}: its values stand too deep in each other") from None
    if not isinstance(document, dict) or not blocks_of(document, "target"):
        raise ConfigError(f"{file}: there is no target in it", hint="a bake file names targets")
    return _Reader(document, is_json=is_json, written=text).carried()


@dataclass
class _Reader(BakeValues):
    written: str = ""
    left_out: list[LeftOut] = field(default_factory=list)
    targets: dict[str, dict[str, object]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unpublished: frozenset[str] = frozenset()
    origins: dict[str, str] = field(default_factory=dict)  # targets that a matrix made
    files: dict[str, str] = field(default_factory=dict)

    def carried(self) -> Carried:
        """Give everything."""
        self.targets = blocks_of(self.document, "target")
        self.functions = {
            name: Function(params=tuple(str(each) for each in params), result=block.get("result"))
            for name, block in blocks_of(self.document, "function").items()
            if isinstance(params := block.get("params"), list)
        }
        self.variables = dict(self._variables())
        expanded = [each for name in self._wanted() for each in self._expanded(name)]
        self.names = distinct_names(
            {
                name: image_name(filter(None, self.texts(target.get("tags"), scope)), name)
                for name, target, scope in expanded
            }
        )
        images = tuple(self._image(*each) for each in expanded)
        images = merged_images(images)
        return Carried(images=images, left_out=tuple(self.left_out), files=dict(self.files))

    def _variables(self) -> Iterator[tuple[str, Value]]:
        known: dict[str, Value] = {}
        for name, block in blocks_of(self.document, "variable").items():
            try:
                value = self.read(block["default"], known) if "default" in block else ""
            except UnknownValueError:
                value = ""
                hint = f"{{env.{name}}} is read, its default is an expression"
                self._leave(f"variable {name}", hint)
            known[name] = None if value is None else value or f"{{env.{name}}}"
            yield name, known[name]
            if not value and block.get("default") == '""':
                self._leave(f"variable {name}", f"{{env.{name}}} is read, and must be set")
            if value is None:
                hint = f"it is null, as all that it gives a value to; {{env.{name}}} reads it"
                self._leave(f"variable {name}", hint)
            elif value:
                reads = "" if isinstance(value, list) else f"; {{env.{name}}} reads it"
                self._leave(f"variable {name}", f"its default is taken{reads}")

    def _wanted(self) -> Iterator[str]:
        """Give the targets of all groups and those with tags; else those that none inherits."""
        groups = blocks_of(self.document, "group")
        used = {each for group in groups.values() for each in self.texts(group.get("targets"))}
        inherited = {
            each for target in self.targets.values() for each in self.texts(target.get("inherits"))
        }
        own = self.targets.keys() - inherited
        tagged = {name for name in own if self._merged(name).get("tags")}
        chosen = (used & self.targets.keys()) | tagged if used else own
        contexts = (self._merged(name).get("contexts") for name in chosen)
        values = (
            str(value).strip('"')
            for table in contexts
            if isinstance(table, dict)
            for value in table.values()
        )
        needed = {each.removeprefix("target:") for each in values if each.startswith("target:")}
        self.unpublished = frozenset(needed - chosen)
        merged = {base for name in chosen | needed for base in self._bases(name)}
        for name in self.targets:
            if name in chosen or name in needed:
                yield name
            elif name not in merged:
                self._leave(f"target {name}", "no group names it, and it has no tags")

    def _bases(self, name: str) -> Iterator[str]:
        for base in self.texts(self.targets.get(name, {}).get("inherits")):
            yield base
            yield from self._bases(base)

    def _merged(self, name: str) -> dict[str, object]:
        target = self.targets.get(name, {})
        found: dict[str, object] = {}
        for base in self.texts(target.get("inherits")):
            found = merged_over(found, self._merged(base))
        return merged_over(found, target)

    def _expanded(self, name: str) -> Iterator[tuple[str, dict[str, object], dict[str, Value]]]:
        """Give a target once for each combination of its matrix."""
        target = self._merged(name)
        matrix = target.get("matrix")
        if not isinstance(matrix, dict):
            yield name, target, {}
            return
        axes = []
        for axis, values in matrix.items():
            try:
                every = values if isinstance(values, list) else self._listed(values)
            except UnknownValueError:
                self._leave(f"target {name}: matrix {axis}", _EVALUATE, name, "matrix")
                continue
            axes.append([(axis.strip('"'), each) for each in every])
        for chosen in itertools.product(*axes):
            scope: dict[str, Value] = {}
            for axis, value in chosen:
                scope |= self._axis(name, axis, value)
            title = self._title(name, target.get("name"), scope)
            self.origins[title] = name
            yield title, target, scope

    def _listed(self, value: object) -> list[object]:
        """Give the values of an expression as they could be written."""
        found = [*self.strictly(value, {})]
        if any({*each} & {*'"\\{'} for each in found):
            raise UnknownValueError
        return [f'"{each}"' for each in found]

    def _axis(self, name: str, axis: str, value: object) -> dict[str, Value]:
        """Give a matrix's value by its name; one that is a table by each of its keys."""
        rows = {axis: value}
        if isinstance(value, dict):
            rows = {f"{axis}.{key.strip(chr(34))}": each for key, each in value.items()}
        try:
            return {key: self.read(each, {}) for key, each in rows.items()}
        except UnknownValueError:
            self._leave(f"target {name}: matrix {axis}", _EVALUATE, name, "matrix")
            return {}

    def _title(self, name: str, written: object, scope: Mapping[str, Value]) -> str:
        try:
            title = self.text(written, scope)
        except UnknownValueError:
            title = ""
        return title or "-".join(
            (name, *(named(each) for each in scope.values() if isinstance(each, str)))
        )

    def _image(
        self, name: str, target: Mapping[str, object], scope: Mapping[str, Value]
    ) -> CarriedImage:
        keys = dict(self._keys(name, target, scope))
        context = below(".", str(keys.pop("context", ".")))
        written = str(keys.pop("dockerfile", ""))
        inline = plain_text(str(keys.pop("dockerfile-inline", "")))
        keys = {"context": context, "containerfile": containerfile_of(context, written), **keys}
        if inline:
            keys["containerfile"] = path = inline_file(self.names[name])
            self.files[path] = inline
        if "args" in keys:
            keys["build-args"] = keys.pop("args")
        if "secret" in keys:
            keys["secrets"] = keys.pop("secret")
        for each in self.texts(target.get("platforms"), scope):
            if not each.startswith(("linux/", "local", "{env.")):
                self._leave(f"target {name}: {each}", "images are for Linux", name, "platforms")
        keys = plain_keys(keys, lambda key, hint: self._leave_key(name, key, hint))
        outputs = [*self._outputs(name, target, scope)]
        said = output_keys(
            outputs, lambda what: self._leave_key(name, "output", f"{what}: {way_for(what)}")
        )
        keys |= said | {"annotations": {**_dict(said), **_dict(keys)}}
        if name in self.unpublished or self._stays(name, outputs):
            keys["publish"] = False
        written_tags = target.get("tags")
        known = tuple(self.texts(written_tags, scope))
        references = tuple(filter(None, known))
        least = len(written_tags) if isinstance(written_tags, list) else bool(written_tags)
        if len(known) < least:
            self._leave(f"target {name}: tags", _EVALUATE, name, "tags")
        for each in references:
            tag = tag_of(each)
            if not re.match(r"$|latest|.*[\d{]", tag):
                hint = "[tags] says which tags are written"
                self._leave(f"target {name}: tag {tag}", hint, name, "tags")
        return CarriedImage(name=self.names[name], keys=keys, references=references)

    def _leave_key(self, name: str, key: str, hint: str) -> None:
        key = {"containerfile": "dockerfile", "secrets": "secret"}.get(key, key)
        self._leave(f"target {name}: {key}", hint, name, key)

    def _outputs(
        self, name: str, target: Mapping[str, object], scope: Mapping[str, Value]
    ) -> Iterator[str]:
        written = target.get("output")
        for each in written if isinstance(written, list) else []:
            try:
                if isinstance(each, dict):
                    yield self.row(each, scope)
                else:
                    yield from self.strictly(each, scope)
            except UnknownValueError:
                self._leave(f"target {name}: output", _EVALUATE, name, "output")

    def _stays(self, name: str, outputs: Iterable[str]) -> bool:
        """Tell whether none of a target's outputs is an image; says so."""
        if makes_image(outputs):
            return False
        if name not in self.unpublished:
            hint = "it makes no image to publish: publish = false stands for it"
            self._leave(f"target {name}: output", hint, name, "output")
        return True

    def _keys(
        self, name: str, target: Mapping[str, object], scope: Mapping[str, Value]
    ) -> Iterator[tuple[str, object]]:
        for key, written in target.items():
            if key in _SAID or key.startswith("__") or written in (None, [], {}):
                continue
            try:
                value: object
                if key in ("args", "labels", "contexts"):
                    value = self._known(name, key, written, scope)
                else:
                    value = self._value(key, written, scope)
            except NullError:
                continue
            except UnknownValueError:
                self._leave(f"target {name}: {key}", _EVALUATE, name, key)
                continue
            if value is None:
                hint = _HINTS.get(key) or way_for(key)
                self._leave(f"target {name}: {key}", hint, name, key)
            else:
                yield key, value

    def _value(self, key: str, value: object, scope: Mapping[str, Value]) -> object | None:
        """Give a key's value as podbuild.toml has it; None where it has none."""
        found: object | None = None
        match key:
            case "context" | "network" | "dockerfile" | "target":
                text = self.text(value, scope)
                fits = {"context": is_path(text), "network": text in NETWORKS}
                found = text if fits.get(key, True) else None
            case "dockerfile-inline" if plain_text(text := self.text(value, scope)):
                found = text
            case "ssh":
                found = tuple(self.strictly(value, scope))
            case "platforms":
                every = (each for each in self.strictly(value, scope) if each != "local")
                found = tuple(each for each in every if each.startswith(("linux/", "{env.")))
            case "annotations":
                pairs = [annotation_of(text) for text in self.strictly(value, scope)]
                found = dict(filter(None, pairs)) if all(pairs) else None
            case "secret":
                found = self._secrets(value, scope)
            case _:
                pass
        return found

    def _known(
        self, name: str, key: str, value: object, scope: Mapping[str, Value]
    ) -> dict[str, str]:
        """Give a table without what is not known, which is listed."""
        read = self._context if key == "contexts" else self.text
        if not isinstance(value, dict):
            as_text(self.read(value, scope))  # null alone is known of an expression
            raise UnknownValueError
        found = {}
        for written, text in value.items():
            each = written.strip('"')
            if text is None or each.startswith("__"):
                continue
            try:
                found[each] = read(text, scope)
            except NullError:
                continue
            except UnknownValueError:
                self._leave(f"target {name}: {key}", f"{each}: {_EVALUATE}", name, key)
        return found

    def _context(self, value: object, scope: Mapping[str, Value]) -> str:
        text = self.text(value, scope)
        if text.startswith("target:"):
            target = text.removeprefix("target:")
            return f"image:{self.names.get(target, named(target))}"
        if not is_path(text) and not text.startswith("docker-image://"):
            raise UnknownValueError
        return text

    def _secrets(self, value: object, scope: Mapping[str, Value]) -> tuple[object, ...] | None:
        found = []
        for each in value if isinstance(value, list) else []:
            text = self.row(each, scope) if isinstance(each, dict) else self.text(each, scope)
            secret = secret_of(text)
            if secret is None:
                return None
            found.append(secret)
        return tuple(found)

    def _leave(self, what: str, hint: str, name: str = "", key: str = "") -> None:
        """List something once, by the target that stands in the file."""
        origin = self.origins.get(name, name)
        what = what.replace(f"target {name}:", f"target {origin}:", 1)
        found = LeftOut(self._line(what, origin, key), what, hint)
        if found not in self.left_out:
            self.left_out.append(found)

    def _line(self, what: str, name: str, key: str) -> int:
        return line_of_block(self.written, name or what.partition(" ")[2], key)


def _dict(keys: Mapping[str, object]) -> dict[str, object]:
    found = keys.get("annotations")
    return dict(found) if isinstance(found, dict) else {}
