"""Rows are dealt to the parts block by block, so that each has something of every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.blocks import LENGTHS, cut
from trainer.parts import GATE_SHARE, LEAST_FOR_GATE, VALIDATION_SHARE, Parts, count_windows, cuts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History
    from detector.manifest import WindowSpec

FEWEST = 10  # blocks: fewer cannot be shared out
MOST = 200  # more only cost windows at their borders
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
    with the newest rows held back, what has changed since last week would be fitted by nobody.

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
    blocks = cut(history, grid, spec.max_gap, max(LENGTHS * spec.length, rows // MOST))
    if len(blocks) >= FEWEST:
        return np.repeat(_parts(blocks.sizes, calibration_share), blocks.sizes)
    fitted, used = cuts(rows, calibration_share)
    borders = (fitted, used, rows - round((rows - used) * GATE_SHARE))
    return np.searchsorted(borders, np.arange(rows), side="right")


def _parts(sizes: NDArray[np.intp], calibration_share: float) -> NDArray[np.intp]:
    """The part of each block, shape (B,): from the newest on, the one that lacks most of its share."""
    used = 1 - calibration_share
    wanted = np.array(
        [
            used * (1 - VALIDATION_SHARE),
            used * VALIDATION_SHARE,
            calibration_share * (1 - GATE_SHARE),
            calibration_share * GATE_SHARE,
        ]
    )
    given, dealt = np.zeros(4), np.empty(len(sizes), np.intp)
    for block in range(len(sizes) - 1, -1, -1):
        part = int((wanted * (given.sum() + sizes[block]) - given).argmax())
        given[part] += sizes[block]
        dealt[block] = part
    return dealt
