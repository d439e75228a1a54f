"""Which sensors are to blame for an error, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SensorShare(msgspec.Struct, frozen=True, gc=False):
    """One sensor's part in an alert.

    Attributes:
        contribution: Its share of the error; all sensors' shares sum to 1.
        value: Its newest value in its own unit; None where it was missing.
        expected: What the model expected at the same time.
    """

    sensor: str
    contribution: float
    value: float | None
    expected: float


NOTHING = 1e-6  # an error below is the rounding of single precision, which blames nobody


def blame(
    sensors: tuple[str, ...],
    share: NDArray[np.float64],
    values: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> tuple[SensorShare, ...]:
    """Ranks all sensors, the largest contribution first; arrays of shape (F,), NaN in `values` alone."""
    whole = float(share.sum())
    contributions = share / whole if whole > NOTHING else np.full(len(share), 1 / len(share))
    return tuple(
        SensorShare(
            sensor=sensors[i],
            contribution=float(contributions[i]),
            value=None if np.isnan(values[i]) else float(values[i]),
            expected=float(expected[i]),
        )
        for i in np.argsort(-contributions, kind="stable").tolist()
    )
