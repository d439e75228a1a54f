"""Which sensors are to blame for an error, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class SensorShare(msgspec.Struct, frozen=True, gc=False):
    """One sensor's part in an alert.

    Attributes:
        contribution: Its share of the error; all sensors' shares sum to 1.
        value: Its newest value in its own unit, a category's text, a counter's increase since the slot
            before; None where it was missing or the category is new.
        expected: What the model expected at the same time.
    """

    sensor: str
    contribution: float
    value: float | str | None
    expected: float | str


NOTHING = 1e-6  # an error below is the rounding of single precision, which blames nobody


def blame(
    sensors: tuple[str, ...],
    share: NDArray[np.float64],
    values: Sequence[float | str | None],
    expected: Sequence[float | str],
) -> tuple[SensorShare, ...]:
    """Ranks all F sensors, the largest contribution first; `share` has shape (F,), without NaN."""
    whole = float(share.sum())
    contributions = share / whole if whole > NOTHING else np.full(len(share), 1 / len(share))
    return tuple(
        SensorShare(
            sensor=sensors[i],
            contribution=float(contributions[i]),
            value=values[i],
            expected=expected[i],
        )
        for i in np.argsort(-contributions, kind="stable").tolist()
    )
