"""Curves of how a cost grows, both scales logarithmic, as SVG written by hand, so that no library is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 76, 186, 48, 52
COLOURS = ("#0b62a8", "#6baed6", "#555555", "#d9480f", "#2b8a3e", "#ae3ec9", "#e8a500", "#c2255c", "#0c8599", "#795548")
LINE = 15
"""Pixels between two labels, at the least."""


@dataclass(frozen=True)
class Point:
    """One measurement.

    :ivar complete: false where the value is known to be larger, but not by how much.
    """

    x: float
    y: float
    complete: bool = True


@dataclass(frozen=True)
class Axis:
    """A logarithmic scale from pixel `start` to pixel `end`, from one power of ten to another."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def over(cls, values: list[float], start: float, end: float) -> Axis:
        """The powers of ten around the values."""
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        return cls(low, max(high, low + 1), start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def powers(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def count(value: float) -> str:
    """A power of ten in short: 10 k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def seconds(value: float) -> str:
    """A time in short."""
    return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"


def mebibytes(value: float) -> str:
    """A size in short."""
    return f"{value:,.0f} MiB"


def draw(title: str, series: dict[str, list[Point]], x_name: str, y_unit: str) -> str:
    """The picture of all series.

    :param y_unit: "s" or "MiB".
    """
    points = [point for curve in series.values() for point in curve]
    across = Axis.over([point.x for point in points], LEFT, WIDTH - RIGHT)
    up = Axis.over([point.y for point in points], HEIGHT - BOTTOM, TOP)
    label = seconds if y_unit == "s" else mebibytes
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for value in across.powers:
        x = across.at(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{count(value)}</text>')
    for value in up.powers:
        y = up.at(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label(value)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>')
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(series)}
    for name, curve in series.items():
        parts.extend(
            _curve(sorted(curve, key=lambda point: point.x), across, up, colours[name], name.startswith("pdt"))
        )
    parts.extend(_labels(series, up, colours))
    return "\n".join([*parts, "</svg>", ""])


def _curve(curve: list[Point], across: Axis, up: Axis, colour: str, ours: bool) -> list[str]:
    places = [(across.at(point.x), up.at(point.y), point.complete) for point in curve]
    path = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y, _) in enumerate(places))
    parts = [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{3 if ours else 1.5}"/>']
    for x, y, complete in places:
        if complete:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if ours else 3}" fill="{colour}"/>')
        else:  # an arrow: it goes on
            parts.append(
                f'<path d="M{x - 5:.1f} {y:.1f}h10l-5 -9z" fill="white" stroke="{colour}" stroke-width="1.5"/>'
            )
    return parts


def _labels(series: dict[str, list[Point]], up: Axis, colours: dict[str, str]) -> list[str]:
    """The names, in the order of where the curves end, none on top of another."""
    ends = sorted((up.at(max(curve, key=lambda point: point.x).y), name) for name, curve in series.items())
    heights: list[float] = []
    for y, _ in ends:
        heights.append(max(y, heights[-1] + LINE if heights else TOP))
    excess = heights[-1] - (HEIGHT - BOTTOM)
    for number in reversed(range(len(heights))):  # move up what would leave the picture
        if excess <= 0:
            break
        limit = HEIGHT - BOTTOM - LINE * (len(heights) - 1 - number)
        heights[number] = min(heights[number], limit)
    x = WIDTH - RIGHT + 14
    return [
        f'<text x="{x}" y="{height + 4:.1f}" fill="{colours[name]}"'
        f"{' font-weight=' + chr(34) + 'bold' + chr(34) if name.startswith('pdt') else ''}>{escape(name)}</text>"
        for height, (_, name) in zip(heights, ends, strict=True)
    ]
