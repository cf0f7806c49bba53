"""Keys and strings as TOML writes them (toml.io/en/v1.0.0, "Keys", "String")."""

from __future__ import annotations

import json
import re

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """Give a key as TOML writes it, quoted where it must be."""
    return name if _BARE.fullmatch(name) else toml_string(name)


def toml_string(text: str) -> str:
    """Escape as JSON does: TOML's basic strings take the same escapes, DEL besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
