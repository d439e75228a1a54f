"""One place that moves a counter and writes the log line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from daemon import reasons
from daemon.counted import COUNTED
from daemon.figures import Figures
from daemon.reasons import OTHER

if TYPE_CHECKING:
    from pathlib import Path

LOG_EVERY = 10.0  # seconds; a flood of bad messages must not become a flood of log lines


class Tally:
    """Counts events by their reasons, all of them zero from the start; see `daemon.counted`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self.counts: dict[tuple[str, str], int] = {
            (event, reason): 0 for event, kind in COUNTED.items() for reason in kind.reasons or ("",)
        }
        self.figures = Figures(turned_at=clock())
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._unlogged: dict[tuple[str, str], int] = {}
        self._fields: dict[tuple[str, str], dict[str, object]] = {}  # what holds for all that is not logged

    def count(self, event: str, reason: str, number: int = 1, **fields: object) -> None:
        """Counts what may come in floods, such as `message_refused`; logs at most every ten seconds.

        A line stands for all that was counted since the one before. A field that was not the same each time
        is given as one example of several: `machine_such_as`.
        """
        key = self._move(event, reason, number)
        if key in self._unlogged:
            self._unlogged[key] += number
            fields = _shared(self._fields[key], fields)
        else:
            self._unlogged[key] = number
        self._fields[key] = fields
        self._log(key, reason)

    def note(self, event: str, reason: str, number: int) -> None:
        """Counts what is usual, so that the log need not say it each time."""
        self._move(event, reason, number)

    def store_failed(self, error: BaseException, doing: str, path: Path) -> None:
        """Counts that the store could not be read or written: `doing` what, and where it lies."""
        self.count("store_failed", reasons.of_store(error), detail=str(error), doing=doing, path=str(path))

    def report(self, event: str, reason: str = "", *, level: str = "error", **fields: object) -> None:
        """Counts what is rare and somebody must look at; logs each time."""
        self._move(event, reason, 1)
        if reason:
            fields = {"reason": reason, **fields}
        getattr(structlog.get_logger(), level)(event, **fields)

    def flush(self) -> None:
        """Logs what was counted since the last line of its kind, once that is ten seconds old."""
        for key in list(self._unlogged):
            self._log(key, key[1])

    def _move(self, event: str, reason: str, number: int) -> tuple[str, str]:
        key = (event, reason)
        if key not in self.counts:  # the counters stay as many as they are
            key = (event, OTHER)
        self.counts[key] = self.counts.get(key, 0) + number
        return key

    def _log(self, key: tuple[str, str], reason: str) -> None:
        now = self._clock()
        if now - self._logged_at.get(key, -LOG_EVERY) < LOG_EVERY:
            return
        self._logged_at[key] = now
        count, total = self._unlogged.pop(key), self.counts[key]
        fields = self._fields.pop(key)
        structlog.get_logger().warning(key[0], reason=reason, count=count, total=total, **fields)


def _shared(before: dict[str, object], fields: dict[str, object]) -> dict[str, object]:
    """The fields of several events: those that are alike as they are, of the others an example."""
    return {
        name if name in before and before[name] == value else _example(name): value
        for name, value in fields.items()
    }


def _example(name: str) -> str:
    return f"{name}_such_as"
