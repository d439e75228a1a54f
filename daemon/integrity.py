"""A damaged store is told from a disk that refuses, and what it still tells is kept."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from daemon import labelling, payloads
from daemon.schema import TABLES, UNREADABLE
from detector.machine import Snapshot

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file that was set aside.

    Attributes:
        at: When, in milliseconds since the epoch.
        file: Where it lies now; empty where there was nothing to set aside.
        reason: What was wrong.
    """

    at: int
    file: str
    reason: str

    def problem(self, now: int) -> str | None:
        """What the status says of it for a day, so that somebody notices."""
        if now - self.at >= SHOWN:
            return None
        at = payloads.iso(self.at)
        if not self.file:
            return f"the store was damaged ({self.reason}), and made anew at {at}"
        return f"the store was damaged ({self.reason}): it is {self.file} now, and begun anew at {at}"


SHOWN = 86_400_000  # milliseconds
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}  # all else is the disk's, another process's or ours
BAD_TEXT = "Could not decode to UTF-8"  # what the sqlite3 module says of it
CHECK_WITHIN = 0.2  # seconds; 50 MiB. A check of 2 GiB takes 7 s, so there the rest is found where it is met
STEPS = 10_000  # of SQLite's machine between looks at the clock: less than a millisecond


def damaged(error: Exception) -> bool:
    """Whether an error says that the file's content is wrong, which no second try mends."""
    if isinstance(error, UNREADABLE):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # our own misuse of SQLite has none, nor has bad text
    if code is None:
        return str(error).startswith(BAD_TEXT)
    return code & 0xFF in DAMAGE  # extended codes say more in higher bits


def lost(path: Path, *, expected: bool) -> str | None:
    """What is wrong with a file that is empty or not there; None: nothing.

    Args:
        path: The file.
        expected: Whether there should be one. A log of writes, which SQLite deletes at the first look,
            says that there was one as well.
    """
    if path.exists() and path.stat().st_size > 0:
        return None
    state = "it is empty" if path.exists() else "it is gone"
    log = beside(path, "-wal")
    if log.exists() and log.stat().st_size > 0:
        return f"{state}, with a log of writes beside it"
    return state if expected else None


def flaw(database: sqlite3.Connection) -> str | None:
    """What is wrong with a file, as far as a short look shows; None: nothing, or it is new.

    Raises:
        sqlite3.DatabaseError: It is no database, is damaged, or cannot be read; see `damaged`.
    """
    # The readings come last: the rest is small, and nothing works without it.
    rows = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name = 'readings'")
    tables = [name for (name,) in rows]
    if tables and not {*tables} >= TABLES:
        return "it is a database, but no store"
    until = time.monotonic() + CHECK_WITHIN
    database.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        for table in tables:
            (found,) = database.execute(f'PRAGMA quick_check("{table}")').fetchone()
            if found != "ok":
                return str(found).splitlines()[-1]  # the first is a heading
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        database.set_progress_handler(None, 0)
    return None


LOGS = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file


def beside(path: Path, suffix: str) -> Path:
    """The file whose name has a suffix more."""
    return path.with_name(path.name + suffix)


def salvage(damaged_file: Path, database: sqlite3.Connection, at: int) -> None:
    """Copies what is small and still legible: the state of machines, open alerts, what is unsent.

    Args:
        damaged_file: Where it is read, and only read.
        database: A new store, in a transaction.
        at: Milliseconds since the epoch.

    Raises:
        sqlite3.Error: The new store cannot be written.
    """
    # Numbers of publications that are on their way must not be given again, whatever is legible.
    database.execute("INSERT INTO outbox VALUES (?, '', x'')", (at,))
    database.execute("DELETE FROM outbox")
    for read, write in COPIES.values():
        for row in _legible(damaged_file, read):
            with suppress(sqlite3.IntegrityError):  # damage may have made it a value of another type
                database.execute(write, row)
    database.execute("UPDATE machines SET heard_at = ?", (at,))
    for machine, content in database.execute("SELECT id, snapshot FROM machines").fetchall():
        try:
            snapshot = msgspec.msgpack.decode(content, type=Snapshot)
        except UNREADABLE:
            database.execute("DELETE FROM machines WHERE id = ?", (machine,))
        else:
            alert = snapshot.alerts.alert
            if alert is not None:
                values = (alert.id, machine, alert.opened_at)
                database.execute("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, NULL)", values)


COPIES = {
    "machines": (
        "SELECT name, snapshot FROM machines WHERE snapshot IS NOT NULL",
        "INSERT OR IGNORE INTO machines (name, snapshot) VALUES (?, ?)",
    ),
    "outbox": ("SELECT id, topic, payload FROM outbox ORDER BY id", "INSERT INTO outbox VALUES (?, ?, ?)"),
    "texts": ("SELECT number, text FROM texts", "INSERT OR IGNORE INTO texts VALUES (?, ?)"),
    "labels": (labelling.READ, labelling.WRITE),
    "subscriptions": ("SELECT topic FROM subscriptions", "INSERT OR IGNORE INTO subscriptions VALUES (?)"),
}


def _legible(damaged_file: Path, query: str) -> list[tuple[object, ...]]:
    """The rows of a query up to the first that is illegible."""
    rows: list[tuple[object, ...]] = []
    if not damaged_file.exists() or damaged_file.stat().st_size == 0:  # SQLite would delete its log
        return rows
    where = f"{damaged_file.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(where, uri=True)) as old:
        for row in old.execute(query):
            rows.append(row)  # noqa: PERF402 - those before an error count
    return rows
