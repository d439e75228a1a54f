"""The store's tables, and the steps that bring a file of an older version to this one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

# What msgspec raises on content that is none of ours: not only its own errors.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
TABLES = frozenset(
    {"machines", "layouts", "readings", "alerts", "outbox", "dead_letters"}
)  # in every version


def migrate(database: sqlite3.Connection) -> None:
    """Takes the steps that a file lacks; each is a transaction, and a new file takes all of them.

    Raises:
        sqlite3.Error: The disk refuses; the file is at one of the steps.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for number, step in enumerate(STEPS[version:], version + 1):
        database.execute("BEGIN IMMEDIATE")
        with database:  # commits, or rolls back
            step(database)
            database.execute(f"PRAGMA user_version = {number}")


def _make(*statements: str) -> Callable[[sqlite3.Connection], None]:
    def step(database: sqlite3.Connection) -> None:
        for statement in statements:
            database.execute(statement)

    return step


_first = _make(
    "CREATE TABLE machines (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, snapshot BLOB) STRICT",
    "CREATE TABLE layouts (id INTEGER PRIMARY KEY, sensors TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE readings ("
    "machine INTEGER NOT NULL, at INTEGER NOT NULL, layout INTEGER NOT NULL, numbers BLOB NOT NULL, "
    "PRIMARY KEY (machine, at, layout)) STRICT, WITHOUT ROWID",
    "CREATE TABLE alerts ("
    "id TEXT PRIMARY KEY, machine INTEGER NOT NULL, opened_at INTEGER NOT NULL, closed_at INTEGER) STRICT",
    "CREATE TABLE outbox ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL) STRICT",
    "CREATE TABLE dead_letters ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, received_at INTEGER NOT NULL, topic TEXT NOT NULL, "
    "payload BLOB NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL) STRICT",
)


def _second(database: sqlite3.Connection) -> None:
    """Subscriptions are remembered, and alerts found by machine; scores of windows replace their bits."""
    database.execute("CREATE TABLE subscriptions (topic TEXT PRIMARY KEY) STRICT")
    database.execute("CREATE INDEX alerts_by_machine ON alerts (machine, closed_at)")
    rows = database.execute("SELECT id, snapshot FROM machines WHERE snapshot IS NOT NULL").fetchall()
    for machine, content in rows:
        try:
            snapshot = msgspec.msgpack.decode(content)
            counted = isinstance(
                snapshot["alerts"]["recent"], int
            )  # which of the last windows were anomalies
        except (*UNREADABLE, LookupError, TypeError):  # it is left to who reads it, and says so
            continue
        if counted:
            snapshot["alerts"]["recent"] = ()  # counting begins anew; an open alert stays open
            values = (msgspec.msgpack.encode(snapshot), machine)
            database.execute("UPDATE machines SET snapshot = ? WHERE id = ?", values)


# Categories are numbers in the readings.
_third = _make("CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")


# A machine whose clock was set back goes on under another number, since its times come a second time;
# dead letters that are to be replayed are noted.
_fourth = _make(
    "CREATE TABLE former (machine INTEGER PRIMARY KEY, name TEXT NOT NULL, ended_at INTEGER NOT NULL) STRICT",
    "CREATE VIEW numbers AS "
    "SELECT id AS machine, name FROM machines UNION ALL SELECT machine, name FROM former",
    "CREATE TABLE replays (letter INTEGER PRIMARY KEY) STRICT",
)


def _fifth(database: sqlite3.Connection) -> None:
    """A machine's last reading by this host's clock, and what became of damaged files."""
    database.execute("ALTER TABLE machines ADD COLUMN heard_at INTEGER NOT NULL DEFAULT 0")
    database.execute("UPDATE machines SET heard_at = ?", (time.time_ns() // 1_000_000,))
    database.execute(
        "CREATE TABLE set_aside (at INTEGER NOT NULL, file TEXT NOT NULL, reason TEXT NOT NULL, "
        "pending INTEGER NOT NULL) STRICT"
    )


# A dead letter that the broker had retained has no time of its own, however often it is read.
_sixth = _make("ALTER TABLE dead_letters ADD COLUMN retained INTEGER NOT NULL DEFAULT FALSE")


# What people say of a machine's time, and what they tell the daemon on the command line. Labels go by the
# machine's name: they outlive its readings.
_seventh = _make(
    "CREATE TABLE labels ("
    "machine TEXT NOT NULL, kind TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER, "
    "noted_at INTEGER NOT NULL, by TEXT NOT NULL, note TEXT NOT NULL, code TEXT NOT NULL, alert TEXT, "
    "PRIMARY KEY (machine, kind, start)) STRICT, WITHOUT ROWID",
    "CREATE TABLE commands ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, machine TEXT, content BLOB NOT NULL, "
    "answer BLOB) STRICT",
)


STEPS = (_first, _second, _third, _fourth, _fifth, _sixth, _seventh)
SCHEMA = len(STEPS)
