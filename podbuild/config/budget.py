"""How large images may be."""

from __future__ import annotations

import re
from dataclasses import field, fields, replace
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import (
    DURATION,
    TEXT,
    Invalid,
    ValueKind,
    choice,
    declared,
    key,
    table_of,
)
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
