"""Words of an instruction: splitting, quotes, and `$VARIABLE` substitution."""

from __future__ import annotations

import re
from collections.abc import Mapping

from podbuild.containerfile.lexer import Lexer

# Quoted parts and escaped characters belong to a word, blanks end it.
_WORD = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\]|["'\\])+""")
_CLOSED = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^"']""", re.DOTALL)
_QUOTING = re.compile(r"""\\(.)|'([^']*)'|\"""")


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

    An unknown variable is empty, as for the engines. Raises LexError.

    >>> substitute("debian:${SUITE:-trixie}", {})
    'debian:trixie'
    """
    return Lexer().word(text, variables)
