"""What ADD fetches: a URL without --checksum, or git without a commit, may change.

Engines clone by https alone, and of `?branch=` and its like they know nothing: they would fetch
what a forge's web page says there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from podbuild.build.inputs.instructions import Instruction

_GIT = re.compile(r"git@|git://|ssh://|https?://.*\.git(?:[#?]|$)")
_URL = re.compile(r"https?://")
_FIRST_VARIABLE = re.compile(r"[\"']*\$\{?(\w+)")
_NOT_CLONED = re.compile(r"git@|git://|ssh://")
_ASKED = re.compile(r"(https?://[^?#]*\.git)\?([^#]*)(#.*)?")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFS = ("checksum", "commit", "ref", "tag", "branch")  # what says most comes first
_COMMIT = re.compile(r".*[#&?](?:checksum=|commit=)?[0-9a-f]{40}(?::.*)?")


def git_source(source: str) -> str:
    """Give a source as engines read it.

    >>> git_source("https://x.test/y.git?branch=main&subdir=a/b")
    'https://x.test/y.git#main:a/b'
    """
    found = _ASKED.fullmatch(source)
    if not found or unfit_git(source):
        return source
    said = dict(parse_qsl(found[2]))
    ref = next((said[key] for key in _REFS if key in said), "")
    subdir = f":{said['subdir']}" if "subdir" in said else ""
    return f"{found[1]}#{ref}{subdir}"


def unfit_git(source: str) -> tuple[str, str] | None:
    """Give why no engine can be told of a source, and a way out; None where it can."""
    if _NOT_CLONED.match(source):
        return f"ADD {source[:80]}: the engine clones by https alone", "https://HOST/PATH.git#REF"
    found = _ASKED.fullmatch(source)
    if not found:
        return None
    said = dict(parse_qsl(found[2], keep_blank_values=True))
    whole = all(_HASH.fullmatch(said[key]) for key in ("checksum", "commit") if key in said)
    if found[3] or said.keys() - {*_REFS, "subdir"} or "" in said.values() or not whole:
        return (
            f"ADD {source[:80]}: the engine can't be told all of it",
            "https://HOST/PATH.git#REF:FOLDER, or ?ref=, branch=, tag=, subdir=, commit=HASH",
        )
    return None


def may_change(instruction: Instruction, known: Mapping[str, str]) -> bool:
    """Tell whether an instruction fetches what may be other bytes tomorrow."""
    if instruction.word != "ADD" or instruction.flag("checksum"):
        return False
    return any(_is_moving(instruction, word, known) for word in _sources(instruction))


def _is_moving(instruction: Instruction, word: str, known: Mapping[str, str]) -> bool:
    """Tell whether a source may be other bytes tomorrow; what only a base's ENV says may be."""
    source = instruction.expand(word, known)
    if _GIT.match(source):
        return not _COMMIT.fullmatch(source)
    first = _FIRST_VARIABLE.match(word)
    return bool(_URL.match(source) or (first and first[1] not in known))


def _sources(instruction: Instruction) -> tuple[str, ...]:
    """Give ADD's sources; its JSON form holds the same words between brackets and commas."""
    return (instruction.words if instruction.array is None else instruction.array)[:-1]
