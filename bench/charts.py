"""A line over two logarithmic axes as an SVG file that needs nothing else, on a ground of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 34, 30
STYLE = (
    "text { font: 11px system-ui, sans-serif; fill: #475569 } .title { font-size: 13px; fill: #1c2733 }"
    " .grid { stroke: #d9e0e8 } .line { fill: none; stroke: #2563a8; stroke-width: 2 }"
    " circle { fill: #2563a8 } .linear { stroke: #b42318; stroke-dasharray: 5 4 }"
)


def chart(title: str, x: Sequence[float], y: Sequence[float]) -> str:
    """Draws points, all above 0, x rising; a dashed line through the last one grows like x.

    What is flatter than the dashed line grows slower than x.
    """
    low, high = _decade(min(y), math.floor), _decade(max(y), math.ceil)
    high = high if high > low else 10 * low

    def place(a: float, b: float) -> tuple[float, float]:
        right = math.log(a / x[0]) / math.log(x[-1] / x[0])
        up = math.log(b / low) / math.log(high / low)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#f5f7fa"/>',
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
    ]
    tick = low
    while tick <= high * 1.001:
        _, level = place(x[0], tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{tick:,g}</text>')
        tick *= 10
    for a in x:
        at, _ = place(a, low)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{a:,g}</text>')
    least = max(x[0], x[-1] * low / y[-1])
    (x1, y1), (x2, y2) = place(least, y[-1] * least / x[-1]), place(x[-1], y[-1])
    parts.append(f'<line class="linear" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    points = [place(a, b) for a, b in zip(x, y, strict=True)]
    parts.append(f'<polyline class="line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
    parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in points]
    return "\n".join([*parts, "</svg>\n"])


def _decade(value: float, towards: Callable[[float], int]) -> float:
    return 10.0 ** towards(math.log10(value))
