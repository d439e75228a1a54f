"""This host's clock, which may be set at any time, told from one that nobody sets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 1000  # milliseconds; less is a clock that is being slewed, or a late look at it
TOGETHER = 100  # milliseconds within which both clocks must be read: a process may stand still in between


def now() -> int:
    """This host's clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def steady() -> int:
    """A clock that nobody sets, in milliseconds since some moment."""
    return time.monotonic_ns() // 1_000_000


class HostClock:
    """Follows this host's clock and notices when it is set.

    Times that it gives go on as steadily as the other clock does until `look` has returned a step.
    """

    def __init__(self, wall: Callable[[], int], steady: Callable[[], int]) -> None:
        """Both in milliseconds: since the epoch, and since some moment."""
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def look(self) -> tuple[int, int]:
        """The time, and by how much the clock was set forward (or back, below 0) since the last look."""
        before = self._steady()
        at = self._wall()
        after = self._steady()
        if after - before > TOGETHER:  # the next look tells
            return after + self._offset, 0
        offset = at - (before + after) // 2
        step, self._offset = offset - self._offset, offset
        return at, step if abs(step) >= STEP else 0

    def moment(self, at: int, arrived: int) -> int:
        """When something arrived, by the clock as it is set now.

        Args:
            at: What it showed then.
            arrived: What the other clock showed.
        """
        moment = arrived + self._offset
        return moment if abs(moment - at) >= STEP else at
