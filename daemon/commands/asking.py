"""Commands put down in the store for the daemon, and what was stored of machines, alerts and labels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from daemon import labelling
from daemon.beside import open_beside
from daemon.clock import now
from daemon.commands import table
from daemon.commands.answer import Answer
from daemon.schema import UNREADABLE
from detector.machine import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daemon.commands.command import Command
    from detector.labels import Label

LOOK = 0.05  # seconds between looks for an answer


class AlertRow(msgspec.Struct, frozen=True):
    """An alert about what a machine did.

    Attributes:
        id: Its id.
        machine: Whose.
        opened_at: When it opened, in milliseconds since the epoch.
        closed_at: When it closed; None: it is open.
        label: What was said of it.
    """

    id: str
    machine: str
    opened_at: int
    closed_at: int | None
    label: str | None


class Asking:
    """Reads the store and asks, in short transactions; the daemon may run."""

    def __init__(self, path: Path) -> None:
        """Uses the store in this file.

        Raises:
            StoreError: There is none, it was written by another version, or cannot be opened.
        """
        self._database = open_beside(path)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def put(self, command: Command, machine: str | None) -> int:
        """Puts a command down; returns its number."""
        filed = table.Filed(msgspec.Raw(msgspec.json.encode(command)))
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:
            table.write(self._database, [table.Row(machine, now(), filed)])
            (number,) = self._database.execute("SELECT last_insert_rowid()").fetchone()
        return int(number)

    def answer(self, number: int, within: float) -> Answer | None:
        """The daemon's answer; waits so many seconds for it."""
        until = time.monotonic() + within
        while True:
            query = "SELECT answer FROM commands WHERE id = ?"
            row = self._database.execute(query, (number,)).fetchone()
            if row is not None and row[0] is not None:
                return msgspec.json.decode(row[0], type=Answer)
            if time.monotonic() >= until:
                return None
            time.sleep(LOOK)

    def alerts(self, begin: str = "") -> Iterator[AlertRow]:
        """Alerts whose id begins so, the newest first."""
        query = (
            "SELECT alerts.id, numbers.name, opened_at, closed_at, "
            "(SELECT kind FROM labels WHERE alert = alerts.id ORDER BY noted_at DESC LIMIT 1) "
            "FROM alerts JOIN numbers USING (machine) WHERE substr(alerts.id, 1, length(?1)) = ?1 "
            "ORDER BY opened_at DESC"
        )
        for row in self._database.execute(query, (begin,)):
            yield AlertRow(*row)

    def machines(self) -> Iterator[tuple[str, Snapshot | None]]:
        """Every machine and its state when it was last stored, by name."""
        for name, content in self._database.execute("SELECT name, snapshot FROM machines ORDER BY name"):
            snapshot = None
            if content is not None:
                try:
                    snapshot = msgspec.msgpack.decode(content, type=Snapshot)
                except UNREADABLE:  # damage that SQLite does not see; the daemon says it
                    snapshot = None
            yield name, snapshot

    def labels(self, machine: str | None = None) -> list[Label]:
        """The labels of a machine, or of all, in order of time."""
        return labelling.read(self._database, machine)
