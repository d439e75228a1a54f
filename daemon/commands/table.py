"""The store's table of commands: those that wait, and the answers to the newest that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from daemon.intake import Reply
from daemon.schema import UNREADABLE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

NOTHING = msgspec.Raw(b"null")
KEPT = 1_000  # answers: who did not hear one asks again soon


class Filed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a command.

    Attributes:
        command: As it was sent; null where it was executed, and only its answer is kept.
        reply: Where it is to be answered.
        digest: Names a message of MQTT, by its topic and content; empty on the command line.
    """

    command: msgspec.Raw = NOTHING
    reply: Reply | None = None
    digest: str = ""


class Row(msgspec.Struct, frozen=True):
    """A command in the table.

    Attributes:
        machine: Whom it is about.
        at: When it was given, in milliseconds since the epoch by this host's clock.
        content: What is kept of it.
        answer: Its answer; None: it waits.
        number: Its number; 0: it is not in the table yet.
    """

    machine: str | None
    at: int
    content: Filed
    answer: bytes | None = None
    number: int = 0


def write(database: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Puts commands at the end; the oldest answers go."""
    found = [(row.at, row.machine, msgspec.json.encode(row.content), row.answer) for row in rows]
    if not found:
        return
    database.executemany(
        "INSERT INTO commands (at, machine, content, answer) VALUES (?, ?, ?, ?)",
        found,
    )
    database.execute(
        "DELETE FROM commands WHERE answer IS NOT NULL AND id <= (SELECT max(id) FROM commands) - ?", (KEPT,)
    )


def settle(database: sqlite3.Connection, answers: Iterable[tuple[int, bytes, Filed]]) -> None:
    """Notes the answers to these numbers; of the commands only that is kept which is asked for again."""
    found = [(number, answer, msgspec.json.encode(kept)) for number, answer, kept in answers]
    query = "UPDATE commands SET answer = ?2, content = ?3 WHERE id = ?1 AND answer IS NULL"
    database.executemany(query, found)


def waiting(database: sqlite3.Connection, most: int) -> list[Row]:
    """The first commands without an answer."""
    query = "SELECT id, at, machine, content FROM commands WHERE answer IS NULL ORDER BY id LIMIT ?"
    rows = []
    for number, at, machine, content in database.execute(query, (most,)):
        try:
            filed = msgspec.json.decode(content, type=Filed)
        except UNREADABLE:  # damage that SQLite does not see
            filed = Filed()
        rows.append(Row(machine, at, filed, number=number))
    return rows


def find(database: sqlite3.Connection, digest: str) -> tuple[bool, bytes | None]:
    """Whether a message of this digest is in the table, and its answer."""
    query = "SELECT answer FROM commands WHERE instr(content, CAST(? AS BLOB)) ORDER BY id DESC LIMIT 1"
    row = database.execute(query, (f'"digest":"{digest}"',)).fetchone()
    return row is not None, row[0] if row else None
