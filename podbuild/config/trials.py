"""What an image is held against before it gets a tag: its HEALTHCHECK, tests, commands, budgets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from podbuild.config.choices import NAME, VARIABLE
from podbuild.config.keys import (
    COUNT,
    DURATION,
    FLAG,
    TEXT,
    Invalid,
    ValueKind,
    choice,
    declared,
    key,
    list_of,
    map_of,
    parsed,
    table_of,
    toml_type,
)
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.system.later import dataclass

_SIZE = re.compile(r"(?P<count>\d+(?:\.\d+)?) ?(?P<unit>B|[kMG]B|[KMG]iB)")
_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


def _size(value: object, base: Path) -> int:
    text = TEXT.parse(value, base)
    found = _SIZE.fullmatch(text)
    if not found:
        raise Invalid(f"{text!r} is not a size", hint='write it as "240MB", "1.5GB" or "512KiB"')
    return int(float(found["count"]) * _UNITS[found["unit"]])


SIZE: ValueKind[int] = ValueKind(
    _size, "size", {"type": "string", "pattern": r"^\d+(\.\d+)? ?(B|[kMG]B|[KMG]iB)$"}
)

GROWTH_FLOOR = 5_000_000  # bytes, where nothing is said


@dataclass(frozen=True)
class Growth:
    """How much an image may grow from one version to the next: a share of it, or bytes."""

    text: str

    def bytes(self, before: int) -> int:
        """Give the bytes that an image of `before` bytes may grow by."""
        if self.text.endswith("%"):
            return int(before * float(self.text.rstrip("% ")) / 100)
        return SIZE.parse(self.text, Path())

    def __str__(self) -> str:
        return self.text


def _growth(value: object, base: Path) -> Growth:
    text = TEXT.parse(value, base)
    if not re.fullmatch(r"\d+(\.\d+)? ?%", text) and not _SIZE.fullmatch(text):
        raise Invalid(f"{text!r} is neither a share nor a size", hint='write it as "10%" or "20MB"')
    return Growth(text)


GROWTH: ValueKind[Growth] = ValueKind(
    _growth,
    "share or size",
    {"type": "string", "pattern": r"^\d+(\.\d+)? ?(%|B|[kMG]B|[KMG]iB)$"},
)


class OverBudget(StrEnum):
    """What becomes of a release whose image is over its budget."""

    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class SizeBudget:
    """What an image of one platform may cost; None: not said."""

    size: int | None = field(  # bytes
        default=None,
        metadata=key(SIZE, "compressed size of each platform, at most", example='"240MB"'),
    )
    growth: Growth | None = field(
        default=None,
        metadata=key(
            GROWTH,
            "how much larger than in the last published version each platform may be",
            example='"10%"',
        ),
    )
    growth_floor: int | None = field(  # bytes
        default=None,
        metadata=key(SIZE, 'growth up to this is never too much ("5MB")', example='"5MB"'),
    )
    hidden: int | None = field(  # bytes
        default=None,
        metadata=key(
            SIZE,
            "bytes that its own layers hide: deleted or written again, yet in every pull",
            example='"10MB"',
        ),
    )
    ready: float | None = field(  # seconds
        default=None,
        metadata=key(
            DURATION,
            "how long it may take from its start until its HEALTHCHECK or http test is content",
            example='"20s"',
        ),
    )
    on: OverBudget | None = field(
        default=None,
        metadata=key(choice(OverBudget), "more is exit 10 (fail, the default), or a warning"),
    )

    def over(self, common: SizeBudget) -> SizeBudget:
        """Give this budget with what [defaults] says where it says nothing itself."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        said = {name: value for name, value in mine.items() if value is not None}
        return replace(common, **said)


BUDGET = table_of(
    SizeBudget, declared(SizeBudget), "{ size, growth, growth-floor, hidden, ready, on }"
)


WITHIN = 30.0  # seconds, where nothing is said
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
_OK = 200  # HTTP


class Healthcheck(StrEnum):
    """Whether an image's HEALTHCHECK is asked before it gets a tag."""

    AUTO = "auto"
    OFF = "off"


def _argv(value: object, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Invalid(
            f"expected an array, not {toml_type(value)}",
            hint='one string for each word, such as ["sh", "-c", "test -s /data"]',
        )
    for place, word in enumerate(value):
        if not isinstance(word, str):
            raise Invalid(f"expected a string, not {toml_type(word)}", path=(place,))
        if "\0" in word:
            raise Invalid("must not hold a zero byte", path=(place,))
    if not value or not value[0]:
        raise Invalid("names no program")
    return tuple(value)


def _anything(value: object, _base: Path) -> str:
    if not isinstance(value, str):
        raise Invalid(f"expected a string, not {toml_type(value)}")
    if "\0" in value:
        raise Invalid("must not hold a zero byte")
    return value


def _pattern(value: object, _base: Path) -> str:
    text = TEXT.parse(value, _base)
    try:
        re.compile(text, re.MULTILINE)
    except re.error as error:
        raise Invalid(f"not a regular expression: {error}") from None
    return text


def _page(value: object, base: Path) -> str:
    """Read a URL that the image itself answers: nothing else is in its network."""
    text = TEXT.parse(value, base)
    hint = "such as http://127.0.0.1:8080/health"
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise Invalid(f"{text!r} is not a URL", hint=hint) from None
    if url.scheme != "http" or not host or not text.isascii() or re.search(r"\s", text):
        raise Invalid(f"{text!r} is not a URL that begins with http://", hint=hint)
    if "@" in url.netloc:
        raise Invalid("has a login in it", hint=hint)
    if not _LOOPBACK.fullmatch(host):
        raise Invalid(
            f"{host} can't be reached: the image has a network of its own, with nothing else in it",
            hint=hint,
        )
    if port == 0:
        raise Invalid("port 0 is none", hint=hint)
    return text


def _status(value: object, base: Path) -> int:
    found = COUNT.parse(value, base)
    if not 100 <= found <= 599:  # noqa: PLR2004  # RFC 9110
        raise Invalid(f"{found} is no status of HTTP")
    return found


ARGV: ValueKind[tuple[str, ...]] = ValueKind(
    _argv, "array of: string", {"type": "array", "items": {"type": "string"}, "minItems": 1}
)
ANYTHING: ValueKind[str] = ValueKind(_anything, "string", {"type": "string"})
PATTERN: ValueKind[str] = ValueKind(
    _pattern, "regular expression", {"type": "string", "format": "regex"}
)
PAGE: ValueKind[str] = ValueKind(
    _page, "URL on 127.0.0.1", {"type": "string", "pattern": "^http://"}
)
STATUS: ValueKind[int] = ValueKind(
    _status, "status of HTTP", {"type": "integer", "minimum": 100, "maximum": 599}
)
PLATFORMS = list_of(parsed(Platform.parse, "platform"), least=1)


@dataclass(frozen=True, kw_only=True)
class ImageTest:
    """One test in an image: a command, or what the image starts and a question to it."""

    run: tuple[str, ...] = field(
        default=(),
        metadata=key(ARGV, "a command in the image; it must end with 0", example='["app", "-V"]'),
    )
    start: bool = field(
        default=False,
        metadata=key(FLAG, "true: start what the image starts (ENTRYPOINT and CMD), and ask it"),
    )
    http: str = field(
        default="",
        metadata=key(
            PAGE,
            "with start: the page to ask for, in the image's own network",
            example='"http://127.0.0.1:8080/health"',
        ),
    )
    status: int = field(default=_OK, metadata=key(STATUS, "with http: the status to be answered"))
    match: str = field(
        default="",
        metadata=key(
            PATTERN,
            "what the page must hold, or what a command says on stdout, or what is started says",
            example="'\"ok\"'",
        ),
    )
    within: float = field(
        default=WITHIN,
        metadata=key(
            DURATION, "how long it may take; five times that on an emulated platform"
        ),  # seconds
    )
    env: Mapping[str, str] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(ANYTHING, names=VARIABLE),
            "variables, besides the image's own",
            example='{ MODE = "test" }',
        ),
    )
    user: str = field(
        default="", metadata=key(TEXT, "who runs it, instead of USER", example='"1000:1000"')
    )
    stdin: str = field(default="", metadata=key(ANYTHING, "what it reads", example='"1 + 1"'))
    platforms: tuple[Platform, ...] = field(
        default=(),
        metadata=key(
            PLATFORMS, "where it is tried; without it everywhere", example='["linux/amd64"]'
        ),
    )

    def __post_init__(self) -> None:
        """Refuse a test that asks nothing, or two things at once."""
        hint = 'run = ["app", "--version"], or start = true with http = "http://127.0.0.1:8080/"'
        if bool(self.run) == self.start:
            raise ConfigError("a test needs one of run and start = true", hint=hint)
        if self.http and not self.start:
            raise ConfigError("http needs start = true", hint=hint)
        if self.start and not (self.http or self.match):
            raise ConfigError("start asks nothing: http and match are missing", hint=hint)
        if self.status != _OK and not self.http:
            raise ConfigError("status needs http", hint=hint)
        if not self.within:
            raise ConfigError("within leaves it no time", hint='such as within = "30s"')


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """A command of the user's that judges images, such as a scanner."""

    run: tuple[str, ...] = field(
        metadata=key(
            ARGV,
            "the command, here and not in the image; other than 0 is exit 10. $PODBUILD_LAYOUT in "
            "it and in its environment is the image as an OCI layout",
            example='["trivy", "image", "--input", "$PODBUILD_LAYOUT", "--exit-code", "1"]',
        ),
    )
    name: str = field(
        default="",
        metadata=key(NAME, "its name in reports; without it the program's", example='"trivy"'),
    )
    images: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(TEXT, least=1),
            "only these; without it all that are published",
            example='["web"]',
        ),
    )
    platforms: tuple[Platform, ...] = field(
        default=(), metadata=key(PLATFORMS, "only these", example='["linux/amd64"]')
    )
    env: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(VARIABLE),
            "secrets of the environment that it needs; it gets no other",
            example='["SNYK_TOKEN"]',
        ),
    )
    timeout: float = field(
        default=600.0,
        metadata=key(DURATION, "how long it may take for one image"),  # seconds
    )

    @property
    def title(self) -> str:
        """Give its name for people and files."""
        return self.name or re.sub(r"[^A-Za-z0-9._-]", "-", Path(self.run[0]).name)


HEALTHCHECK = choice(Healthcheck)
TESTS = list_of(table_of(ImageTest, declared(ImageTest), "{ run } or { start, http }"))
