"""Tags of docker/metadata-action as rules of [tags]: docs/metadata-action.md is the table.

Source: docker/metadata-action, README.md, "tags input" and "flavor input".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podbuild.commands.carry import LeftOut
from podbuild.commands.carry_yaml import Said

_PATTERN = re.compile(r"\{\{\s*(\w+)(?:\s+'([^']*)')?\s*\}\}")
_DEFAULT = ("type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr")
_IS_DEFAULT_BRANCH = re.compile(r"\{\{\s*is_default_branch\s*\}\}|(?!.*!).*default_branch.*")
_ON_BRANCH = re.compile(  # github.ref == 'refs/heads/main'
    r"\$\{\{\s*github\.ref(?:_name)?\s*==\s*"
    r"(?:format\('refs/heads/\{0\}',\s*)?'(?:refs/heads/)?(?P<name>[\w./-]+)'\)?\s*\}\}"
)
_ON_TAGS = re.compile(
    r"\$\{\{\s*(?:startsWith\(github\.ref,\s*'refs/tags/v?'\)|github\.ref_type\s*==\s*'tag')\s*\}\}"
)
_NO_PULL = re.compile(r"\$\{\{\s*github\.event_name\s*!=\s*'pull_request'\s*\}\}")
_NOT_BEFORE_1 = re.compile(r"\$\{\{\s*!\s*startsWith\(github\.ref,\s*'refs/tags/v?0\.'\)\s*\}\}")
_MAJOR = re.compile(r"\{\{\s*major\s*\}\}")
_AFFIXES = ("prefix", "suffix")
_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
_PLATFORM = re.compile(
    r"[-_](?:linux[-_])?(?:amd64|x86_64|arm64|aarch64|arm|armv[67]|386|ppc64le|s390x|riscv64)"
)
_DAY = ("YYYYMMDD",)


@dataclass(kw_only=True)
class CarriedTags:
    """What [tags] says of one image, as it is found line by line."""

    release: list[str] = field(default_factory=list)
    branches: dict[str, list[str]] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)
    schedule: list[str] = field(default_factory=list)
    prefix: str = ""
    suffix: str = ""

    def keys(self) -> dict[str, object]:
        """Give the keys of [tags], or of an image's own."""
        found: dict[str, object] = {
            "release": tuple(dict.fromkeys(self.release)),
            "branches": {
                name: tuple(dict.fromkeys(tags)) for name, tags in self.branches.items() if tags
            },
            "pull-requests": tuple(dict.fromkeys(self.pulls)),
            "schedule": tuple(dict.fromkeys(self.schedule)),
            "prefix": self.prefix,
            "suffix": self.suffix,
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, kw_only=True)
class Triggers:
    """What starts a workflow: branches, tags; and the branch that counts as the default."""

    branches: tuple[str, ...] = ()
    tags: bool = False
    default: str = "main"


@dataclass(kw_only=True)
class MetadataReader:
    """Reads the inputs of one step; `filled` gives a text without expressions, or None."""

    triggers: Triggers
    filled: Callable[[str], str | None]
    left_out: list[LeftOut]
    found: CarriedTags = field(default_factory=CarriedTags)
    written: dict[str, tuple[str, bool]] = field(default_factory=dict)  # into each tag of its own

    def read(self, tags: Said | None, flavor: Said | None) -> CarriedTags:
        """Give the rules."""
        where = 0
        rows = [*tags.lines()] if tags else [(flavor.line if flavor else 0, t) for t in _DEFAULT]
        latest = self._flavor(flavor, [_attributes(text) for _, text in rows])
        for line, text in rows:
            if not text.startswith("#"):
                self._rule(line, _attributes(text), text)
                where = line if "latest" in text else where
        found = self.found
        named = any("version" in each or "major" in each for each in found.release)
        if latest == "true" or (latest == "auto" and named):
            if any("latest" in each for each in found.branches.values()):
                for each in found.branches.values():
                    each[:] = [tag for tag in each if tag != "latest"]
                self._leave(
                    where, "tags: latest of a branch", "releases have it: give the branch edge"
                )
            affix = {name: text if on else "" for name, (text, on) in self.written.items()}
            found.release.append(f"{affix.get('prefix', '')}latest{affix.get('suffix', '')}")
        return found

    def _flavor(self, flavor: Said | None, rules: Sequence[Mapping[str, str]]) -> str:
        """Give what it says of latest; a tag's own affix stands in the flavor's place."""
        latest = "auto"
        for line, text in flavor.lines() if flavor else ():
            given = _attributes(text)
            latest = given.get("latest", latest)
            if latest not in ("auto", "true", "false"):
                filled = self.filled(latest)
                if filled not in ("auto", "true", "false"):
                    self._leave(line, f"flavor: latest={latest}", "it is taken as false")
                latest = filled or "false"
            for name in _AFFIXES:
                value = given.get(name)
                if value:
                    own = any(name in each or _standing(each, name) for each in rules)
                    on_latest = given.get("onlatest") == "true"
                    self._affix(line, name, value, on_latest=on_latest, own=own)
        return latest

    def _affix(self, line: int, name: str, value: str, *, on_latest: bool, own: bool) -> None:
        text = self.filled(value)
        if text == "":  # of a matrix
            return
        filled = _template(text or "")
        if filled is None or (not own and "{" in filled):
            self._leave(line, f"flavor: {name}={value}", f"[tags] {name} is a plain text")
            return
        if own:
            self.written[name] = (filled, on_latest)
            return
        setattr(self.found, name, filled)
        if not on_latest:
            self._leave(line, f"flavor: latest without the {name}", f"{name} stands on latest too")

    def _rule(self, line: int, given: Mapping[str, str], text: str) -> None:
        enable = given.get("enable", "true")
        on_branch = _ON_BRANCH.fullmatch(enable)
        only = on_branch["name"] if on_branch else ""
        if _IS_DEFAULT_BRANCH.fullmatch(enable):
            only = self.triggers.default
        if enable == "false":
            return
        kind = given.get("type", "raw" if "value" in given or len(given) == 1 else "")
        kind = given.get("event", "") if kind == "ref" else kind
        if enable != "true" and not _means_nothing_else(enable, kind, only, given):
            self._leave(line, f"tags: enable={enable}", "the rule is taken without its condition")
        taken = self._take(line, kind, given, only)
        of_branches = self.triggers.branches and not only and not _ON_TAGS.fullmatch(enable)
        if taken and kind == "raw" and of_branches:
            hint = "a tag belongs to releases or to one branch: branches = { main = [...] }"
            self._leave(line, f"tags: {text} of branches", hint)
        if not taken:
            self._leave(
                line, f"tags: {text}", _WAYS.get(kind, "[tags] says which tags are written")
            )

    def _take(self, line: int, kind: str, given: Mapping[str, str], only: str) -> bool:
        """Put a rule where it belongs, on one branch `only` or on all.

        False for one that can't be said.
        """
        tag = self._tag(kind, given)
        prefix, suffix = (self._own_affix(name, given) for name in _AFFIXES)
        if tag is None or prefix is None or suffix is None:
            return False
        if _PLATFORM.fullmatch(suffix):
            self._leave(line, f"tags: suffix={suffix}", "a tag names the index of all platforms")
            suffix = ""
        tag = f"{prefix}{tag}{suffix}"
        if "{branch}" in tag and kind in ("raw", "semver", "tag", "pr"):
            return False
        match kind:
            case "branch":
                self._branches((only,) if only else self.triggers.branches, tag)
            case "sha" if not only:
                self._sha(line, tag)
            case "edge":
                self._branches((given.get("branch", self.triggers.default),), tag)
            case "pr":
                self.found.pulls.append(tag)
            case "schedule":
                self.found.schedule.append(tag)
            case "raw" | "sha" if only:
                self._branches((only,), tag)
            case _:
                self.found.release.append(tag)
        return True

    def _own_affix(self, name: str, given: Mapping[str, str]) -> str | None:
        """Give a rule's prefix or suffix, else the flavor's where it stands in each tag."""
        text = given.get(name, _standing(given, name))
        if name not in given and not text:
            return self.written.get(name, ("", False))[0]
        return "" if not text else _template(self.filled(text) or "")

    def _sha(self, line: int, tag: str) -> None:
        """Put it on pushes to branches: a tag belongs to those, or to releases."""
        self._branches(self.triggers.branches, tag)
        if self.triggers.tags and self.triggers.branches:
            self._leave(
                line, f"tags: {tag} of releases", "the push of its commit to a branch has it"
            )
        elif self.triggers.tags:
            self.found.release.append(tag)

    def _tag(self, kind: str, given: Mapping[str, str]) -> str | None:
        found: str | None = None
        match kind:
            case "semver" | "pep440" if "value" not in given:
                found = _template(given.get("pattern", ""))
            case "branch" | "tag" | "pr":
                found = {"branch": "{branch}", "tag": "v{version}", "pr": "{pr}"}[kind]
            case "edge":
                found = "edge"
            case "sha" if given.get("format", "short") == "short":
                found = "{sha}"
            case "schedule":
                found = _template(given.get("pattern", "nightly"))
            case "raw":
                found = _template(self.filled(given.get("value", "")) or "")
            case _:
                pass
        return found

    def _branches(self, names: Iterable[str], tag: str) -> None:
        for name in names:
            self.found.branches.setdefault(name.replace("**", "*"), []).append(tag)

    def _leave(self, line: int, what: str, hint: str) -> None:
        self.left_out.append(LeftOut(line, what, hint))


def _standing(given: Mapping[str, str], name: str) -> str:
    """Give the affix that a kind of tag has by itself."""
    kind = given.get("event") if given.get("type") == "ref" else given.get("type")
    return {"sha": "sha-", "pr": "pr-"}.get(kind or "", "") if name == "prefix" else ""


def _means_nothing_else(enable: str, kind: str, only: str, given: Mapping[str, str]) -> bool:
    """Tell whether a condition is how podbuild writes such a tag anyway."""
    if only:
        return kind in ("raw", "sha", "branch")
    if _NOT_BEFORE_1.fullmatch(enable):
        return _MAJOR.fullmatch(given.get("pattern", "")) is not None  # 0 is never written
    if _ON_TAGS.fullmatch(enable):
        return kind in ("raw", "semver", "pep440", "tag")
    return bool(_NO_PULL.fullmatch(enable)) and kind != "pr"


_WAYS = {
    "match": 'the form of git tags is [project] tag = "web-v{version}"',
    "sha": "{sha} has 7 digits, {env.GITHUB_SHA} all of them in GitHub's jobs",
    "semver": "known are {version}, {major}, {minor}, {patch}",
    "pep440": 'versions are SemVer, or [project] scheme = "calver"',
    "schedule": "known is {date}, yyyymmdd",
}


def _attributes(text: str) -> dict[str, str]:
    """Read one line of an input: comma-separated, quoted as CSV, the first may lack its name."""
    # GitHub puts values in the place of expressions first: their commas part nothing.
    masked = _EXPRESSION.sub(lambda found: found[0].replace(",", "\0").replace('"', "\1"), text)
    fields = next(csv.reader([masked], skipinitialspace=True), [])
    found: dict[str, str] = {}
    for each in fields:
        name, equals, value = each.replace("\0", ",").replace("\1", '"').partition("=")
        found[name.strip() if equals else "value"] = (value if equals else name).strip()
    return found


def _template(pattern: str) -> str | None:
    """Give a pattern as a template; None for what none can say.

    >>> _template("v{{major}}.{{minor}}"), _template("{{raw}}"), _template("{{date 'HHmm'}}")
    ('v{major}.{minor}', 'v{version}', None)
    """
    odd = False

    def written(found: re.Match[str]) -> str:
        nonlocal odd
        name, argument = found[1], found[2]
        if name in ("version", "major", "minor", "patch"):
            return f"{{{name}}}"
        if name == "raw":
            return "v{version}"
        if name == "date" and argument in _DAY:
            return "{date}"
        if name in ("branch", "sha"):
            return f"{{{name}}}"
        odd = True
        return ""

    text = _PATTERN.sub(written, pattern)
    return None if odd or not text or "{{" in text else text


def plain_lines(node: Said | None) -> Iterator[tuple[int, str]]:
    """Give the lines of an input that is a list; also one that is written with commas."""
    for line, text in node.lines() if node else ():
        parts = (part.strip() for part in text.split(",") if not text.startswith("#"))
        yield from ((line, part) for part in parts if part)
