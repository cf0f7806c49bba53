"""Secrets are cut out of all that podbuild prints or writes, in every form they can take."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from podbuild.model import JSONValue

MASK = "***"
SHORTEST = 5  # characters; anything shorter would blank out ordinary text
SHORTEST_PART = 8  # characters of a line or an encoded form that stands for its secret
# What stands in the names of environment variables that hold secrets.
_SECRET_NAMES = ("TOKEN", "PASSWORD", "SECRET", "CREDENTIAL", "API_KEY", "PRIVATE_KEY")
# Values that may be handed over as a secret by mistake, and that every log is full of.
# fmt: off
ORDINARY = frozenset((
    "false", "null", "none", "store", "cache",
    "undefined", "linux", "amd64", "arm64", "debian", "alpine",
    "ubuntu", "latest", "stable", "master", "develop", "release", "production", "staging",
    "default", "public", "private", "docker", "podman", "buildah", "podbuild", "registry",
    "github", "gitlab", "localhost", "oauth2", "token", "127.0.0.1",
))
# fmt: on


def is_secret_name(variable: str) -> bool:
    """Tell whether an environment variable's name says that its value is a secret.

    >>> is_secret_name("NPM_TOKEN"), is_secret_name("NODE_ENV")
    (True, False)
    """
    return any(word in variable.upper() for word in _SECRET_NAMES)


class Redactor:
    """Knows the secrets of this run and cuts them out of text. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Cut this value from now on, also encoded (base64, URL, JSON) and line by line.

        Empty and very short values and ordinary words are left alone.
        """
        text = secret.strip()
        if len(text) < SHORTEST or text.lower() in ORDINARY:
            return
        with self._lock:
            self._forms |= frozenset(_forms(secret)) | frozenset(_forms(text))
            longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def cut(self, text: str) -> str:
        """Give the text with each secret replaced by `***`."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)

    def cut_json(self, value: JSONValue) -> JSONValue:
        """Give a JSON value whose keys and texts hold no secret."""
        match value:
            case str():
                return self.cut(value)
            case list():
                return [self.cut_json(item) for item in value]
            case dict():
                return {self.cut(key): self.cut_json(item) for key, item in value.items()}
            case _:
                return value


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield from _encoded(secret)
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        for line in lines:
            if len(line) >= SHORTEST_PART and not line.startswith("-----"):
                yield line


def _encoded(secret: str) -> Iterator[str]:
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    data = secret.encode("utf-8", "surrogateescape")
    if len(data) >= SHORTEST:
        yield base64.b64encode(data).decode()
        yield base64.urlsafe_b64encode(data).decode()
    for offset in range(3):  # inside something longer, such as `user:token` of Basic
        yield from _base64_inside(data, offset)


def _base64_inside(data: bytes, offset: int) -> Iterator[str]:
    """Give the characters that depend on `data` alone when `offset` bytes precede it."""
    first = -(-offset * 8 // 6)
    last = (offset + len(data)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        inside = encode(b"\0" * offset + data).decode()[first:last]
        if len(inside) >= SHORTEST_PART:
            yield inside
