"""Expressions of a bake file, as far as they need nothing but the file: no clock, no environment.

Values are texts in which a variable without a default is podbuild's placeholder {env.NAME}; nothing
is compared with such a one. Sources: the HCL native syntax specification, Docker's bake reference.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podbuild.commands.carry import literal
from podbuild.errors import ToolError

_TOKEN = re.compile(r"\s*([A-Za-z_][\w-]*|\d+(?:\.\d+)?|==|!=|&&|\|\||[?:!()\[\],.]|\Z)")
_HEREDOC = re.compile(r'"<<-?\w+\n(.*?)\n?[ \t]*\w+"', re.DOTALL)
_OPEN = re.compile(r"(?<!\{)\{(?!\{)")
_DEPTH = 50  # of functions that call each other

Value = str | bool | list["Value"] | None


class UnknownValueError(Exception):
    """An expression whose value does not stand in the file."""


class NullError(UnknownValueError):
    """An expression that is null where a text is wanted: what has it is as if it were not there."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function block: its parameters and what it gives."""

    params: tuple[str, ...]
    result: object


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What names stand for."""

    names: Mapping[str, Value] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    depth: int = 0

    def having(self, names: Mapping[str, Value]) -> Scope:
        """Give the same with more names."""
        return Scope(names={**self.names, **names}, functions=self.functions, depth=self.depth + 1)


def load_hcl(text: str) -> object:
    """Read HCL; raises ToolError where its reader is missing, ValueError for what is none."""
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


def blocks_of(document: Mapping[str, object], kind: str) -> dict[str, dict[str, object]]:
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


def text_value(written: object, scope: Scope) -> str:
    """Give a value as the reader of HCL has it, as a text; raises UnknownValueError."""
    return as_text(read_value(written, scope))


def read_value(written: object, scope: Scope) -> Value:
    """Give a value as the reader of HCL has it; raises UnknownValueError."""
    found: Value
    match written:
        case None:
            found = None
        case bool() | int() | float():
            found = str(written).lower()
        case list():
            found = [read_value(each, scope) for each in written]
        case str() if heredoc := _HEREDOC.fullmatch(written):
            found = fill(f"{heredoc[1]}\n", scope)
        case str():
            inner = written.removeprefix("${").removesuffix("}")
            found = _Expression(inner if inner != written else written, scope).value()
        case _:
            raise UnknownValueError
    return found


def as_text(value: Value) -> str:
    """Give a value that is no list as a text; raises UnknownValueError."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        raise NullError
    if isinstance(value, list):
        raise UnknownValueError
    return value


def _known(value: Value) -> str:
    """Give a text that holds no placeholder: what it will be is not known here."""
    text = as_text(value)
    if _OPEN.search(text.replace("{{", "")):
        raise UnknownValueError
    return text


def _truth(value: Value) -> bool:
    text = _known(value)
    if text not in ("true", "false"):
        raise UnknownValueError
    return text == "true"


def _quoted(text: str, start: int) -> int:
    """Give where the string that begins at `start` ends, past its quote."""
    at, depth = start + 1, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text.startswith("${", at) and not text.startswith("$${", at - 1):
            depth, at = depth + 1, at + 1
        elif depth and text[at] == "}":
            depth -= 1
        elif text[at] == '"':
            if not depth:
                return at + 1
            at = _quoted(text, at) - 1
        at += 1
    raise UnknownValueError


def fill(text: str, scope: Scope) -> str:
    """Fill `${...}` in a text; `$${` and `%%{` are literal ones. Raises UnknownValueError."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith(("$${", "%%{"), at):
            parts, at = [*parts, literal(text[at + 1 : at + 3])], at + 3
        elif text.startswith("%{", at):
            raise UnknownValueError
        elif text.startswith("${", at):
            end = _closing(text, at + 2)
            parts.append(as_text(_Expression(text[at + 2 : end], scope).value()))
            at = end + 1
        else:
            parts, at = [*parts, literal(text[at])], at + 1
    return "".join(parts)


def _closing(text: str, start: int) -> int:
    at = start
    while at < len(text) and text[at] != "}":
        at = _quoted(text, at) if text[at] == '"' else at + 1
    if at >= len(text):
        raise UnknownValueError
    return at


class _Expression:
    """One expression, read from left to right."""

    def __init__(self, text: str | list[str], scope: Scope) -> None:
        if scope.depth > _DEPTH:
            raise UnknownValueError
        self._scope = scope
        self._tokens = [*_tokens(text)] if isinstance(text, str) else [*text, ""]

    def value(self) -> Value:
        """Give the whole expression's value."""
        found = self._choice()
        if self._tokens != [""]:
            raise UnknownValueError
        return found

    def _next(self) -> str:
        return self._tokens.pop(0)

    def _takes(self, *wanted: str) -> str:
        return self._next() if self._tokens[0] in wanted else ""

    def _expect(self, token: str) -> None:
        if not self._takes(token):
            raise UnknownValueError

    def _choice(self) -> Value:
        found = self._either()
        if not self._takes("?"):
            return found
        chosen = self._choice()
        self._expect(":")
        other = self._choice()
        return chosen if _truth(found) else other

    def _either(self) -> Value:
        found = self._both()
        while self._takes("||"):
            other = self._both()
            found = _truth(found) or _truth(other)
        return found

    def _both(self) -> Value:
        found = self._compared()
        while self._takes("&&"):
            other = self._compared()
            found = _truth(found) and _truth(other)
        return found

    def _compared(self) -> Value:
        found = self._one()
        sign = self._takes("==", "!=")
        if not sign:
            return found
        other = self._one()
        if found is None or other is None:
            return (found is other) is (sign == "==")
        return (_known(found) == _known(other)) is (sign == "==")

    def _one(self) -> Value:
        found: Value
        if self._takes("!"):
            found = not _truth(self._one())
        elif self._takes("("):
            found = self._choice()
            self._expect(")")
        elif self._takes("["):
            found = self._each() if self._takes("for") else self._list("]")
        else:
            found = self._named(self._next())
        return found

    def _named(self, token: str) -> Value:
        if token.startswith('"'):
            return fill(_unescaped(token[1:-1]), self._scope)
        if token == "null":  # noqa: S105  # HCL's
            return None
        if token[:1].isdigit() or token in ("true", "false"):
            return token
        if self._takes("("):
            return _call(token, self._list(")"), self._scope)
        while self._takes("."):
            token = f"{token}.{self._next()}"
        if token not in self._scope.names:
            raise UnknownValueError
        return self._scope.names[token]

    def _each(self) -> Value:
        """Give a list by `for NAME in LIST : VALUE if CONDITION`, or `for NUMBER, NAME in`."""
        names = [self._next()]
        if self._takes(","):
            names.append(self._next())
        self._expect("in")
        every = self._choice()
        self._expect(":")
        body = self._up_to_the_end()
        value, condition = _parted(body)
        if not isinstance(every, list):
            raise UnknownValueError
        found: list[Value] = []
        for number, each in enumerate(every):
            given = (str(number), each)[-len(names) :]
            scope = self._scope.having(dict(zip(names, given, strict=True)))
            if not condition or _truth(_Expression(condition, scope).value()):
                found.append(_Expression(value, scope).value())
        return found

    def _up_to_the_end(self) -> list[str]:
        """Take the tokens before the bracket that closes this list, and that bracket."""
        depth, found = 1, list[str]()
        while True:
            token = self._next()
            if not token:
                raise UnknownValueError
            depth += (token in ("[", "(")) - (token in ("]", ")"))
            if not depth:
                return found
            found.append(token)

    def _list(self, end: str) -> list[Value]:
        found: list[Value] = []
        while not self._takes(end):
            found.append(self._choice())
            if not self._takes(","):
                self._expect(end)
                break
        return found


def _parted(body: list[str]) -> tuple[list[str], list[str]]:
    """Part a list's body at its own `if`."""
    at = body.index("if") if "if" in body else len(body)
    return body[:at], body[at + 1 :]


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while True:
        at += len(text[at:]) - len(text[at:].lstrip())
        if text[at : at + 1] == '"':
            end = _quoted(text, at)
            yield text[at:end]
            at = end
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise UnknownValueError
        yield found[1]
        if not found[1]:
            return
        at = found.end()


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)


def _call(name: str, arguments: Sequence[Value], scope: Scope) -> Value:
    own = scope.functions.get(name)
    if own is not None and len(own.params) == len(arguments):
        given = dict(zip(own.params, arguments, strict=True))
        return read_value(own.result, scope.having(given))
    try:
        return _FUNCTIONS[name](*arguments)
    except (LookupError, TypeError, AttributeError, ValueError, StopIteration, re.error):
        raise UnknownValueError from None


def _joined(separator: Value, *lists: Value) -> Value:
    every = [each for one in lists for each in (one if isinstance(one, list) else [one])]
    return as_text(separator).join(map(as_text, every))


def _items(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise UnknownValueError
    return value


def _first(*values: Value) -> Value:
    return next(each for each in values if each is not None)


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "equal": lambda a, b: _known(a) == _known(b),
    "notequal": lambda a, b: _known(a) != _known(b),
    "and": lambda a, b: _truth(a) and _truth(b),
    "or": lambda a, b: _truth(a) or _truth(b),
    "not": lambda a: not _truth(a),
    "lower": lambda a: _known(a).lower(),
    "upper": lambda a: _known(a).upper(),
    "contains": lambda a, b: _known(b) in map(_known, _items(a)),
    "distinct": lambda a: [*dict.fromkeys(map(as_text, _items(a)))],
    "compact": lambda a: [each for each in _items(a) if _known(each)],
    "flatten": lambda a: [each for one in _items(a) for each in _items(one)],
    "replace": lambda a, b, c: _known(a).replace(_known(b), _known(c)),
    "regex_replace": lambda a, b, c: re.sub(
        _known(b), re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", _known(c)), _known(a)
    ),
    "sanitize": lambda a: re.sub(r"[^a-zA-Z0-9_-]", "_", _known(a)),
    "trimprefix": lambda a, b: _known(a).removeprefix(_known(b)),
    "trimsuffix": lambda a, b: _known(a).removesuffix(_known(b)),
    "trimspace": lambda a: _known(a).strip(),
    "split": lambda a, b: [*_known(b).split(_known(a))],
    "join": _joined,
    "concat": lambda *lists: [each for one in lists for each in _items(one)],
    "coalesce": _first,
}
