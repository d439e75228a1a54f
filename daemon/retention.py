"""Deletes stored readings that are too old or too many, a step at a time, and the alerts of their time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

TURNS = 60  # steps in which all machines are looked at
FEWEST = 100  # machines looked at in a step, as far as there are any: 4 ms
STEP = 20_000  # rows deleted at once: 20 to 40 ms, so that readings never wait long
SHARES = 50  # of a machine's time, of which one goes at once when the file is too large


class Retention:
    """Takes the machines in turn, so that none is forgotten when a step is full."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._turn = 0

    def share(self, machines: Sequence[T]) -> Sequence[T]:
        """Those of all machines whose turn it is."""
        most = min(len(machines), max(FEWEST, -(-len(machines) // TURNS)))
        start = self._turn % max(1, len(machines))
        return (*machines[start:], *machines[:start])[:most]

    def prune(
        self,
        machines: Sequence[int],
        *,
        ended: Mapping[int, int],
        silent: Collection[int],
        keep: int,
        max_size: int,
        now: int,
    ) -> tuple[int, int]:
        """Deletes a step of what is too old or too much.

        Args:
            machines: Numbers of those whose turn it is.
            ended: When those of them that are former numbers came to an end; their readings age all the same.
            silent: Those of which all readings go.
            keep: Milliseconds that a machine's readings are kept, counted from its newest.
            max_size: Bytes above which every machine's oldest readings go as well.
            now: Milliseconds since the epoch; a reading from the future does not count as the newest.

        Returns:
            How many readings went for their age, and for the size of the file.
        """
        execute = self._database.execute
        (pages,), (free,), (size,) = (
            execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
        too_large = (pages - free) * size > max_size
        old = over = 0
        for machine in machines:
            if old + over >= STEP:
                break
            self._turn += 1
            oldest, newest = self._span(machine)
            if newest is None or oldest is None:
                if machine in ended:
                    self._forget_former(machine)
                continue
            age = max(0, now - ended[machine]) if machine in ended else 0
            until = newest + 1 if machine in silent else min(newest, now) + age - keep
            if until > oldest:
                old += self._delete(machine, until, STEP - old - over)
            elif too_large:
                share = oldest + (newest - oldest) // SHARES + 1
                over += self._delete(machine, share, STEP - old - over)
        return old, over

    def empty(self, machine: int) -> bool:
        """Whether no reading of a machine is left."""
        return self._span(machine) == (None, None)

    def forget(self, machine: int) -> None:
        """Forgets a machine of which no reading is left."""
        self._database.execute("DELETE FROM alerts WHERE machine = ?", (machine,))
        self._database.execute("DELETE FROM machines WHERE id = ?", (machine,))

    def _span(self, machine: int) -> tuple[int | None, int | None]:
        """Times of a machine's oldest and newest readings."""
        oldest, newest = self._database.execute(
            "SELECT (SELECT min(at) FROM readings WHERE machine = ?1), "
            "(SELECT max(at) FROM readings WHERE machine = ?1)",
            (machine,),
        ).fetchone()
        return oldest, newest

    def _forget_former(self, former: int) -> None:
        """Forgets a former number of which no reading is left, with its alerts."""
        self._database.execute("DELETE FROM alerts WHERE machine = ? AND closed_at NOTNULL", (former,))
        self._database.execute("DELETE FROM former WHERE machine = ?", (former,))

    def _delete(self, machine: int, until: int, most: int) -> int:
        """Deletes a machine's readings before a time, about `most` of them, and the alerts of their time."""
        step = self._database.execute(
            "SELECT at FROM readings WHERE machine = ? AND at < ? ORDER BY at LIMIT 1 OFFSET ?",
            (machine, until, most),
        ).fetchone()
        if step is not None:
            (until,) = step
        statement = "DELETE FROM readings WHERE machine = ? AND at < ?"
        gone = self._database.execute(statement, (machine, until)).rowcount
        self._database.execute(
            "DELETE FROM alerts WHERE machine = ?1 "
            "AND closed_at < (SELECT min(at) FROM readings WHERE machine = ?1)",
            (machine,),
        )
        return gone
