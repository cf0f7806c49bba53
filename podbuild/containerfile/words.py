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
    |\$\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?[-+?])(?P<word>(?:[^{}]|\{[^{}]*\})*))?\}
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
        operator = found["operator"] or ""
        present = bool(known) if operator.startswith(":") else known is not None
        if operator.endswith("-") and not present:
            return substitute(found["word"], variables)
        if operator.endswith("+"):
            return substitute(found["word"], variables) if present else ""
        return known or ""

    return _VARIABLE.sub(value, text)
