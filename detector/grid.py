"""The regular time grid onto which readings are put."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Slots of `interval` milliseconds, each centred on the time at which readings usually come.

    Attributes:
        interval: Length of a slot, in milliseconds, at least 1.
        phase: Centre of slot 0, in milliseconds after the epoch, 0 <= phase < interval.
    """

    interval: int
    phase: int = 0

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"grid.interval: must be at least 1 ms, got {self.interval}")
        if not 0 <= self.phase < self.interval:
            raise ValueError(f"grid.phase: must lie within the interval, got {self.phase}")

    def slot(self, at: int) -> int:
        """The slot that holds the time `at`."""
        return (at - self.phase + self.interval // 2) // self.interval

    def slots(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """`slot` for an array of times, shape (N,)."""
        return (at - self.phase + self.interval // 2) // self.interval

    def time(self, slot: int) -> int:
        """The time of the sample in `slot`."""
        return slot * self.interval + self.phase

    def of_machine(self, at: int) -> Grid:
        """The same slots, moved to the phase of a machine that is far from this one.

        Machines that share a bundle report at different moments of the interval; near the border
        of two slots, jitter would put two readings into one slot and none into the next.

        Args:
            at: Time of the machine's first reading, in milliseconds since the epoch.
        """
        off = (at - self.phase) % self.interval
        near = min(off, self.interval - off) <= self.interval // 4
        return self if near else Grid(self.interval, at % self.interval)

    @classmethod
    def learn(cls, at: NDArray[np.int64], interval: int | None = None) -> Grid:
        """Learns interval and phase from the times of a history.

        The interval is the median distance of consecutive times, the phase their circular mean
        modulo the interval, so that jitter does not push a reading into its neighbour's slot.

        Args:
            at: Ascending times in milliseconds, shape (N,).
            interval: The interval in milliseconds where it is known.

        Raises:
            ValueError: Fewer than two different times, so no interval can be learned.
        """
        if interval is None:
            steps = np.diff(at)
            steps = steps[steps > 0]
            if len(steps) == 0:
                raise ValueError(f"interval: needs two different times to be learned, got {len(at)} row(s)")
            interval = max(1, round(float(np.median(steps))))
        angle = (at % interval) * (2 * np.pi / interval)
        mean = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()) if len(at) else 0.0
        return cls(interval=interval, phase=round(float(mean) / (2 * np.pi) * interval) % interval)
