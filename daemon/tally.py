"""Counts what was turned away, and logs it at most every ten seconds for each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

LOG_EVERY = 10.0  # seconds; a flood of bad messages must not become a flood of log lines


class Tally:
    """One place that moves the counter and writes the log line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Starts at zero; `clock` is monotonic, in seconds."""
        self.counts: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()

    def count(self, event: str, reason: str, number: int = 1, **fields: object) -> None:
        """Counts an event such as `message_refused` for a reason."""
        key = (event, reason)
        self.counts[key] += number
        self._unlogged[key] += number
        self._log(key, fields)

    def flush(self) -> None:
        """Logs what was counted since the last line of its kind, once that is ten seconds old."""
        for key in list(self._unlogged):
            self._log(key, {})

    def _log(self, key: tuple[str, str], fields: dict[str, object]) -> None:
        now = self._clock()
        if now - self._logged_at.get(key, -LOG_EVERY) < LOG_EVERY:
            return
        self._logged_at[key] = now
        event, reason = key
        count, total = self._unlogged.pop(key), self.counts[key]
        structlog.get_logger().warning(event, reason=reason, count=count, total=total, **fields)
