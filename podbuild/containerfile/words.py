"""Words of an instruction: splitting, quotes, and `$VARIABLE` substitution."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Quoted parts and escaped characters belong to a word, blanks end it.
_WORD = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\]|["'\\])+""")
_CLOSED = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^"']""", re.DOTALL)
_QUOTING = re.compile(r"""\\(.)|'([^']*)'|\"""")
_VARIABLE = re.compile(
    r"""\\(?P<escaped>.)
    |'(?P<single>[^']*)'
    |\$(?P<plain>[A-Za-z_][A-Za-z0-9_]*)
    |\$\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?[-+?]|\#\#?|%%?|//?)(?P<word>(?:[^{}]|\{[^{}]*\})*))?\}
    |(?P<quote>")""",
    re.VERBOSE,
)


def split_words(text: str) -> tuple[str, ...]:
    """Split at blanks outside quotes; quotes are kept.

    >>> split_words("cat <<'A B' > /x")
    ('cat', "<<'A B'", '>', '/x')
    """
    return tuple(_WORD.findall(text))


def open_quote(text: str) -> str:
    """Give the quote that has no partner in a text; empty where all have one.

    >>> open_quote("it's"), open_quote("'a' b")
    ("'", '')
    """
    return _CLOSED.sub("", text)[:1]


def unquote(text: str) -> str:
    """Take quotes and escapes away.

    >>> unquote('"a b"c')
    'a bc'
    """
    return _QUOTING.sub(lambda found: found[1] or found[2] or "", text)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Put values in the place of `$X` and `${X:-word}`, and take quotes away.

    An unknown variable is empty, as for the engines.

    >>> substitute("debian:${SUITE:-trixie}", {})
    'debian:trixie'
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"] is not None:
            return found["escaped"]
        if found["single"] is not None:
            return found["single"]
        if found["quote"]:
            return ""
        known = variables.get(found["plain"] or found["braced"])
        return _operated(known, found["operator"] or "", substitute(found["word"] or "", variables))

    return _VARIABLE.sub(value, text)


def _operated(known: str | None, operator: str, word: str) -> str:
    present = bool(known) if operator.startswith(":") else known is not None
    if operator.endswith("-"):
        return known or "" if present else word
    if operator.endswith("+"):
        return word if present else ""
    if known and operator[:1] in ("#", "%", "/"):
        return _edited(known, operator, word)
    return known or ""


def _edited(value: str, operator: str, word: str) -> str:
    """Cut or replace what a pattern matches: `#` at the start, `%` at the end, `/` anywhere.

    A doubled `#` or `%` cuts as much as it can, a doubled `/` replaces every match.

    >>> _edited("1.2.3", "%", ".*"), _edited("1.2.3", "##", "*."), _edited("1.2", "/", "./-")
    ('1.2', '3', '1-2')
    """
    pattern, _, replacement = word.partition("/")
    if operator.startswith("/"):
        count = 0 if operator == "//" else 1
        return re.sub(_glob(pattern, ".*"), lambda _match: replacement, value, count=count)
    if operator.startswith("#"):
        expression = f"{_glob(word, '.*?' if operator == '#' else '.*')}(?P<rest>.*)"
    else:
        expression = f"(?P<rest>{'.*' if operator == '%' else '.*?'}){_glob(word, '.*')}"
    found = re.fullmatch(expression, value, re.DOTALL)
    return found["rest"] if found else value


def _glob(pattern: str, star: str) -> str:
    signs = {"*": star, "?": "."}
    return "".join(signs.get(sign, re.escape(sign)) for sign in pattern)
