"""What the loop has done, in plain numbers: one thread moves them, any other may read them."""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass, field

from detector.alerts import Change
from detector.events import NotScoredReason

DEAD = 30.0  # seconds without a sign of life from which the loop hangs; systemd's watchdog waits as long
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How many values fell up to each bound, and beyond the last."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, number: int = 1) -> None:
        """Adds a value so many times."""
        self.counts[bisect_left(self.bounds, value)] += number
        self.sum += value * number


@dataclass(slots=True)
class Figures:
    """Counted from the start of the process; moved by the service thread alone.

    Attributes:
        readings: Readings that are stored.
        scored: Windows with a score.
        not_scored: Windows without one.
        alerts: Changes of alerts, stored with their publication.
        connections: Connections to the broker that came to stand.
        publications: Publications that the broker has confirmed.
        steps: Seconds of each step that dealt with messages.
        latency: Seconds from a message's arrival to the end of its step, when its alerts are on their way;
            each message counts with the age of its step's oldest.
        turned_at: When the loop last showed life, in seconds of the monotonic clock.
        committed_at: When the store last took anything, on the same clock; None before the first time.
    """

    readings: int = 0
    scored: int = 0
    not_scored: dict[NotScoredReason, int] = field(default_factory=lambda: dict.fromkeys(NotScoredReason, 0))
    alerts: dict[Change, int] = field(default_factory=lambda: dict.fromkeys(Change, 0))
    connections: int = 0
    publications: int = 0
    steps: Histogram = field(default_factory=Histogram)
    latency: Histogram = field(default_factory=Histogram)
    turned_at: float = 0.0
    committed_at: float | None = None

    def alive(self) -> bool:
        """Whether the loop turns, or waits for a disk and says so."""
        return time.monotonic() - self.turned_at < DEAD
