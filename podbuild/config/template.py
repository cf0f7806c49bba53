"""Texts with placeholders such as `{major}.{minor}`: what they may hold and what they become."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property

from podbuild.errors import ConfigError
from podbuild.semver import Scheme, Version
from podbuild.system.later import dataclass

PLACEHOLDERS = {
    "project": "the project's name",
    "image": "the image's name",
    "version": "the version without a leading v and without build metadata",
    "major": "its first number",
    "minor": "its second number",
    "patch": "its third number",
    "sha": "the first 7 digits of the commit",
    "branch": "the branch, with what no tag can hold replaced by '-'",
    "pr": "the number of a pull request, in tags of its snapshots",
    "date": "the day on which the release began, yyyymmdd in UTC, in tags and annotations",
    "env.NAME": "the environment variable NAME",
}
NUMBERS = ("major", "minor", "patch")
VERSION_NAMES = frozenset({"version", *NUMBERS})
SNAPSHOT = Version.parse("0.0.0-snapshot")  # what {version} is where nothing is released

_TOKEN = re.compile(r"(?P<double>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<stray>[{}])")
_ENV = re.compile(r"env\.[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._-]+")
_TAG_LITERAL = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Placeholders:
    """What the placeholders stand for. `env` needs to hold only the variables that are used."""

    project: str
    image: str = ""
    version: Version | None = None
    sha: str = ""
    branch: str | None = None
    pr: str = ""
    date: str = ""
    scheme: Scheme = Scheme.SEMVER  # of versions that are read back
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    def value(self, name: str) -> str | None:
        """Give what one placeholder stands for; None where it is not known."""
        if name.startswith("env."):
            return self.env.get(name.removeprefix("env."))
        version = self.version or SNAPSHOT
        known = {
            "project": self.project,
            "image": self.image,
            "version": str(version),
            **dict(zip(NUMBERS, version.written, strict=False)),
            "sha": self.sha or None,
            "pr": self.pr or None,
            "date": self.date or None,
            "branch": None if self.branch is None else sanitise_branch(self.branch),
        }
        return known.get(name)


@dataclass(frozen=True)
class TemplatePart:
    """A literal text, or the name of a placeholder."""

    text: str
    is_placeholder: bool = False


@dataclass(frozen=True)
class Template:
    """A text whose placeholders are known to exist; `{{` and `}}` are literal braces."""

    text: str

    def __post_init__(self) -> None:
        """Refuse unknown placeholders and stray braces."""
        for part in self.parts:
            if part.is_placeholder:
                _check_name(self.text, part.text)

    @cached_property
    def parts(self) -> tuple[TemplatePart, ...]:
        """Give literals and placeholders in order."""
        found: list[TemplatePart] = []
        end = 0
        for token in _TOKEN.finditer(self.text):
            if token["stray"]:
                raise ConfigError(
                    f"a single {token['stray']!r} in {self.text!r}",
                    hint="write a placeholder such as {version}; {{ and }} are literal braces",
                )
            found.append(TemplatePart(self.text[end : token.start()]))
            found.append(
                TemplatePart(token["double"][0])
                if token["double"]
                else TemplatePart(token["name"], True)
            )
            end = token.end()
        found.append(TemplatePart(self.text[end:]))
        return tuple(part for part in found if part.text or part.is_placeholder)

    @cached_property
    def names(self) -> frozenset[str]:
        """Give the names of the placeholders."""
        return frozenset(part.text for part in self.parts if part.is_placeholder)

    @property
    def variables(self) -> frozenset[str]:
        """Give the environment variables it needs."""
        return frozenset(
            name.removeprefix("env.") for name in self.names if name.startswith("env.")
        )

    @property
    def literal_length(self) -> int:
        """Give how many characters stand outside placeholders: more is more specific."""
        return sum(len(part.text) for part in self.parts if not part.is_placeholder)

    def expand(self, values: Placeholders) -> str:
        """Give the text with every placeholder replaced; raises ConfigError for an unknown value.

        >>> Template("{major}.{minor}").expand(Placeholders(project="p", version=Version(1, 2, 3)))
        '1.2'
        """
        return "".join(
            self._value(part.text, values) if part.is_placeholder else part.text
            for part in self.parts
        )

    def _value(self, name: str, values: Placeholders) -> str:
        value = values.value(name)
        if value is not None:
            return value
        if name.startswith("env."):
            variable = name.removeprefix("env.")
            raise ConfigError(
                f"{self.text}: the environment variable {variable} is not set",
                hint=f"set {variable}, or write its value into the configuration",
            )
        if name == "patch":
            raise ConfigError(
                f"{self.text}: version {values.version} has no third number",
                hint="{version} is all of it",
            )
        raise ConfigError(
            f"{self.text}: {{{name}}} is not known here",
            hint="a commit needs a git repository, a branch needs a branch that is checked out",
        )

    def __str__(self) -> str:
        return self.text


def _check_name(text: str, name: str) -> None:
    if name in PLACEHOLDERS or _ENV.fullmatch(name):
        return
    near = difflib.get_close_matches(name, PLACEHOLDERS, n=1)
    known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
    raise ConfigError(
        f"unknown placeholder {{{name}}} in {text!r}",
        hint=f"did you mean {{{near[0]}}}?" if near else f"known are {known}",
    )


def tag_template(text: str) -> Template:
    """Read a template for tags; raises ConfigError for characters that no tag can hold.

    >>> tag_template("{version}-alpine").names
    frozenset({'version'})
    """
    if "{{" in text or "}}" in text:
        raise ConfigError(
            f"double braces in the tag {text!r}",
            hint="write placeholders as {version}, with single braces",
        )
    template = Template(text)
    literals = "".join(part.text for part in template.parts if not part.is_placeholder)
    if not template.parts or text[0] in ".-" or not _TAG_LITERAL.fullmatch(literals):
        raise ConfigError(
            f"no registry takes the tag {text!r}",
            hint="a tag has letters, digits, '_', '.' and '-', and starts with no '.' or '-'",
        )
    return template


def sanitise_branch(branch: str) -> str:
    """Give a branch name as a part of tags.

    >>> sanitise_branch("feature/a b")
    'feature-a-b'
    """
    return _NOT_IN_TAGS.sub("-", branch).strip(".-")[:120] or "branch"
