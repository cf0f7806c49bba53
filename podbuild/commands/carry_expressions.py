"""Expressions of a workflow: what stands in the file has a value, the job's variables a name.

Source: GitHub's documentation, "Contexts" and "Default environment variables".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from podbuild.commands.carry import literal
from podbuild.commands.carry_yaml import Said

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_SECRET = re.compile(r"\w*(?:USER|USERNAME|ORG|ORGANI[SZ]ATION|OWNER|NAMESPACE)", re.IGNORECASE)
_KNOWN = {
    "github.repository": "{env.GITHUB_REPOSITORY}",
    "github.repository_owner": "{env.GITHUB_REPOSITORY_OWNER}",
    "github.sha": "{env.GITHUB_SHA}",
    "github.ref_name": "{env.GITHUB_REF_NAME}",
    "github.actor": "{env.GITHUB_ACTOR}",
    "github.run_id": "{env.GITHUB_RUN_ID}",
    "github.run_number": "{env.GITHUB_RUN_NUMBER}",
    "github.server_url": "{env.GITHUB_SERVER_URL}",
    "github.workspace": ".",
}


@dataclass
class Expressions:
    """Puts values into texts. `values` are those of inputs, matrix and env, by expression.

    What is None there is set in the workflow, by what is not known here.
    """

    values: dict[str, str | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def filled(self, text: str, *, handlebars: bool = False) -> str | None:
        """Put values and `{env.NAME}` in the place of expressions; None for one that can't be.

        Other braces become literal; with `handlebars` those of an action's own stay.
        """
        parts, end = [], 0
        for found in EXPRESSION.finditer(text):
            parts.append(_braces(text[end : found.start()], handlebars=handlebars))
            end = found.end()
            value = self._value(found[1])
            if value is None:
                return None
            parts.append(value)
        return "".join((*parts, _braces(text[end:], handlebars=handlebars)))

    def take_env(self, tables: Iterable[Said]) -> None:
        """Take what tables of `env` in a workflow, a job or a step set."""
        for table in tables:
            for name, node in table.table.get("env", Said(0, "")).table.items():
                self.values[f"env.{name}"] = self.filled(node.text, handlebars="{{" in node.text)

    def _value(self, expression: str) -> str | None:
        if expression in self.values:
            self.used.add(expression)
            return self.values[expression]
        if expression in _KNOWN:
            return _KNOWN[expression]
        room, _, name = expression.partition(".")
        named = bool(NAME.fullmatch(name))
        if named and (
            room in ("vars", "env") or (room == "secrets" and _NO_SECRET.fullmatch(name))
        ):
            return f"{{env.{name}}}"
        return None


def _braces(text: str, *, handlebars: bool) -> str:
    return text if handlebars and "{{" in text else literal(text)


def secret_variable(value: str) -> str | None:
    """Give the variable that a secret comes from; None where an expression tells of none.

    >>> secret_variable("${{ secrets.NPM }}"), secret_variable("${{ github.token }}")
    ('NPM', 'GITHUB_TOKEN')
    """
    found = EXPRESSION.fullmatch(value)
    if found is None:
        return None
    if found[1] == "github.token":
        return "GITHUB_TOKEN"
    room, _, name = found[1].partition(".")
    return name if room in ("secrets", "vars", "env") and NAME.fullmatch(name) else None
