"""References to a project's images in deployment files, pinned in place: by text, again and again.

What is pinned: `image:` in YAML and JSON (Kubernetes, compose), `repository`, `tag` and `digest` of
Helm values, `images:` of a kustomization, `image =` in TOML and HCL, variables in env files.
Comments, quotes, order and line ends stay. What names an image of ours in another way is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from podbuild.errors import PodbuildError
from podbuild.oci.names import DOCKER_HUB, Repository, is_registry
from podbuild.report import pairs
from podbuild.report.json import LockedImage
from podbuild.report.pairs import Pair

_REFERENCE = re.compile(
    r"(?P<name>(?:[^\s:@/\"'$]+(?::\d+)?/)?[^\s:@\"'$]+)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?(?:@sha256:[0-9a-f]+)?"
)
_YAML = frozenset({".yaml", ".yml", ".json", ".tpl"})
_KUSTOMIZATION = frozenset({"kustomization.yaml", "kustomization.yml", "kustomization"})
_NAMED_IMAGE = frozenset({".toml", ".hcl", ".tf", ".tfvars", ".nomad"})
# In languages of which only one key is known; and in lists of variables, where any will do.
_ASSIGNED = re.compile(
    r"(?<![\w.-])[\"']?(?:\w+[_-])?image[\"']?[ \t]*[=:][ \t]*(?P<quote>[\"'])"
    r"(?P<value>[^\"'\n]+)(?P=quote)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"^[ \t]*(?:export[ \t]+)?[A-Za-z_]\w*[ \t]*=[ \t]*(?P<quote>[\"']?)"
    r"(?P<value>[^\s\"'#]+)(?P=quote)[ \t\r]*(?:[ \t]#.*)?$",
    re.MULTILINE,
)
_STAYS_TEXT = re.compile(r"\d+\.\d+\.\d+.*|[A-Za-z_][\w.-]*")  # to YAML, without quotes
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True, kw_only=True)
class PinChange:
    """A reference that names something else than it should."""

    line: int
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class PinnedText:
    """A text as it should be, and what is different in it."""

    text: str
    found: int  # references of ours
    changes: tuple[PinChange, ...]
    unlocked: tuple[tuple[int, str], ...]  # line, image: ours, and not released under that name
    unread: tuple[int, ...]  # lines that name ours in a way that is not understood


@dataclass(frozen=True)
class Names:
    """The images that repositories hold; None for one that has no such version."""

    by_repository: Mapping[str, tuple[str, LockedImage | None]]  # the image's name first

    def find(self, written: str) -> tuple[str, LockedImage | None] | None:
        """Give the image that a name without a tag is of, also in Docker Hub's short forms."""
        first = written.partition("/")[0]
        whole = written if "/" in written and is_registry(first) else f"{DOCKER_HUB}/{written}"
        try:
            return self.by_repository.get(str(Repository.parse(whole)))
        except PodbuildError:
            return None


@dataclass(frozen=True)
class _Edit:
    """A piece of text to be put in place of another one; both shown to people."""

    start: int
    end: int
    new: str
    before: str
    after: str


class _Pinner:
    """Pins one text."""

    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.edits: list[_Edit] = []
        self.unlocked: list[tuple[int, str]] = []
        self.known: list[tuple[int, int]] = []  # spans that are understood

    def reference(self, start: int, end: int) -> None:
        """Pin `name[:tag][@digest]`, if it is one of ours; what it is quoted with stays."""
        written = self.text[start:end]
        match = _REFERENCE.fullmatch(written)
        image = self._locked(match["name"], start, end) if match else None
        if match and image:
            new = f"{match['name']}:{image.tag}@{image.digest}"
            self._edit(start, end, new, written, new)

    def parts(self, mapping: pairs.Mapping, name: Pair, whole: str, tag: str) -> None:
        """Set tag and digest beside a name."""
        image = self._locked(whole, name.start, name.end)
        if image:
            self._set(mapping, tag, image.tag, name)
            self._set(mapping, "digest", str(image.digest), mapping.pair(tag) or name)

    def _locked(self, name: str, start: int, end: int) -> LockedImage | None:
        found = self.names.find(name)
        if found is None:
            return None
        self.known.append((start, end))
        if found[1] is None:
            self.unlocked.append((self._line(start), found[0]))
        return found[1]

    def _set(self, mapping: pairs.Mapping, key: str, value: str, after: Pair) -> None:
        pair = mapping.pair(key)
        if pair:
            quote = pair.quote or _quote(value)
            gap = " " if self.text[pair.start - 1 : pair.start] == ":" else ""
            new = f"{gap}{quote}{value}{quote}"
            self._edit(pair.start, pair.end, new, pair.value, value, f"{key}: ")
            return
        quote = after.key_quote or _quote(value)
        line = f"{after.key_quote}{key}{after.key_quote}: {quote}{value}{quote}"
        if mapping.column < 0:
            self._edit(after.end, after.end, f", {line}", "", value, f"{key}: ")
            return
        ends = self.text.find("\n", after.end)
        at = len(self.text) if ends < 0 else ends
        line_end = "\r\n" if self.text[at - 1 : at] == "\r" else "\n"
        at -= len(line_end) - 1
        new = f"{line_end}{' ' * mapping.column}{line}"
        self._edit(at, at, new, "", value, f"{key}: ")

    def _edit(  # where, what, and how both are shown
        self, start: int, end: int, new: str, before: str, after: str, key: str = ""
    ) -> None:
        if self.text[start:end] != new and (before != after or start == end):
            self.edits.append(_Edit(start, end, new, f"{key}{before}", f"{key}{after}"))

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def pinned(self) -> PinnedText:
        """Give the text with all that was found put right."""
        text = self.text
        in_order = sorted(self.edits, key=lambda edit: edit.start)
        for each in reversed(in_order):
            text = text[: each.start] + each.new + text[each.end :]
        changes = (
            PinChange(line=self._line(each.start), before=each.before, after=each.after)
            for each in in_order
        )
        return PinnedText(
            text=text,
            found=len(self.known),
            changes=tuple(changes),
            unlocked=tuple(self.unlocked),
            unread=tuple(dict.fromkeys(self._unread())),
        )

    def _unread(self) -> Iterator[int]:
        for repository in self.names.by_repository:
            for found in re.finditer(rf"(?<![\w./-]){re.escape(repository)}(?![\w./-])", self.text):
                begin = self.text.rfind("\n", 0, found.start()) + 1
                before = self.text[begin : found.start()]
                said = re.search(r"(?:^|[ \t])(?:#|//)", before)
                if not said and not any(a <= found.start() < b for a, b in self.known):
                    yield self._line(found.start())


def pin_text(text: str, file: PurePath, names: Names) -> PinnedText:
    """Give what a file should say: every reference of ours with this tag and digest.

    The name of the file tells in which language it is written.
    """
    pinner = _Pinner(text, names)
    if file.suffix.lower() in _YAML or file.name.lower() in _KUSTOMIZATION:
        _pin_yaml(pinner, file)
    else:
        only = file.suffix.lower() in _NAMED_IMAGE
        for found in (_ASSIGNED if only else _VARIABLE).finditer(text):
            begin = text.rfind("\n", 0, found.start()) + 1
            if not re.search(r"(?:^|[ \t])(?:#|//)", text[begin : found.start()]):
                pinner.reference(*found.span("value"))
    return pinner.pinned()


def _pin_yaml(pinner: _Pinner, file: PurePath) -> None:
    found = pairs.mappings(pinner.text)
    kinds = {each.value("kind") for each in found if each.column == 0}
    customises = file.name.lower() in _KUSTOMIZATION or kinds & {"Kustomization", "Component"}
    for mapping in found:
        if customises and mapping.parent == "images":
            name = mapping.pair("newName") or mapping.pair("name")
            if name:
                pinner.parts(mapping, name, name.value, "newTag")
            continue
        for pair in mapping.pairs:
            if pair.key == "image":
                inside = len(pair.quote)
                pinner.reference(pair.start + inside, pair.end - inside)
        name = mapping.pair("repository")
        if name and _is_chart_image(mapping):
            registry = mapping.value("registry")
            whole = f"{registry}/{name.value}" if registry else name.value
            pinner.parts(mapping, name, whole, "tag")


def _is_chart_image(mapping: pairs.Mapping) -> bool:
    named = mapping.parent.lower().endswith("image")
    return named or any(mapping.pair(key) for key in ("tag", "digest"))


def _quote(value: str) -> str:
    """Give the quotes that a value needs to be text to YAML: 2026.11 would be a number."""
    plain = value.startswith("sha256:") or (
        _STAYS_TEXT.fullmatch(value) and value.lower() not in _NOT_TEXT
    )
    return "" if plain else '"'
