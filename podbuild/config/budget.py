"""How large images may be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import TEXT, Invalid, ValueKind, choice, declared, key, table_of

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
    on: OverBudget | None = field(
        default=None,
        metadata=key(choice(OverBudget), "more is exit 10 (fail, the default), or a warning"),
    )

    def over(self, common: SizeBudget) -> SizeBudget:
        """Give this budget with what [defaults] says where it says nothing itself."""
        return SizeBudget(
            size=common.size if self.size is None else self.size,
            on=common.on if self.on is None else self.on,
        )


BUDGET = table_of(SizeBudget, declared(SizeBudget), "{ size, on }")
