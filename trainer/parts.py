"""A history is split by time: rows to fit on, to stop early by, to calibrate on, and for the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.grid import Grid
from detector.history import History, segments, window_starts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from detector.manifest import WindowSpec

VALIDATION_SHARE = 0.2  # of the rows that are not held back; the last ones, as drift comes last
GATE_SHARE = 1 / 3  # of the rows that are held back; again the last ones
LEAST_FOR_GATE = 100  # windows of either part: fewer cannot tell retrain.gate.max_alert_rate's 1 % from none


@dataclass(frozen=True, slots=True)
class Parts:
    """Stretches of each machine's rows, one after the other.

    Attributes:
        fit: Rows on which it is tried out how long to fit.
        validation: Rows by which that is judged.
        calibration: Rows held back for the threshold.
        gate: Rows held back for the gate; those of `calibration` where there are too few for both.
    """

    fit: tuple[History, ...]
    validation: tuple[History, ...]
    calibration: tuple[History, ...]
    gate: tuple[History, ...]

    @property
    def gate_apart(self) -> bool:
        """Whether nothing was learned from the rows of `gate`."""
        return self.gate is not self.calibration

    @property
    def not_held_back(self) -> tuple[History, ...]:
        """The rows of `fit` and `validation`, on which the model is fitted in the end."""
        return tuple(map(_joined, self.fit, self.validation))


def split(histories: Sequence[History], calibration_share: float) -> Parts:
    """Splits each machine's rows by time; a part of a short history may be empty.

    What is held back serves threshold and gate, until `with_gate_apart`.
    """
    fit, validation, calibration = [], [], []
    for history in histories:
        used = len(history) - round(len(history) * calibration_share)
        fitted = used - round(used * VALIDATION_SHARE)
        fit.append(history.rows(slice(0, fitted)))
        validation.append(history.rows(slice(fitted, used)))
        calibration.append(history.rows(slice(used, None)))
    held_back = tuple(calibration)
    return Parts(tuple(fit), tuple(validation), held_back, held_back)


def with_gate_apart(parts: Parts, grid: Grid, spec: WindowSpec, counters: Collection[str] = ()) -> Parts:
    """Keeps the last held-back rows for the gate alone, where enough windows are left on both sides."""
    cuts = [len(history) - round(len(history) * GATE_SHARE) for history in parts.calibration]
    pairs = list(zip(parts.calibration, cuts, strict=True))
    calibration = tuple(history.rows(slice(0, cut)) for history, cut in pairs)
    gate = tuple(history.rows(slice(cut, None)) for history, cut in pairs)
    if min(count_windows(part, grid, spec, counters)[1] for part in (calibration, gate)) < LEAST_FOR_GATE:
        return parts
    return replace(parts, calibration=calibration, gate=gate)


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


def count_windows(
    histories: Sequence[History], grid: Grid, spec: WindowSpec, counters: Collection[str] = ()
) -> tuple[int, int]:
    """Counts the windows that the daemon would see, and those of them with enough values to be scored."""
    ending = scorable = 0
    for history in histories:
        for segment in segments(history, grid, spec.max_gap, counters):
            starts, coverage = window_starts(segment, spec)
            ending += len(starts)
            scorable += int(spec.scorable(coverage).sum())
    return ending, scorable


def _joined(first: History, second: History) -> History:
    label = None
    if first.label is not None and second.label is not None:
        label = np.concatenate([first.label, second.label])
    return replace(
        first,
        at=np.concatenate([first.at, second.at]),
        values=np.concatenate([first.values, second.values]),
        label=label,
    )
