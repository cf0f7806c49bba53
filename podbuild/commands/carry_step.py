"""The inputs of docker/build-push-action as the keys of an image.

Source: docker/build-push-action, README.md, "inputs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from podbuild.commands.carry import (
    NETWORKS,
    LeftOut,
    below,
    containerfile_of,
    is_context,
    is_path,
    way_for,
)
from podbuild.commands.carry_expressions import Expressions, secret_variable
from podbuild.commands.carry_outputs import annotation_of, output_keys
from podbuild.commands.carry_yaml import Said

_LABELS = re.compile(
    r"\$\{\{\s*(?:steps|needs)\.[\w-]+\.outputs\.(?:\w*-)?(?:labels|annotations)\s*\}\}"
)
_ODD_OUTPUT = re.compile(r"push-by-digest|type=(?:local|tar|cacheonly)")
_PUSHED = re.compile(r"push=true|type=registry").search
_CLONE = "{{defaultContext}}"
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


@dataclass(kw_only=True)
class StepReader:
    """Reads the inputs of one step."""

    expressions: Expressions
    left_out: list[LeftOut]

    def keys(self, given: Mapping[str, Said]) -> dict[str, object]:
        """Give the keys; what has none is listed."""
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
            elif key not in _NEEDLESS:
                self._leave(node.line, f"build-push-action: {key}", _HINTS.get(key) or way_for(key))
        outputs = given.get("outputs", Said(0, ""))
        said = self._outputs(outputs)
        annotations = [each.get("annotations") for each in (said, kept)]
        kept |= said
        if any(annotations):
            tables = (each for each in annotations if isinstance(each, dict))
            kept["annotations"] = {name: text for each in tables for name, text in each.items()}
        loaded = _is(given, "load", "true") and "push" not in given and not _PUSHED(outputs.text)
        if _is(given, "push", "false") or loaded:
            kept["publish"] = False
        return kept

    def _outputs(self, node: Said) -> dict[str, object]:
        def leave(what: str) -> None:
            self._leave(node.line, f"outputs: {what}", "podbuild has no key for it")

        known = [self.expressions.filled(text) for _, text in node.lines()]
        keys = output_keys(filter(None, known), leave)
        if not all(known) or _ODD_OUTPUT.search(node.text):
            self._leave(node.line, "build-push-action: outputs", _HINTS["outputs"])
        return keys

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
                found = self.pairs(node, key)
            case "labels":
                found = self.pairs(node, key)
            case "annotations":
                found = self._annotations(node)
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

    def pairs(self, node: Said, key: str) -> dict[str, str]:
        """Give lines of `NAME=value`; what is not known of them is listed."""
        found = {}
        for line, written in node.lines():
            if _LABELS.fullmatch(written) or written.startswith("#"):
                continue  # of metadata-action: podbuild writes them itself
            text = written[1:-1] if written[:1] == written[-1:] == '"' else written
            name, equals, value = text.partition("=")
            filled = self.expressions.filled(value) if equals else None
            if filled is not None and key == "build-contexts" and not is_context(filled):
                self._leave(line, f"{key}: {name}", "clone it, and name the folder")
            elif filled is None:
                self._leave(line, f"{key}: {name}", _secret_hint(value))
            else:
                found[name] = filled
        return found

    def _annotations(self, node: Said) -> dict[str, str]:
        found = {}
        for line, text in node.lines():
            filled = self.expressions.filled(text)
            annotation = annotation_of(filled) if filled is not None else None
            if annotation:
                found[annotation[0]] = annotation[1]
            elif not _LABELS.fullmatch(text):
                self._leave(line, f"annotations: {text}", way_for("annotations"))
        return found

    def _secrets(self, key: str, node: Said) -> Iterator[dict[str, str]]:
        for line, text in node.lines():
            name, _, value = text.strip('"').partition("=")
            variable = secret_variable(value)
            if key == "secret-files":
                yield {"id": name, "file": below("", value)}
            elif key == "secret-envs":
                yield {"id": name, "env": value}
            elif variable:
                yield {"id": name, "env": variable}
            else:
                self._leave(line, f"secrets: {name}", f'{{ id = "{name}", env = "NAME" }}')

    def _plain(self, node: Said | None, key: str) -> str:
        return self._plainly(node.line, node.text.strip(), key) if node else ""

    def _plainly(self, line: int, text: str, key: str) -> str:
        """Give a text that podbuild.toml takes without placeholders."""
        filled = self.expressions.filled(text)
        if filled is None or re.search(r"(?<!\{)\{env\.", filled):
            self._leave(line, f"{key}: {text}", "write its value")
            return ""
        return filled.replace("{{", "{").replace("}}", "}")

    def _leave(self, line: int, what: str, hint: str) -> None:
        self.left_out.append(LeftOut(line, what, hint))


def _is(given: Mapping[str, Said], key: str, text: str) -> bool:
    return key in given and given[key].text == text


def _secret_hint(value: str) -> str:
    if "secrets." in value:
        return "a secret is no build argument: secrets = [...] and RUN --mount=type=secret"
    return "write its value, or {env.NAME}"
