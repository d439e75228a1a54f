"""The charts of reports, as SVG text for a page; see `trainer.drawing`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from trainer.drawing import INK, LIMIT, MARGINS, drawing  # before Matplotlib, which it keeps quiet

# isort: split
from matplotlib import cm, colors, dates
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray

WIDE, FLAT, DOTS, SMALL = (
    (880, 240),
    (880, 200),
    (620, 340),
    (290, 120),
)  # width and height in pixels of the page
POINTS_A_PIXEL = 1.5  # of a line, more cannot be seen; each group's lowest and highest are drawn
YAxis: TypeAlias = Literal["auto", "linear", "free"]
DECADES = 20  # values that span more are shown on a logarithmic axis
COLOURS = "viridis"  # told apart by people who see no red or green, on light and on dark
HEIGHTS = (1.0, 0.66, 0.33)  # of the names of neighbouring limits, so that they do not cover each other
MOST_DOTS = 400  # more become an image: each dot is 60 bytes of text


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart, in a colour of this module; NaN in `y` breaks it."""

    colour: str
    x: NDArray[np.float64] | NDArray[np.datetime64]
    y: NDArray[np.float64]
    width: float = 1.3


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a line marks, with its name beside it; a strong one is drawn through."""

    name: str
    value: float
    strong: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Stretches of x that are shaded, shape (N, 2)."""

    colour: str
    stretches: NDArray[np.float64] | NDArray[np.datetime64]
    height: float = 1.0  # share of the chart's height, from below


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    size: tuple[int, int] = WIDE,
    limits: Sequence[Limit] = (),
    spans: Sequence[Spans] = (),
    x_ticks: bool = True,
    y_axis: YAxis = "auto",
    decades: bool = False,
    bare: bool = False,
) -> str:
    """Draws lines over a common x.

    Args:
        lines: At least one.
        title: What y is, for those who cannot see it.
        size: Width and height.
        limits: Marked values of y.
        spans: Shaded stretches of x, behind the lines.
        x_ticks: Whether the x axis says where one is.
        y_axis: `auto` is from 0, or logarithmic where the values span more than a decade or two;
            `linear` is from 0; `free` shows where the values are.
        decades: Whether x holds decimal logarithms.
        bare: Without axes, which take most of the time that a chart costs.
    """
    with drawing(size, title, bottom=MARGINS["bottom"] if x_ticks else 6) as (axes, drawn):
        for span in spans:
            for start, stop in span.stretches:
                axes.axvspan(start, stop, ymax=span.height, color=span.colour, linewidth=0.6, zorder=0)
        for line in lines:
            x, y = thinned(line.x, line.y, size[0])
            axes.plot(x, y, color=line.colour, linewidth=line.width)
        ys = np.concatenate([line.y for line in lines] + [np.array([limit.value for limit in limits])])
        if y_axis == "free":
            axes.yaxis.set_major_locator(MaxNLocator(3))
        else:
            _scale(axes, ys[np.isfinite(ys)], logarithmic=y_axis == "auto")
        for limit in limits:
            style = "-" if limit.strong else (0, (4, 3))
            axes.axhline(limit.value, color=LIMIT, linewidth=1.1 if limit.strong else 0.8, linestyle=style)
            axes.annotate(
                limit.name, (0, limit.value), (4, 3), color=LIMIT, textcoords="offset points",
                xycoords=("axes fraction", "data"),
            )  # fmt: skip
        if bare:
            axes.set_axis_off()
        else:
            _label_x(axes.xaxis, lines[0].x, shown=x_ticks, decades=decades)
    return drawn.getvalue()


def histogram(
    groups: Sequence[tuple[str, NDArray[np.float64]]],
    *,
    title: str,
    limits: Sequence[Limit] = (),
    bins: int = 100,
) -> str:
    """Draws how often values occur; each group has its colour and is scaled to its own highest bar."""
    values = np.concatenate([values for _, values in groups] + [np.array([limit.value for limit in limits])])
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    logarithmic = len(positive) > 0 and positive.max() > DECADES * positive.min()
    low, high = (
        (float(positive.min()), float(positive.max())) if logarithmic else (values.min(), values.max())
    )
    high = high if high > low else low + (abs(low) or 1.0)
    edges = (np.geomspace if logarithmic else np.linspace)(low, high, bins + 1)
    with drawing(WIDE, title, left=10) as (axes, drawn):
        for colour, some in groups:
            counts, _ = np.histogram(np.clip(some, low, high), edges)
            heights = counts / max(1, counts.max())
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
            axes.stairs(heights, edges, color=colour, linewidth=1.1)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0, 1.15)
        axes.yaxis.set_major_locator(NullLocator())
        for number, limit in enumerate(sorted(limits, key=lambda limit: limit.value)):
            style = "-" if limit.strong else (0, (4, 3))
            axes.axvline(limit.value, color=LIMIT, linewidth=1.2 if limit.strong else 0.8, linestyle=style)
            axes.annotate(
                limit.name, (limit.value, HEIGHTS[number % len(HEIGHTS)]), (-3, -2), color=LIMIT,
                textcoords="offset points",
                xycoords=("data", "axes fraction"), rotation=90, ha="right", va="top",
            )  # fmt: skip
    return drawn.getvalue()


def scatter(
    places: NDArray[np.float64],
    worth: NDArray[np.float64],
    marked: NDArray[np.bool_],
    *,
    title: str,
    colour_title: str,
) -> str:
    """Draws dots coloured by a positive number, on a logarithmic scale of colours.

    Args:
        places: Shape (N, 2).
        worth: Shape (N,).
        marked: Dots with a red border, shape (N,).
        title: What is shown.
        colour_title: What the colour is.
    """
    low, high = float(worth.min()), float(worth.max())
    low = max(low, high * 1e-4) or 1e-9
    norm = colors.LogNorm(low, max(high, low * 1.01))
    order = np.argsort(worth, kind="stable")  # the odd ones on top
    with drawing(DOTS, title, right=58) as (axes, drawn):
        for chosen, edge, area in ((~marked[order], "none", 9), (marked[order], LIMIT, 16)):
            x, y = places[order][chosen].T
            axes.scatter(
                x, y, area, worth[order][chosen].clip(low, high), cmap=COLOURS, norm=norm, edgecolors=edge,
                linewidths=0.6, rasterized=len(places) > MOST_DOTS,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        side = axes.inset_axes((1.03, 0, 0.03, 1))
        bar = axes.figure.colorbar(cm.ScalarMappable(norm, COLOURS), side)
        bar.outline.set_visible(False)
        bar.set_label(colour_title)
        _few_decades(side.yaxis, low, high)
        side.tick_params(which="both", length=0)
    return drawn.getvalue()


def dots(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    colours: Sequence[str],
    *,
    title: str,
    size: tuple[int, int] = SMALL,
    names: Sequence[str] = (),
    logarithmic: bool = False,
    line: Line | None = None,
) -> str:
    """Draws a dot for each of N points, the last ones on top.

    Args:
        x: Shape (N,); with names, the number of the name.
        y: Shape (N,).
        colours: Of the dots, N of this module.
        title: What is shown.
        size: Width and height.
        names: What stands below 0, 1, 2, ...
        logarithmic: Whether x is.
        line: Drawn through.
    """
    with drawing(size, title, right=14) as (axes, drawn):
        if line is not None:
            axes.step(line.x, line.y, where="post", color=line.colour, linewidth=line.width)
        axes.scatter(x, y, 18 if size == SMALL else 36, [*colours], linewidths=0, alpha=0.85)
        axes.yaxis.set_major_locator(MaxNLocator(3 if size == SMALL else 5))
        if names:
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif logarithmic:
            axes.set_xscale("log")
            _few_decades(axes.xaxis, float(x.min()), float(x.max()))
        else:
            whole = bool((x == np.rint(x)).all())
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
        axes.xaxis.grid(visible=False)
    return drawn.getvalue()


def heat_map(matrix: NDArray[np.float64], names: Sequence[str], *, title: str, borders: Sequence[int]) -> str:
    """Draws a matrix of numbers between -1 and 1, with lines after the `borders`-th rows and columns.

    Args:
        matrix: Shape (F, F); NaN is left empty.
        names: Of rows and columns.
        title: What is shown.
        borders: Where groups end.
    """
    count, longest = len(names), max(map(len, names))
    edge = min(22, max(5, 620 // count))
    margin = 10 + 6.5 * min(longest, 24)
    room = {"left": margin, "right": 54.0, "top": 6.0, "bottom": margin}
    size = (round(edge * count + margin + 54), round(edge * count + margin + 6))
    with drawing(size, title, **room) as (axes, drawn):
        shown = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        short = [name if len(name) <= 24 else name[:23] + "…" for name in names]
        step = max(1, -(-11 // edge))  # a name needs 11 pixels
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(0, count, step), short[::step])
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.grid(visible=False)
        for at in borders:
            axes.axhline(at - 0.5, color=INK, linewidth=0.8)
            axes.axvline(at - 0.5, color=INK, linewidth=0.8)
        side = axes.inset_axes((1.0 + 12 / (edge * count), 0, 10 / (edge * count), 1))
        bar = axes.figure.colorbar(shown, side, ticks=[-1, 0, 1])
        bar.outline.set_visible(False)
        side.tick_params(length=0)
    return drawn.getvalue()


def bands(
    rows: Sequence[Sequence[Spans]],
    names: Sequence[str],
    between: tuple[int, int],
    *,
    title: str,
) -> str:
    """Draws one band for each row, shaded where its stretches of time are.

    Args:
        rows: The stretches.
        names: Of the rows.
        between: First and last time, in milliseconds since the epoch; may be the same.
        title: What is shown.
    """
    left = 12 + 6.5 * min(24, max(map(len, names)))
    with drawing((WIDE[0], 34 + 22 * len(rows)), title, left=left) as (axes, drawn):
        for place, row in enumerate(rows):
            for span in row:
                starts, stops = (span.stretches.astype("datetime64[ms]").astype(np.float64) / DAY).T
                axes.broken_barh(
                    list(zip(starts, stops - starts, strict=True)), (place - 0.35, 0.7), color=span.colour,
                    linewidth=0.7,
                )  # fmt: skip
        axes.set_yticks(range(len(names)), [name if len(name) <= 24 else name[:23] + "…" for name in names])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(between[0] / DAY, max(between[1], between[0] + 1) / DAY)
        axes.grid(visible=False)
        _label_x(axes.xaxis, moments(np.array(between)), shown=True)
    return drawn.getvalue()


def thinned(
    x: NDArray[np.float64] | NDArray[np.datetime64], y: NDArray[np.float64], width: int
) -> tuple[NDArray[np.float64] | NDArray[np.datetime64], NDArray[np.float64]]:
    """Fewer points that look the same over so many pixels: each group's lowest and highest, and breaks."""
    size = int(2 * len(x) // (POINTS_A_PIXEL * width))
    if size <= 2:
        return x, y
    groups = -(-len(x) // size)
    padded = np.full(groups * size, np.nan)
    padded[: len(y)] = y
    table = padded.reshape(groups, size)
    first = np.arange(groups) * size
    lowest = first + np.where(np.isnan(table), np.inf, table).argmin(axis=1)
    highest = first + np.where(np.isnan(table), -np.inf, table).argmax(axis=1)
    broken = np.flatnonzero(np.diff(np.isnan(y).astype(np.int8)) == 1) + 1  # the first NaN of each break
    keep = np.unique(np.concatenate([lowest, highest, broken]))
    keep = keep[keep < len(x)]
    return x[keep], y[keep]


def moments(at: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Milliseconds since the epoch as times of an axis."""
    return at.astype("datetime64[ms]")


def _scale(axes: Axes, ys: NDArray[np.float64], *, logarithmic: bool) -> None:
    positive = ys[ys > 0]
    if logarithmic and len(positive) and positive.max() > DECADES * positive.min():
        low, high = float(positive.min()), float(positive.max())
        low = max(low, high * 1e-6)  # a few zeros must not flatten all else
        axes.set_yscale("log")
        axes.set_ylim(low * 0.8, high * 1.35)
        _few_decades(axes.yaxis, low * 0.8, high * 1.35)
    else:
        high = float(ys.max()) if len(ys) else 0.0
        axes.set_ylim(0, high * 1.12 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _few_decades(axis: Axis, low: float, high: float) -> None:
    subs = (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _label_x(
    axis: Axis,
    x: NDArray[np.float64] | NDArray[np.datetime64],
    *,
    shown: bool,
    decades: bool = False,
) -> None:
    axis.grid(visible=False)
    if not shown:
        axis.set_major_locator(NullLocator())
    elif x.dtype.kind == "M":
        locator: Any = dates.AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axis.set_major_locator(locator)
        axis.set_major_formatter(
            dates.ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
        )
    else:
        axis.set_major_locator(MaxNLocator(6, integer=True))
        if decades:
            low, high = np.floor(np.nanmin(x)), np.ceil(np.nanmax(x))
            steps = (1, 2, 5) if high - low < 4 else (1,)
            ticks = [10.0**decade * step for decade in np.arange(low, high + 1) for step in steps]
            inside = [tick for tick in ticks if x.min() <= np.log10(tick) <= x.max()]
            axis.set_ticks(np.log10(inside).tolist(), [f"{tick:g}" for tick in inside])
