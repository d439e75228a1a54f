"""Finds combinations of sensors that no stored reading has any more, a small step at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

STEP = 20_000  # readings looked at in a step: 10 ms


class Sweep:
    """Looks at every stored reading once; what is stored meanwhile is to be told by `see`."""

    def __init__(self, machines: Iterable[int], layouts: Iterable[int]) -> None:
        """Starts with all numbers of machines and of combinations."""
        self.unused = {*layouts}  # as far as is known
        self._machines = deque(machines)
        self._after: int | None = None  # time of the last reading that was looked at

    def see(self, layouts: Iterable[int]) -> None:
        """Notes combinations that a reading has."""
        self.unused.difference_update(layouts)

    def step(self, database: sqlite3.Connection) -> bool:
        """Looks at some more readings; returns whether it was the last step."""
        if not self._machines:
            return True
        after = -(2**63) if self._after is None else self._after
        rows = database.execute(
            "SELECT at, layout FROM readings WHERE machine = ? AND at > ? ORDER BY at LIMIT ?",
            (self._machines[0], after, STEP),
        ).fetchall()
        self.see(layout for _, layout in rows)
        if len(rows) < STEP:
            self._machines.popleft()
            self._after = None
        else:
            # Of the last instant there may be more.
            self._after = rows[-1][0] - 1 if rows[0][0] < rows[-1][0] else rows[-1][0]
        return not self._machines
