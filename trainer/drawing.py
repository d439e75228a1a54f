"""How a chart becomes SVG text for a page, by Matplotlib: it takes its colours from the page's style sheet.

Text stays text and colours become CSS variables, so that a chart follows the page into the dark.
"""

from __future__ import annotations

import io
import logging
import re
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written is no news

import matplotlib as mpl  # noqa: E402 - see above
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

# Colours of the light page; in the SVG each becomes the variable of the page's style sheet.
INK, SOFT, LINE = "#1c2733", "#64748b", "#d9e0e8"
ONE, TWO, LIMIT, FAULT = "#2563a8", "#d97706", "#b42318", "#f3c6c1"
VARIABLES = {
    INK: "ink", SOFT: "soft", LINE: "line", ONE: "one", TWO: "two", LIMIT: "limit", FAULT: "fault",
}  # fmt: skip


MARGINS = {"left": 52, "right": 10, "top": 10, "bottom": 28}  # pixels
STYLE: dict[Any, Any] = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": SOFT,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11.0,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.3,
    "path.simplify": False,  # `thinned` does it, and keeps every peak
    "svg.fonttype": "none",
    "svg.hashsalt": "anomalyd",  # the same chart is the same text
    "xtick.color": SOFT,
    "xtick.major.size": 3.0,
    "ytick.color": SOFT,
    "ytick.major.size": 0.0,
}
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


class _Drawn:
    """The text of a chart, once its context is left."""

    def __init__(self) -> None:
        self.text = ""

    def getvalue(self) -> str:
        return self.text


@contextmanager
def drawing(size: tuple[int, int], title: str, **margins: float) -> Iterator[tuple[Axes, _Drawn]]:
    """One chart: its axes, and what will be its SVG; margins in pixels."""
    width, height = size
    room = MARGINS | margins
    drawn = _Drawn()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width / 72, height / 72))  # an SVG has 72 points to the inch
        FigureCanvasSVG(figure)
        place = (
            room["left"] / width,
            room["bottom"] / height,
            1 - (room["left"] + room["right"]) / width,
            1 - (room["bottom"] + room["top"]) / height,
        )
        axes = figure.add_axes(place)
        axes.set_axisbelow(True)
        yield axes, drawn
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, dpi=144, metadata=NO_METADATA)
    drawn.text = _for_a_page(out.getvalue(), title)


def _for_a_page(svg: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]  # before it stands what belongs to a file
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # several charts on a page would have the same
    svg = re.sub(r" ?font-family: [^;\"]*;", "", svg)  # the page's
    svg = re.sub(r"\n\s*", "\n", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
