"""Charts as small as a word, without axes, for the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.charts import moments
from trainer.drawing import INK, ONE, SOFT, TWO, drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.profile import Course

SIZE = (150, 34)  # pixels
MARGINS = {"left": 1, "right": 1, "top": 2, "bottom": 2}
COLOURS = (ONE, TWO, INK, SOFT)
EVERY = 2  # stretches of a course that share a pixel and a bit
BARS = 40


def spark_course(courses: Sequence[Course], sensor: int, title: str) -> str:
    """One sensor over time: its mean, and the lowest and highest in a light shade; a colour a machine."""
    with drawing(SIZE, title, **MARGINS) as (axes, drawn):
        axes.set_axis_off()
        for number, course in enumerate(courses):
            colour, at = COLOURS[number % len(COLOURS)], moments(course.middles[::EVERY])
            low, high = _fewer(course.low[:, sensor], np.fmin), _fewer(course.high[:, sensor], np.fmax)
            axes.fill_between(at, low, high, color=colour, alpha=0.3, linewidth=0)
            axes.plot(at, course.mean[::EVERY, sensor], color=colour, linewidth=0.9)
        axes.margins(x=0, y=0.05)
    return drawn.getvalue()


def spark_values(values: NDArray[np.float64], title: str) -> str:
    """How often each value occurs; at least one value."""
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BARS, (low, high if high > low else low + (abs(low) or 1.0)))
    with drawing(SIZE, title, **MARGINS) as (axes, drawn):
        axes.set_axis_off()
        axes.stairs(counts, edges, fill=True, color=ONE, alpha=0.6, linewidth=0)
        axes.margins(x=0, y=0)
    return drawn.getvalue()


def _fewer(numbers: NDArray[np.float64], of: np.ufunc) -> NDArray[np.float64]:
    fewer: NDArray[np.float64] = of.reduceat(numbers, np.arange(0, len(numbers), EVERY))
    return fewer
