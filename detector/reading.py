"""What one machine sent for one instant."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Reading(msgspec.Struct, frozen=True, eq=False, gc=False):
    """All values that one machine sent for one instant; possibly only some of its sensors.

    Attributes:
        machine: The machine's name.
        at: Time of the reading, in milliseconds since the epoch, by the machine's own clock.
        sensors: Names, in the order of `values`.
        values: Shape (len(sensors),), float64; of a category, `detector.channels.number_of` its text.
            NaN says that the sensor reported no value, while a sensor that is not named may still
            follow in another reading of the same instant.
        received_at: When the reading arrived, in milliseconds since the epoch; None if the machine did not
            send it just now, as in replay: it tells nothing of its clock, nor that it is heard.
    """

    machine: str
    at: int
    sensors: tuple[str, ...]
    values: NDArray[np.float64]
    received_at: int | None = None


class Dropped(StrEnum):
    """Why a reading was left out; also the log field and the metric label."""

    LATE = "late"
    DUPLICATE = "duplicate"
    FUTURE = "future"
    PAST = "past"
    NO_KNOWN_SENSOR = "no_known_sensor"
    TOO_MANY_MACHINES = "too_many_machines"


class Ignored(StrEnum):
    """Why a single value counts as missing; also the log field and the metric label."""

    NEW_CATEGORY = "new_category"  # none that was seen in training
