"""What the store keeps beside readings stays within bounds: publications that wait, and dead letters."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import sqlite3

OUTBOX_BYTES = 64 * 2**20  # of payloads: what waits is held in memory once there is a broker
DEAD_BYTES = 64 * 2**20  # of topics and payloads: who has that many refused messages looks at the newest
UNDELIVERABLE = "publication_too_large"  # reasons in the dead letters
OUTBOX_FULL = "outbox_full"
KEPT_PAYLOAD = 16_384  # bytes of a dead letter: enough to see what it was
REPEATED = b'"change":"updated"'  # no name in a JSON text can hold it: quotes are escaped there


class Limits(msgspec.Struct, frozen=True):
    """What the store may keep.

    Attributes:
        keep: Milliseconds that a machine's readings are kept, counted from its newest, and that a
            machine is remembered, counted from when it was last heard.
        max_size: Bytes above which every machine's oldest readings go as well.
        max_outbox: Publications that wait for the broker.
    """

    keep: int
    max_size: int
    max_outbox: int


class Pruned(msgspec.Struct):
    """What a step has deleted.

    Attributes:
        old: Readings that were too old.
        over: Readings that were too many for the file's size.
        machines: Machines that are forgotten.
        outgoing: Numbers of publications that will not be sent.
        dead_letters: Dead letters that were too many bytes.
        layouts: Numbers of combinations of sensors that no reading has any more.
    """

    old: int = 0
    over: int = 0
    machines: tuple[str, ...] = ()
    outgoing: tuple[int, ...] = ()
    dead_letters: int = 0
    layouts: tuple[int, ...] = ()


def prune_outbox(database: sqlite3.Connection, most: int, now: int) -> tuple[int, ...]:
    """Moves what waits beyond the bounds to the dead letters; returns its numbers.

    Repetitions of open alerts go first, then the oldest of all.
    """
    rows = database.execute(
        "SELECT id, length(payload) FROM outbox ORDER BY instr(payload, ?) = 0 DESC, id DESC", (REPEATED,)
    ).fetchall()  # what is kept first of all comes first
    sizes = accumulate(size for _, size in rows)
    kept = sum(number <= most and size <= OUTBOX_BYTES for number, size in enumerate(sizes, 1))
    gone = tuple(sorted(number for number, _ in rows[kept:]))
    detail = f"{len(rows)} publications waited for the broker"
    for number in gone:
        bury(database, number, OUTBOX_FULL, detail, now)
    return gone


def bury(database: sqlite3.Connection, number: int, reason: str, detail: str, now: int) -> int:
    """Moves a publication to the dead letters; returns whether it was still there."""
    database.execute(
        "INSERT INTO dead_letters (received_at, topic, payload, reason, detail) "
        "SELECT ?, topic, substr(payload, 1, ?), ?, ? FROM outbox WHERE id = ?",
        (now, KEPT_PAYLOAD, reason, detail, number),
    )
    gone: int = database.execute("DELETE FROM outbox WHERE id = ?", (number,)).rowcount
    return gone


def prune_dead_letters(database: sqlite3.Connection) -> int:
    """Deletes the oldest dead letters beyond the bytes that are kept; returns how many."""
    rows = database.execute(
        "SELECT id, length(topic) + length(payload) FROM dead_letters ORDER BY id DESC"
    ).fetchall()
    kept = sum(size <= DEAD_BYTES for size in accumulate(size for _, size in rows))
    if kept == len(rows):
        return 0
    gone: int = database.execute("DELETE FROM dead_letters WHERE id <= ?", (rows[kept][0],)).rowcount
    return gone
