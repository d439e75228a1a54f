"""Line charts as SVG text, drawn for the report: no script, no font, no file beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

WIDTH, HEIGHT = 880, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
MOST_POINTS = 1200  # of a line: more than there are pixels; each group's lowest and highest are drawn


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart; `style` is its class in the style sheet."""

    name: str
    style: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def chart(
    lines: Sequence[Line], *, x_label: Callable[[float], str], y_title: str, limit: tuple[str, float] | None
) -> str:
    """Draws lines over a common x, on a logarithmic y where the values span more than a decade or two.

    Args:
        lines: At least one with a point.
        x_label: Writes an x below the axis.
        y_title: What y is.
        limit: A named horizontal line.
    """
    xs = np.concatenate([line.x for line in lines])
    ys = np.concatenate([line.y for line in lines] + ([np.array([limit[1]])] if limit else []))
    ys = ys[np.isfinite(ys)]
    positive = ys[ys > 0]
    logarithmic = len(positive) > 0 and positive.max() > 20 * positive.min()
    low, high = (positive.min() * 0.8, positive.max() * 1.25) if logarithmic else (0.0, ys.max() * 1.08)
    bend = math.log10 if logarithmic else float
    first, last = float(xs.min()), float(max(xs.max(), xs.min() + 1e-9))
    floor, span = bend(low), (bend(high) - bend(low)) or 1.0

    def place_x(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (bend(max(y, low)) - floor) / span * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_title)}">']
    for tick in _decades(low, high) if logarithmic else _ticks(high):
        y = place_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for share, anchor in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end")):
        x = first + share * (last - first)
        text = escape(x_label(x))
        parts.append(f'<text x="{place_x(x):.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{text}</text>')
    if limit:
        y = place_y(limit[1])
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="limit" x="{LEFT + 6}" y="{y - 5:.1f}">{escape(limit[0])}</text>')
    for line in lines:
        pairs = zip(*_thinned(line.x, line.y), strict=True)
        points = " ".join(f"{place_x(a):.1f},{place_y(b):.1f}" for a, b in pairs)
        parts.append(f'<polyline class="{line.style}" points="{points}"/>')
    parts.append("</svg>")
    legend = "".join(f'<span class="{line.style}">{escape(line.name)}</span>' for line in lines)
    return f"<figure>{''.join(parts)}<figcaption>{escape(y_title)} {legend}</figcaption></figure>"


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fewer points that look the same: each group's lowest and highest."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    size = -(-2 * len(x) // MOST_POINTS)
    if size <= 2:
        return x, y
    groups = np.array_split(np.arange(len(x)), -(-len(x) // size))
    keep = np.unique([i for group in groups for i in (group[y[group].argmin()], group[y[group].argmax()])])
    return x[keep], y[keep]


def _decades(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(exponents) < 4 else (1,)
    return [step * 10.0**e for e in exponents for step in steps if low <= step * 10.0**e <= high]


def _ticks(high: float) -> list[float]:
    if not high > 0:
        return [0.0]
    step = 10.0 ** math.floor(math.log10(high))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if high / s <= 5 or s == step * 2)
    return [i * step for i in range(int(high / step) + 1)]
