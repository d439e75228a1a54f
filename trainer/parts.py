"""A history is split by time: rows to fit on, rows to stop early by, rows to calibrate the threshold on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.grid import Grid
from detector.history import History, segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.manifest import WindowSpec

VALIDATION_SHARE = 0.2  # of the rows that are not held back; the last ones, as drift comes last


@dataclass(frozen=True, slots=True)
class Parts:
    """Three stretches of each machine's rows, one after the other; no row is in two of them.

    Attributes:
        fit: Rows on which it is tried out how long to fit.
        validation: Rows by which that is judged.
        calibration: The last rows, held back for the threshold and the gate.
    """

    fit: tuple[History, ...]
    validation: tuple[History, ...]
    calibration: tuple[History, ...]

    @property
    def not_held_back(self) -> tuple[History, ...]:
        """The rows of `fit` and `validation`, on which the model is fitted in the end."""
        return tuple(map(_joined, self.fit, self.validation))


def split(histories: Sequence[History], calibration_share: float) -> Parts:
    """Splits each machine's rows by time; a part of a short history may be empty."""
    fit, validation, calibration = [], [], []
    for history in histories:
        held_back = round(len(history) * calibration_share)
        used = len(history) - held_back
        fitted = used - round(used * VALIDATION_SHARE)
        fit.append(history.rows(slice(0, fitted)))
        validation.append(history.rows(slice(fitted, used)))
        calibration.append(history.rows(slice(used, None)))
    return Parts(tuple(fit), tuple(validation), tuple(calibration))


def learn_grid(histories: Sequence[History], interval: int | None) -> Grid:
    """Learns one grid for all machines: the median distance of times within a machine, one phase.

    Args:
        histories: Their rows.
        interval: The interval in milliseconds where it is known.

    Raises:
        ValueError: No machine has two different times.
    """
    times = np.concatenate([history.at for history in histories])
    if interval is None:
        steps = np.concatenate([np.diff(history.at) for history in histories])
        # Times whose distances are those within a machine, so that `Grid.learn` stays the only rule.
        interval = Grid.learn(np.concatenate([[0], np.cumsum(steps)])).interval
    return Grid.learn(times, interval)


def count_windows(histories: Sequence[History], grid: Grid, spec: WindowSpec) -> tuple[int, int]:
    """Counts the windows that the daemon would see, and those of them with enough values to be scored."""
    ending = scorable = 0
    for history in histories:
        for segment in segments(history, grid, spec.max_gap):
            if len(segment.slots) < spec.length:
                continue
            ends = segment.read[spec.length - 1 :] & (segment.slots[spec.length - 1 :] % spec.stride == 0)
            there = np.cumsum(np.concatenate([[0], np.isfinite(segment.values).sum(axis=1)]))
            share = (there[spec.length :] - there[: -spec.length]) / (spec.length * len(history.sensors))
            ending += int(ends.sum())
            scorable += int((ends & (share > 0) & (share >= spec.min_coverage)).sum())
    return ending, scorable


def _joined(first: History, second: History) -> History:
    label = None
    if first.label is not None and second.label is not None:
        label = np.concatenate([first.label, second.label])
    return History(
        first.machine,
        first.sensors,
        np.concatenate([first.at, second.at]),
        np.concatenate([first.values, second.values]),
        label,
    )
