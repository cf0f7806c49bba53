"""Secrets are cut out of all that podbuild prints or writes, in every form they can take."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast
from urllib.parse import unquote

from podbuild.system.records import JSONValue
from podbuild.system.redact.forms import SHORTEST, Pieces, literals, views, visible

T = TypeVar("T")

MASK = "***"
# The names of environment variables that hold secrets.
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|API_?KEY|PRIVATE_?KEY"
    r"|COOKIE|(?:^|_)JWT|(?:^|_)(?:PASS|PAT|KEY|PWD|PRIVATE|PEM)$",
    re.IGNORECASE,
)
_OWN_FOLDER = frozenset({"PWD"})  # the present folder, to every shell
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
# What is a secret by where it stands, whoever made it: a login in a URL, a header, a signed query;
# with a sign that each of them has.
_BY_PLACE = (
    ("@", re.compile(r"(?<=://)[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]*(?=@)")),
    ("@", re.compile(r"(?i:(?<=http://)|(?<=https://)|(?<=ftp://))[^\s/?#\"'<>]+(?=@)")),
    (
        "uthorization",
        re.compile(
            r"(?i:authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token)\s+)([^\s\"',;]+)"
        ),
    ),
    (
        "=",
        re.compile(
            r"(?i:[?&](?:private_token|access_token|refresh_token|job_token|token|password"
            r"|sig|signature|x-amz-signature|x-amz-security-token|x-amz-credential"
            r"|x-goog-signature)=)([^\s&\"'<>]+)"
        ),
    ),
)
_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^\s/?#]*|[^\s/?#:]*:(?!\d+/)\S*)@[^\s@]*")
_HELD = 256  # lines
_LONG_USER = 16  # characters; a user of a URL without a password may be a token


def is_secret_name(variable: str) -> bool:
    """Tell whether an environment variable's name says that its value is a secret.

    >>> is_secret_name("NPM_TOKEN"), is_secret_name("CI_JOB_JWT_V2"), is_secret_name("NODE_ENV")
    (True, True, False)
    """
    return bool(_SECRET_NAME.search(variable)) and variable not in _OWN_FOLDER


def holds_secret(variable: str) -> bool:
    """Tell the same, but for names of people and of sockets: their values are everywhere.

    >>> holds_secret("GH_PAT"), holds_secret("GIT_AUTHOR_NAME")
    (True, False)
    """
    return is_secret_name(variable) and not re.search("AUTHOR|_SOCK$", variable, re.IGNORECASE)


def logins_in(text: str) -> Iterator[str]:
    """Give what is secret of the logins in the URLs of a text, as written and as decoded.

    >>> list(logins_in("http://me:p%40ss-word@proxy:3128"))
    ['me:p%40ss-word', 'p%40ss-word', 'me:p@ss-word', 'p@ss-word']
    """
    for found in _LOGIN.finditer(text):
        for login in dict.fromkeys((found[1], unquote(found[1]))):
            _, colon, password = login.partition(":")
            if colon and password:
                yield login
                yield password
            elif len(login) >= _LONG_USER:
                yield login


class Redactor:
    """Knows the secrets of this run and cuts them out of text. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler speaks, and may interrupt the holder
        self._new: list[str] = []  # what no pattern has yet
        self._known: set[str] = set()
        self._forms: tuple[tuple[str, ...], Pieces] = ((), Pieces())

    def add(self, secret: str) -> None:
        """Cut this value from now on, also encoded, in pieces and line by line.

        Empty and very short values and ordinary words are left alone.
        """
        text = secret.strip()
        if len(text) < SHORTEST or text.lower() in ORDINARY:
            return
        with self._lock:
            self._new += [each for each in dict.fromkeys((secret, text)) if each not in self._known]
            self._known.update(self._new)

    def cut(self, text: str) -> str:
        """Give the text with each secret replaced by `***`; its lines stay as many."""
        if "\n" not in text:
            return self.cut_together(text)
        for form in self._learn()[0]:
            if "\n" in form and form in text:
                text = text.replace(form, _mask(form))
        lines: list[str] = []
        stream = self.stream(lines.append)
        for line in text.split("\n"):
            stream.take(line)
        stream.end()
        return "\n".join(lines)

    def cut_together(self, text: str) -> str:
        """Give the same of a few lines that may hold one secret between them."""
        pieces: list[str] = []
        position = 0
        for first, last in _merged(self._spans(text)):
            pieces += [text[position:first], _mask(text[first:last])]
            position = last
        return "".join((*pieces, text[position:])) if position else text

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

    def cut_value(self, value: T) -> T:
        """Give a value whose texts hold no secret: a dataclass, and what it is made of.

        Renderers change what stands for a secret (Markdown escapes it, others drop signs), so
        this comes before them. Names such as tags they leave as they are.
        """
        return cast("T", self._cut_any(value))

    def may_go_on(self, line: str) -> bool:
        """Tell whether a secret may begin in this line and go on in the next one."""
        return self._learn()[1].may_go_on(visible(line))

    def stream(self, write: Callable[[str], None]) -> Stream:
        """Give what cuts the lines of one output, also a secret that is spread over several."""
        return Stream(self, write)

    def _cut_any(self, value: object) -> object:
        if type(value) is str:
            return self.cut(value)
        if isinstance(value, tuple) and type(value) is tuple:
            return tuple(map(self._cut_any, value))
        if type(value) is dict:
            return {key: self._cut_any(each) for key, each in value.items()}
        if is_dataclass(value) and not isinstance(value, type) and not _is_name(value):
            texts = {
                each.name: self._cut_any(getattr(value, each.name))
                for each in fields(value)
                if each.init
            }
            changed = {name: new for name, new in texts.items() if new is not getattr(value, name)}
            return replace(value, **changed) if changed else value
        return value

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for sign, pattern in _BY_PLACE:
            if sign in text:
                for found in pattern.finditer(text):
                    yield found.span(found.lastindex or 0)
        literals, pieces = self._learn()
        if not literals:
            return
        for view in views(text):
            here = [form for form in literals if form in view.text]
            for found in re.finditer("|".join(map(re.escape, here)), view.text) if here else ():
                yield view.original(*found.span())
            for span in pieces.spans(view.text):
                yield view.original(*span)

    def _learn(self) -> tuple[tuple[str, ...], Pieces]:
        """Give the forms of all secrets; they are made when first needed, not for each of them."""
        if self._new:
            with self._lock:
                pieces = self._forms[1].copy()
                found = dict.fromkeys(self._forms[0])
                for secret in self._new:
                    found.update(dict.fromkeys(literals(secret)))
                    pieces.add(secret)
                longest_first = sorted(found, key=lambda form: (-len(form), form))
                self._forms = (tuple(longest_first), pieces)
                self._new = []  # last: whoever finds it empty finds the rest done
        return self._forms


class Stream:
    """The lines of one output. One whose end may be a secret's beginning waits for the next.

    Safe to share between threads.
    """

    def __init__(self, redactor: Redactor, write: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._write = write
        self._held: list[str] = []
        self._lock = threading.Lock()

    def take(self, line: str) -> None:
        """Take one line without its end."""
        with self._lock:
            self._held.append(line)
            if len(self._held) < _HELD and self._redactor.may_go_on(line):
                return
            self._flush()

    def end(self) -> None:
        """Write what waits."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            for line in self._redactor.cut_together("\n".join(held)).split("\n"):
                self._write(line)


def _is_name(value: object) -> bool:
    """Tell a tag, a digest, a platform: they would not be what they are with a mask inside."""
    return type(value).__module__.startswith("podbuild.oci.")


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begin = end = 0
    for first, last in sorted(spans):
        if first > end:
            if end > begin:
                yield begin, end
            begin, end = first, last
        else:
            begin, end = (first, last) if end == begin else (begin, max(end, last))
    if end > begin:
        yield begin, end


def _mask(piece: str) -> str:
    """Stand for a piece: one mask in each of its lines."""
    return "\n".join(MASK if line.strip() else line for line in piece.split("\n"))
