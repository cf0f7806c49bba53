"""Sizes and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("kB", "MB", "GB", "TB")
_MINUTE = 60
_HOUR = 3600


def size(count: int) -> str:
    """Say a number of bytes, in decimal units as registries do.

    >>> size(999), size(1_000), size(35_249_000), size(-1_500)
    ('999 B', '1.0 kB', '35.2 MB', '-1.5 kB')
    """
    amount = float(abs(count))
    if amount < 1000:  # noqa: PLR2004  # below the first unit
        return f"{count} B"
    unit = ""
    for unit in _UNITS:  # noqa: B007  # the last one stays
        amount /= 1000
        if round(amount, 1) < 1000:  # noqa: PLR2004  # the unit fits
            break
    return f"{'-' if count < 0 else ''}{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Say a time.

    >>> duration(0.04), duration(12.34), duration(75), duration(3725)
    ('0.0 s', '12.3 s', '1 min 15 s', '1 h 02 min')
    """
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def speed(count: int, seconds: float) -> str:
    """Say bytes per second; empty when the time is too short to tell.

    >>> speed(35_000_000, 3.5)
    '10.0 MB/s'
    """
    return f"{size(round(count / seconds))}/s" if seconds > 0 else ""


def instant(moment: datetime) -> str:
    """Say a moment by RFC 3339, in UTC and to the second.

    >>> instant(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
