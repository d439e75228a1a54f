"""What the store keeps beside readings stays within bounds: publications that wait, and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

OUTBOX_BYTES = 64 * 2**20  # of payloads: what waits is held in memory once there is a broker
DEAD_BYTES = 64 * 2**20  # of topics and payloads: who has that many refused messages looks at the newest
UNDELIVERABLE = "publication_too_large"  # reasons in the dead letters
OUTBOX_FULL = "outbox_full"
KEPT_PAYLOAD = 16_384  # bytes of a dead letter: enough to see what it was
REPEATED = b'"change":"updated"'  # no name in a JSON text can hold it: quotes are escaped there
STEP = 5_000  # publications that are looked at or moved at once: 50 ms, so that readings never wait long
COUNTER = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE kept (rows, bytes, dead_bytes, version, looked_at);
INSERT INTO kept VALUES (0, 0, 0, NULL, 0);
CREATE TEMP TRIGGER waits AFTER INSERT ON main.outbox BEGIN
    UPDATE kept SET rows = rows + 1, bytes = bytes + length(new.payload);
END;
CREATE TEMP TRIGGER waits_no_more AFTER DELETE ON main.outbox BEGIN
    UPDATE kept SET rows = rows - 1, bytes = bytes - length(old.payload);
END;
CREATE TEMP TRIGGER dies AFTER INSERT ON main.dead_letters BEGIN
    UPDATE kept SET dead_bytes = dead_bytes + length(new.topic) + length(new.payload);
END;
CREATE TEMP TRIGGER is_gone AFTER DELETE ON main.dead_letters BEGIN
    UPDATE kept SET dead_bytes = dead_bytes - length(old.topic) - length(old.payload);
END;
"""
MEASURE = """
UPDATE kept SET version = ?,
    (rows, bytes) = (SELECT count(*), total(length(payload)) FROM outbox),
    dead_bytes = (SELECT total(length(topic) + length(payload)) FROM dead_letters)
"""


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
        machines: Machines of which no reading is left, and that may be forgotten.
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


class Bounds:
    """Knows how much is kept without looking at it; what is too much goes, a small step at a time.

    SQLite counts along with each transaction, and undoes it with one that fails. The columns of `kept`: how
    many publications wait and their bytes, the bytes of dead letters, the version of the file that was
    counted, and the number of the publication up to which no repetition waits.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        """Begins to count; outside of transactions."""
        self._database = database
        database.executescript(COUNTER)

    def prune_outbox(self, most: int, now: int) -> tuple[int, ...]:
        """Moves what waits beyond the bounds to the dead letters, a step of it; returns its numbers.

        Repetitions of open alerts go first, then the oldest of all.
        """
        self._measure()
        rows, size = self._database.execute("SELECT rows, bytes FROM kept").fetchone()
        left, gone = rows, []
        if left > most or size > OUTBOX_BYTES:
            for number, length in self._least_wanted():
                bury(self._database, number, OUTBOX_FULL, f"{rows} publications waited for the broker", now)
                gone.append(number)
                left, size = left - 1, size - length
                if left <= most and size <= OUTBOX_BYTES:
                    break
        return tuple(sorted(gone))

    def _least_wanted(self) -> Iterator[tuple[int, int]]:
        """Numbers and bytes of what goes next; who asks for another one has moved the last."""
        execute, look = self._database.execute, "UPDATE kept SET looked_at = ?"
        rows = execute(
            "SELECT id, length(payload), instr(payload, ?) FROM outbox "
            "WHERE id > (SELECT looked_at FROM kept) ORDER BY id LIMIT ?",
            (REPEATED, STEP),
        ).fetchall()
        for number, length, repeats in rows:
            if repeats:
                execute(look, (number,))
                yield number, length
        if rows:
            execute(look, (rows[-1][0],))
        if len(rows) < STEP:  # else there may be more repetitions: the next step looks
            oldest = execute("SELECT id, length(payload) FROM outbox ORDER BY id LIMIT ?", (STEP,))
            yield from oldest.fetchall()

    def prune_dead_letters(self) -> int:
        """Deletes the oldest dead letters beyond the bytes that are kept; returns how many."""
        self._measure()
        (size,) = self._database.execute("SELECT dead_bytes FROM kept").fetchone()
        if size <= DEAD_BYTES:
            return 0
        oldest = 0
        query = "SELECT id, length(topic) + length(payload) FROM dead_letters ORDER BY id"
        for number, length in self._database.execute(query):
            oldest, size = number, size - length
            if size <= DEAD_BYTES:
                break
        return self._database.execute("DELETE FROM dead_letters WHERE id <= ?", (oldest,)).rowcount

    def _measure(self) -> None:
        """Counts anew what another process has changed: who looks through dead letters may delete some."""
        execute = self._database.execute
        (version,) = execute("PRAGMA data_version").fetchone()
        (known,) = execute("SELECT version FROM kept").fetchone()
        if version != known:
            execute(MEASURE, (version,))


def bury(database: sqlite3.Connection, number: int, reason: str, detail: str, now: int) -> int:
    """Moves a publication to the dead letters; returns whether it was still there."""
    database.execute(
        "INSERT INTO dead_letters (received_at, topic, payload, reason, detail) "
        "SELECT ?, topic, substr(payload, 1, ?), ?, ? FROM outbox WHERE id = ?",
        (now, KEPT_PAYLOAD, reason, detail, number),
    )
    gone: int = database.execute("DELETE FROM outbox WHERE id = ?", (number,)).rowcount
    return gone
