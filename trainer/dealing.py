"""Rows are dealt to the parts block by block, so that each has something of every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.parts import GATE_SHARE, LEAST_FOR_GATE, VALIDATION_SHARE, Parts, count_windows, cuts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History
    from detector.manifest import WindowSpec

LENGTHS = 20  # windows' lengths that a block has: a border costs a window's length less one
FEWEST = 10  # blocks: fewer cannot be shared out
GOLDEN = (5**0.5 - 1) / 2  # its multiples less their whole part lie evenly between 0 and 1, however many
FIT, VALIDATION, CALIBRATION, GATE = range(4)


def deal(
    histories: Sequence[History],
    calibration_share: float,
    grid: Grid,
    spec: WindowSpec,
    counters: Collection[str] = (),
) -> Parts:
    """Shares out each machine's rows; those of one that has too few blocks are split by time.

    A model that follows its machine has to know its newest state, and its threshold that of all states:
    with the newest rows held back, what has changed since last week would be fitted by nobody. A block's
    part depends on its time alone, so that what is held back was held back from the champion as well,
    at whose weights fitting may begin.

    Args:
        histories: Rows in order of time.
        calibration_share: Share of the rows that is held back, for threshold and gate.
        grid: On which they lie.
        spec: Windows, which do not reach over a border of a part.
        counters: Those of the sensors whose increase is looked at.
    """
    parts = [_rows(history, calibration_share, grid, spec) for history in histories]

    def of(*wanted: int) -> tuple[History, ...]:
        return tuple(
            history.rows(np.isin(part, wanted)) for history, part in zip(histories, parts, strict=True)
        )

    calibration, gate = of(CALIBRATION), of(GATE)
    if min(count_windows(part, grid, spec, counters)[1] for part in (calibration, gate)) < LEAST_FOR_GATE:
        calibration = gate = of(CALIBRATION, GATE)
    return Parts(of(FIT), of(VALIDATION), calibration, gate)


def _rows(history: History, calibration_share: float, grid: Grid, spec: WindowSpec) -> NDArray[np.intp]:
    """The part of each row, shape (N,)."""
    rows = len(history)
    if rows:
        slots = grid.of_machine(int(history.at[0])).slots(history.at)
        place = slots // (LENGTHS * spec.length) * GOLDEN % 1
        if len(np.unique(place)) >= FEWEST:
            used = 1 - calibration_share
            fit, not_gate = used * (1 - VALIDATION_SHARE), 1 - calibration_share * GATE_SHARE
            return np.searchsorted((fit, used, not_gate), place, side="right")
    fitted, used = cuts(rows, calibration_share)
    borders = (fitted, used, rows - round((rows - used) * GATE_SHARE))
    return np.searchsorted(borders, np.arange(rows), side="right")
