"""Small line charts as SVG whose looks are attributes: no CSS, no script, text in every theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 190, 16, 22
_COLOURS = ("#2f6fd0", "#c2571a", "#2a8a4a", "#8a4fbf", "#b0364a", "#5c6570", "#947600", "#14808c")
_APART = 11  # pixels between two labels
_FONT = 'font-family="system-ui,sans-serif" font-size="11"'
_LEAST = 2  # points of a line
_FAR = 3  # times the largest value
_DOTS = 60  # points up to which each has one, with its value as a title


@dataclass(frozen=True)
class Line:
    """One series: a name, and a value for each run (None: there is none)."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class ValueLevel:
    """One value that lines are held against."""

    name: str
    value: float


def chart(
    title: str,
    names: Sequence[str],
    lines: Sequence[Line],
    shown: Callable[[float], str],
    limits: Sequence[ValueLevel] = (),
) -> str:
    """Give a figure of lines over runs; nothing where no line has two points.

    `limits` are levels, dashed; one far above all lines would flatten them and is left out.
    """
    drawn = [each for each in lines if sum(v is not None for v in each.values) >= _LEAST]
    values = [value for each in drawn for value in each.values if value is not None]
    if not values:
        return ""
    levels = [each for each in limits if each.value <= _FAR * max(values)]
    values += [each.value for each in levels]
    low, high = min(values), max(values)
    inner = "".join((*_levels(levels, shown, low, high), *_lines(names, drawn, shown, low, high)))
    says = f"{title}: between {shown(low)} and {shown(high)} in {len(names)} runs"
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg role="img" aria-label="{escape(says)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" xmlns="http://www.w3.org/2000/svg">'
        f"{_axis(shown, low, high)}{inner}</svg></figure>"
    )


def _axis(shown: Callable[[float], str], low: float, high: float) -> str:
    right = _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="currentColor" '
        'stroke-opacity="0.35"/>'
        f'<text x="{_LEFT}" y="{_TOP - 4}" fill="currentColor" fill-opacity="0.7" {_FONT}>'
        f"{escape(shown(high))}</text>"
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}" fill="currentColor" fill-opacity="0.7" {_FONT}>'
        f"{escape(shown(low))}</text>"
    )


def _height(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low or 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def _levels(
    levels: Sequence[ValueLevel], shown: Callable[[float], str], low: float, high: float
) -> Iterator[str]:
    for each in levels:
        y = _height(each.value, low, high)
        yield (
            f'<line x1="{_LEFT}" y1="{y:.0f}" x2="{_WIDTH - _RIGHT}" y2="{y:.0f}" '
            'stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="5 4"/>'
            f'<text x="{_LEFT + 70}" y="{y - 3:.0f}" fill="currentColor" fill-opacity="0.7" '
            f"{_FONT}>{escape(f'{each.name}: {shown(each.value)}')}</text>"
        )


def _lines(
    names: Sequence[str],
    lines: Sequence[Line],
    shown: Callable[[float], str],
    low: float,
    high: float,
) -> Iterator[str]:
    steps = max(len(names) - 1, 1)

    def place(at: int, value: float) -> tuple[float, float]:
        x = _LEFT + at / steps * (_WIDTH - _LEFT - _RIGHT)
        return x, _height(value, low, high)

    ends: list[tuple[float, str, str]] = []
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(at, v, place(at, v)) for at, v in enumerate(line.values) if v is not None]
        path = " ".join(f"{x:.0f},{y:.0f}" for _, _, (x, y) in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        last = points[-1]
        for at, value, (x, y) in points if len(points) <= _DOTS else (last,):
            yield (
                f'<circle cx="{x:.0f}" cy="{y:.0f}" r="2" fill="{colour}">'
                f"<title>{escape(f'{line.name}, {names[at]}: {shown(value)}')}</title></circle>"
            )
        ends.append((last[2][1], f"{line.name} {shown(last[1])}", colour))
    yield from _labels(ends)


def _labels(ends: Sequence[tuple[float, str, str]]) -> Iterator[str]:
    """Name each line at its end, and push names apart."""
    y = 0.0
    for wanted, text, colour in sorted(ends):
        y = max(wanted + 4, y + _APART)
        yield (
            f'<text x="{_WIDTH - _RIGHT + 8}" y="{y:.0f}" fill="{colour}" {_FONT}>'
            f"{escape(text[:34])}</text>"
        )
