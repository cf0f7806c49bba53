"""A compose file as podbuild.toml: its services with `build`, by the compose specification."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
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
    literal,
    merged_images,
    plain_keys,
    plain_text,
    way_for,
)
from podbuild.commands.carry_yaml import Said, read_yaml
from podbuild.errors import ConfigError

_VARIABLE = re.compile(
    r"\$\$|\$(?P<bare>[A-Za-z_]\w*)"
    r"|\$\{(?P<name>[A-Za-z_]\w*)(?::?(?P<sign>[-?+])(?P<word>(?:[^{}]|\{[^{}]*\})*))?\}"
)
_HINTS = {
    "tags": "[tags] says which tags are written",
}


def read_compose(path: Path, file: str, folder: str) -> Carried:
    """Give what a compose file says; `folder` is its own, from the project's on.

    Raises ConfigError for what is no compose file, ToolError where YAML can't be read here.
    """
    document = read_yaml(path, file)
    if "services" not in document.table:
        raise ConfigError(
            f"{file}: neither a compose file nor a workflow: it names no services and no jobs",
            hint="podbuild init without --from guesses from the Containerfiles",
        )
    services = document.table.get("services", Said(1, "")).table
    building = {name: each for name, each in services.items() if "build" in each.table}
    if not building:
        raise ConfigError(f"{file}: no service has a build", hint="a compose file names some")
    return _Compose(document, building, folder).carried()


@dataclass
class _Compose:
    document: Said
    services: Mapping[str, Said]
    folder: str
    left_out: list[LeftOut] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def carried(self) -> Carried:
        """Give everything."""
        self._elsewhere()
        references = {name: self._references(name, each) for name, each in self.services.items()}
        self.names = distinct_names(
            {name: image_name(references[name], name) for name in self.services}
        )
        images = []
        for name, service in self.services.items():
            build = service.table["build"]
            keys = dict(self._keys(name, build))
            if inline := plain_text(str(keys.pop("dockerfile-inline", ""))):
                keys["containerfile"] = path = inline_file(self.names[name])
                self.files[path] = inline
            if platform := service.table.get("platform"):
                text = self._text(platform, f"service {name}: platform")
                keys.setdefault("platforms", (text,))
            keys = plain_keys(keys, partial(self._leave_key, name, build))
            images.append(
                CarriedImage(name=self.names[name], keys=keys, references=references[name])
            )
        return Carried(
            images=merged_images(images), left_out=tuple(self.left_out), files=dict(self.files)
        )

    def _leave_key(self, service: str, build: Said, key: str, hint: str) -> None:
        written = "dockerfile" if key == "containerfile" else key
        node = build.table.get(written, build.table.get("context", build))
        self._leave(node, f"service {service}: build.{written}", hint)

    def _elsewhere(self) -> None:
        """List what stands in other files or services."""
        top = self.document.table
        for each in top["include"].items if "include" in top else ():
            path = each.text or each.table.get("path", each).text
            several = each.table.get("path", each).items
            path = path or ", ".join(one.text for one in several)
            self._leave(each, f"include {path}".rstrip(), "--from that file, in its folder")
        for name, service in top.get("services", Said(1, "")).table.items():
            if "extends" in service.table:
                hint = "write what it takes from there"
                self._leave(service.table["extends"], f"service {name}: extends", hint)

    def _references(self, name: str, service: Said) -> tuple[str, ...]:
        """Give the image and the further tags of a service."""
        tags = service.table["build"].table.get("tags", Said(0, "")).items
        named = [service.table["image"]] if "image" in service.table else []
        return tuple(self._text(each, f"service {name}: image") for each in (*named, *tags))

    def _keys(self, name: str, build: Said) -> Iterator[tuple[str, object]]:
        where = f"service {name}: build"
        table = build.table or {"context": build}
        context = self._text(table["context"], where) if "context" in table else "."
        if not is_path(context):
            self._leave(table["context"], f"{where}: context", "clone it, and name the folder")
            context = "."
        context = below(self.folder, context)
        file = table.get("dockerfile")
        yield "context", context
        yield "containerfile", containerfile_of(context, self._text(file, where) if file else "")
        for key, node in table.items():
            if key in ("context", "dockerfile"):
                continue
            found = self._value(key, node, where)
            if found is None:
                self._leave(node, f"{where}.{key}", _HINTS.get(key) or way_for(key))
            else:
                yield found

    def _value(self, key: str, node: Said, where: str) -> tuple[str, object] | None:
        found: tuple[str, object] | None = None
        match key:
            case "args":
                found = "build-args", self._pairs(node, where)
            case "labels":
                found = key, self._pairs(node, where, alone="")
            case "target":
                found = key, self._text(node, where)
            case "dockerfile_inline" if plain_text(text := self._text(node, where)):
                found = "dockerfile-inline", text
            case "ssh" if node.table:
                rows = ((name, self._text(each, where)) for name, each in node.table.items())
                found = key, tuple(f"{name}={path}" if path else name for name, path in rows)
            case "platforms" | "ssh" if node.items and all(each.text for each in node.items):
                found = key, tuple(self._text(each, where) for each in node.items)
            case "network" if node.text in NETWORKS:
                found = key, node.text
            case "additional_contexts":
                found = "contexts", dict(self._contexts(node, where))
            case "secrets":
                found = "secrets", tuple(self._secrets(node, where))
            case _:
                pass
        return found

    def _pairs(self, node: Said, where: str, alone: str = "${%s}") -> dict[str, str]:
        """Give `KEY: value` or `KEY=value`; a key alone takes the environment's value."""
        rows = [
            (name, alone.replace("%s", name) if each.is_null else each.text, each)
            for name, each in node.table.items()
        ]
        for each in node.items:
            name, equals, value = each.text.partition("=")
            if name:
                rows.append((name, value if equals else alone.replace("%s", name), each))
            else:
                self._leave(each, f"{where}: {', '.join(each.table)}", "write it as KEY=VALUE")
        return {name: self._filled(value, each, where) for name, value, each in rows}

    def _contexts(self, node: Said, where: str) -> Iterator[tuple[str, str]]:
        rows = [(name, each.text, each) for name, each in node.table.items()]
        rows += [(*each.text.partition("=")[::2], each) for each in node.items]
        for name, value, each in rows:
            text = self._filled(value, each, where)
            service = text.removeprefix("service:")
            if service in self.names and service != text:
                yield name, f"image:{self.names[service]}"
            elif service != text:
                self._leave(each, f"{where}.additional_contexts: {name}", f"{service} has no build")
            elif text.startswith("docker-image://"):
                yield name, text
            elif is_path(text):
                yield name, below(self.folder, text)
            else:
                self._leave(each, f"{where}.additional_contexts: {name}", "clone it")

    def _secrets(self, node: Said, where: str) -> Iterator[dict[str, str]]:
        known = self.document.table.get("secrets", Said(1, "")).table
        for each in node.items:
            name = each.text or each.table.get("source", each).text
            secret = known.get(name, each).table
            if "environment" in secret:
                yield {"id": name, "env": secret["environment"].text}
            elif "file" in secret:
                yield {"id": name, "file": below(self.folder, self._text(secret["file"], where))}
            else:
                self._leave(each, f"{where}.secrets: {name}", 'secrets = [{ id = "x", env = "X" }]')

    def _text(self, node: Said, where: str) -> str:
        return self._filled(node.text, node, where)

    def _filled(self, text: str, node: Said, where: str) -> str:
        """Put `{env.NAME}` or the default in the place of a variable."""
        parts, end = [], 0
        for found in _VARIABLE.finditer(text):
            parts.append(literal(text[end : found.start()]))
            end = found.end()
            name = found["bare"] or found["name"]
            if name is None:
                parts.append("$")
            elif found["sign"] == "-":
                parts.append(self._filled(found["word"], node, where))
                self._leave(
                    node, f"{where}: ${name}", f"its default is taken; {{env.{name}}} reads it"
                )
            elif found["sign"] == "+":
                self._leave(node, f"{where}: {found[0]}", "it is taken as not set")
            else:
                parts.append(f"{{env.{name}}}")
        return "".join((*parts, literal(text[end:])))

    def _leave(self, node: Said, what: str, hint: str) -> None:
        found = LeftOut(node.line, what, hint)
        if found not in self.left_out:
            self.left_out.append(found)
