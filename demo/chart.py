"""The score against the threshold over the whole story, drawn in characters on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.text import Text

from demo.story import Story

BARS = " ▁▂▃▄▅▆▇█"
AXIS = 6  # columns left of the plot
LOWEST = 0.1  # scores below look alike: all of them are far from the threshold
LEAST_TOP, MOST_TOP = 10.0, 10_000.0

CALM, ALARM, LINE, FAINT = "green", "bold red", "yellow", "dim"


def chart(scores: Iterable[tuple[float, float]], story: Story, now: int, *, width: int, height: int) -> Text:
    """The plot in `height` lines of `width` columns.

    Args:
        scores: (second of the stream, score), where the threshold is a score of 1.
        now: the second that has been reached.
    """
    columns = max(10, width - AXIS)
    highest = _highest_per_column(scores, columns, story.seconds)
    top = _top(highest)
    rows = max(2, height - 2)
    lines = _plot(highest, rows, top)
    lines.append(_stretches(story, columns, now))
    lines.append(_labels(story, columns))
    return Text("\n").join(lines)


def _highest_per_column(
    scores: Iterable[tuple[float, float]], columns: int, seconds: int
) -> list[float | None]:
    highest: list[float | None] = [None] * columns
    for second, score in scores:
        column = min(columns - 1, max(0, int(second * columns / seconds)))
        highest[column] = max(score, highest[column] or 0.0)
    return highest


def _top(highest: Sequence[float | None]) -> float:
    most = max((score for score in highest if score is not None), default=0.0)
    if most <= LEAST_TOP:
        return LEAST_TOP
    return float(min(MOST_TOP, 10 ** math.ceil(math.log10(most))))


def _plot(highest: Sequence[float | None], rows: int, top: float) -> list[Text]:
    threshold = _level(1.0, rows, top) // 8
    lines = []
    for row in reversed(range(rows)):
        line = Text().append(_axis_label(row, rows, threshold, top), FAINT)
        for score in highest:
            filled = 0 if score is None else min(8, max(0, _level(score, rows, top) - 8 * row))
            if filled:
                assert score is not None
                line.append(BARS[filled], ALARM if score > 1 else CALM)
            elif row == threshold:
                line.append("┄", LINE)
            else:
                line.append(" ")
        lines.append(line)
    return lines


def _level(score: float, rows: int, top: float) -> int:
    """The bar's height in eighths of a line; at least one, so that a score is never invisible."""
    share = math.log(max(score, LOWEST) / LOWEST) / math.log(top / LOWEST)
    return min(8 * rows, max(1, round(share * 8 * rows)))


def _axis_label(row: int, rows: int, threshold: int, top: float) -> str:
    if row == threshold:
        label = "1"
    elif row == rows - 1:
        label = f"{top:.0f}"
    elif row == 0:
        label = f"{LOWEST:g}"
    else:
        label = ""
    return f"{label:>{AXIS - 1}}│"


def _stretches(story: Story, columns: int, now: int) -> Text:
    line = Text().append(" " * (AXIS - 1) + "└", FAINT)
    reached = min(columns - 1, int(now * columns / story.seconds))
    for column in range(columns):
        stretch = story.stretch_at((column + 0.5) * story.seconds / columns)
        sign = "▲" if column == reached else "━" if stretch.fault is not None else "─"
        line.append(sign, "bold" if column == reached else "red" if stretch.fault is not None else FAINT)
    return line


def _labels(story: Story, columns: int) -> Text:
    """Each labelled stretch's word under its beginning, as far as there is room before the next."""
    line = Text(" " * AXIS)
    labelled = [stretch for stretch in story.stretches if stretch.label]
    starts = [round(stretch.begin * columns / story.seconds) for stretch in labelled]
    for stretch, start, end in zip(labelled, starts, [*starts[1:], columns], strict=True):
        room = max(0, end - start - 1)
        style = "red" if stretch.fault is not None else CALM
        line.append(stretch.label[:room].ljust(end - start), style)
    return line
