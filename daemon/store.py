"""Stored readings, alerts, dead letters and what waits to be published: one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from daemon.failpoints import failpoint
from daemon.intake import Message
from daemon.retention import Retention
from detector.grid import Grid
from detector.history import History, merged
from detector.machine import Snapshot
from detector.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daemon.transaction import Transaction

SCHEMA = 4
TABLES = """
CREATE TABLE machines (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, snapshot BLOB) STRICT;
CREATE TABLE layouts (id INTEGER PRIMARY KEY, sensors TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE readings (
    machine INTEGER NOT NULL, at INTEGER NOT NULL, layout INTEGER NOT NULL, numbers BLOB NOT NULL,
    PRIMARY KEY (machine, at, layout)
) STRICT, WITHOUT ROWID;
CREATE TABLE alerts (
    id TEXT PRIMARY KEY, machine INTEGER NOT NULL, opened_at INTEGER NOT NULL, closed_at INTEGER
) STRICT;
CREATE INDEX alerts_by_machine ON alerts (machine, closed_at);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_at INTEGER NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TABLE subscriptions (topic TEXT PRIMARY KEY) STRICT;
"""
MIGRATIONS = {  # from each schema to the next
    2: "CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;",
    # A machine whose clock was set back goes on under another number, since its times come a second time.
    3: """
CREATE TABLE former (machine INTEGER PRIMARY KEY, name TEXT NOT NULL, ended_at INTEGER NOT NULL) STRICT;
CREATE VIEW numbers AS SELECT id AS machine, name FROM machines UNION ALL SELECT machine, name FROM former;
CREATE TABLE replays (letter INTEGER PRIMARY KEY) STRICT;
""",
}
NEW_MACHINE = "INSERT INTO machines (id, name) SELECT 1 + ifnull(max(machine), 0), ? FROM numbers"
APART = 60_000  # milliseconds that readings of before and after keep, where the times came a second time
# Of two readings of one time that were both taken, each may have values that the other lacks.
INSERT_READING = (
    "INSERT INTO readings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET numbers = larger(numbers, excluded.numbers) WHERE numbers IS NOT excluded.numbers"
)
UNDELIVERABLE = "publication_too_large"  # the reason in the dead letters
KEPT_PAYLOAD = 16_384  # bytes of a dead letter: enough to see what it was
BUSY = 500  # milliseconds that a commit waits for another process; who waits sees no signal
# Pages of 4 KiB in the log before they go to the file. Readings of many machines touch the same pages again
# and again: at 1,000 machines this takes a third of the time that SQLite's own 1,000 pages take.
CHECKPOINT = 4000
MAX_TEXTS = 100_000  # of categories; 10 MB. Of more it is not known any longer what they were called
MAX_NAMES = 1_000_000  # sensors of all stored layouts: memory of about 100 MB


class StoreError(Exception):
    """The file cannot be used; the message names it and says what to do."""


class Store:
    """The daemon's memory; one writer."""

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["full", "normal"] = "full",
        max_dead_letters: int = 10_000,
        read_only: bool = False,
    ) -> None:
        """Opens the file, making it if need be.

        Args:
            path: The SQLite file.
            durability: `full` survives a power cut, `normal` any crash of the process.
            max_dead_letters: The oldest beyond this number are deleted.
            read_only: For retraining, beside a running daemon.

        Raises:
            StoreError: It is no store, was written by another version, or cannot be opened.
        """
        self.path = path
        self.max_dead_letters = max_dead_letters
        try:
            if read_only:
                self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
            else:
                self._database = sqlite3.connect(path, timeout=10)
            self._database.isolation_level = None
            if not read_only:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute(f"PRAGMA synchronous = {durability}")
                self._database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            self._database.create_function("larger", 2, _larger, deterministic=True)
            self._retention = Retention(self._database)
            self._prepare(read_only=read_only)
            if not read_only:
                self._database.execute(f"PRAGMA busy_timeout = {BUSY}")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be used as the store: {error}") from error
        self._machines: dict[str, int] = dict(self._database.execute("SELECT name, id FROM machines"))
        self._layouts: dict[tuple[str, ...], int] = {
            tuple(msgspec.json.decode(sensors)): number
            for number, sensors in self._database.execute("SELECT id, sensors FROM layouts")
        }
        self._names = sum(map(len, self._layouts))
        (self.outbox,) = self._database.execute("SELECT count(*) FROM outbox").fetchone()

    def _prepare(self, *, read_only: bool) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA:
            return
        if (version == 0 or version in MIGRATIONS) and not read_only:
            steps = [TABLES if version == 0 else "", *(MIGRATIONS[v] for v in MIGRATIONS if v >= version)]
            self._database.executescript(f"BEGIN; {' '.join(steps)} PRAGMA user_version = {SCHEMA}; COMMIT;")
        else:
            raise StoreError(
                f"{self.path}: must have schema {SCHEMA}, got {version}: not made by this version"
            )

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def commit(self, transaction: Transaction) -> list[int]:
        """Stores it whole or not at all; returns the numbers of what is outgoing, in order.

        Raises:
            sqlite3.Error: The disk refuses; nothing was stored and it may be tried again.
        """
        execute, many = self._database.execute, self._database.executemany
        machines, layouts = dict(self._machines), dict(self._layouts)
        with self._atomic():
            failpoint("transaction_begun")
            for name in {
                *(reading.machine for reading in transaction.readings),
                *transaction.snapshots,
            } - machines.keys():
                machines[name] = self._insert(NEW_MACHINE, name)
            for sensors in {reading.sensors for reading in transaction.readings} - layouts.keys():
                text = msgspec.json.encode(sensors).decode()
                layouts[sensors] = self._insert("INSERT INTO layouts (sensors) VALUES (?)", text)
            done = 0
            for place in [*transaction.begins, len(transaction.readings)]:
                many(
                    INSERT_READING,
                    [
                        (machines[r.machine], r.at, layouts[r.sensors], r.values.tobytes())
                        for r in transaction.readings[done:place]
                    ],
                )
                done = place
                if place < len(transaction.readings):
                    name = transaction.readings[place].machine
                    machines[name] = self._renumber(name)
            failpoint("readings_written")
            many(
                "INSERT OR IGNORE INTO texts SELECT ?, ? WHERE (SELECT count(*) FROM texts) < ?",
                [(int(number), text, MAX_TEXTS) for number, text in transaction.texts.items()],
            )
            many(
                "UPDATE machines SET snapshot = ? WHERE id = ?",
                [
                    (msgspec.msgpack.encode(snapshot), machines[name])
                    for name, snapshot in transaction.snapshots.items()
                ],
            )
            many(
                "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, NULL)",
                [(alert, machines[name], at) for name, alert, at in transaction.opened],
            )
            many(
                "UPDATE alerts SET closed_at = ? WHERE id = ?",
                [(at, name) for name, at in transaction.closed],
            )
            numbers = [
                self._insert("INSERT INTO outbox (topic, payload) VALUES (?, ?)", topic, payload)
                for topic, payload in transaction.outgoing
            ]
            many(
                "INSERT INTO dead_letters "
                "SELECT NULL, ?, topic, substr(payload, 1, ?), ?, ? FROM outbox WHERE id = ?",
                [
                    (now(), KEPT_PAYLOAD, UNDELIVERABLE, detail, number)
                    for number, detail in transaction.undeliverable
                ],
            )
            gone = [*transaction.sent, *(number for number, _ in transaction.undeliverable)]
            deleted = many("DELETE FROM outbox WHERE id = ?", [(number,) for number in gone]).rowcount
            many(
                "INSERT INTO dead_letters VALUES (NULL, ?, ?, ?, ?, ?)",
                [
                    (
                        r.message.received_at,
                        r.message.topic,
                        r.message.payload[:KEPT_PAYLOAD],
                        r.reason,
                        r.detail,
                    )
                    for r in transaction.refusals[-self.max_dead_letters :]
                ],
            )
            replayed = [(number,) for number in transaction.replayed]
            again = [(number,) for number, _, _ in transaction.refused_again]
            many("DELETE FROM dead_letters WHERE id = ?", replayed)
            many("DELETE FROM replays WHERE letter = ?", replayed + again)
            many(
                "UPDATE dead_letters SET reason = ?, detail = ? WHERE id = ?",
                [(reason, detail, number) for number, reason, detail in transaction.refused_again],
            )
            if transaction.refusals or transaction.undeliverable:
                execute(
                    "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?",
                    (self.max_dead_letters,),
                )
            failpoint("transaction_written")
        if len(layouts) > len(self._layouts):
            self._names = sum(map(len, layouts))
        self._machines, self._layouts = machines, layouts
        self.outbox += len(numbers) - max(0, deleted)  # -1 where there was nothing to delete
        return numbers

    def _renumber(self, machine: str) -> int:
        """Gives a machine another number; what is stored of it keeps the former one."""
        self._database.execute(
            "INSERT INTO former SELECT id, name, ? FROM machines WHERE name = ?", (now(), machine)
        )
        (number,) = self._database.execute("SELECT 1 + max(machine) FROM numbers").fetchone()
        self._database.execute("UPDATE machines SET id = ? WHERE name = ?", (number, machine))
        return int(number)

    @contextmanager
    def _atomic(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:  # commits, or rolls back
            yield

    def _insert(self, statement: str, *values: object) -> int:
        return self._database.execute(statement, values).lastrowid or 0

    def room_for(self, sensors: tuple[str, ...]) -> bool:
        """Whether readings of these sensors can be stored: names are kept for ever, so there is a bound."""
        return sensors in self._layouts or self._names < MAX_NAMES

    def marked(self, after: int, most: int) -> list[tuple[int, Message | None]]:
        """Dead letters to be read once more, from a number on; None: it is not there any more."""
        rows = self._database.execute(
            "SELECT letter, topic, payload, received_at FROM replays LEFT JOIN dead_letters ON id = letter "
            "WHERE letter > ? ORDER BY letter LIMIT ?",
            (after, most),
        )
        return [
            (letter, None if topic is None else Message(topic, payload, received_at, 0, 0, 0))
            for letter, topic, payload, received_at in rows
        ]

    def size(self) -> int:
        """Bytes of the file and its log of writes."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def unsent(self) -> list[tuple[int, str, bytes]]:
        """Number, topic and payload of what the broker has not taken yet, oldest first."""
        return self._database.execute("SELECT id, topic, payload FROM outbox ORDER BY id").fetchall()

    def subscribed(self, topic: str) -> tuple[str, ...]:
        """Notes what is subscribed to; returns what was before and has not been ended since.

        Raises:
            StoreError: The disk refuses.
        """
        known = {each for (each,) in self._database.execute("SELECT topic FROM subscriptions")}
        if topic not in known:
            try:
                self._database.execute("INSERT INTO subscriptions VALUES (?)", (topic,))
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: cannot be written: {error}") from error
        return tuple(sorted(known - {topic}))

    def unsubscribed(self, topics: Sequence[str]) -> None:
        """Notes that these subscriptions have ended.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        with self._atomic():
            self._database.executemany(
                "DELETE FROM subscriptions WHERE topic = ?", [(topic,) for topic in topics]
            )

    def snapshots(self) -> Iterator[tuple[str, Snapshot]]:
        """The stored state of every machine."""
        rows = self._database.execute(
            "SELECT name, snapshot FROM machines WHERE snapshot IS NOT NULL"
        ).fetchall()
        for name, content in rows:
            yield name, msgspec.msgpack.decode(content, type=Snapshot)

    def machines(self) -> Sequence[str]:
        """The machines of which anything is stored."""
        return tuple(self._machines)

    def readings(self, machine: str, since: int) -> Iterator[Reading]:
        """A machine's readings from a time on (milliseconds since the epoch), oldest first."""
        sensors = {number: names for names, number in self._layouts.items()}
        for at, layout, numbers in self._rows(machine, since):
            yield Reading(machine, at, sensors[layout], np.frombuffer(numbers))

    def newest(self, machine: str) -> int | None:
        """Time of a machine's newest reading."""
        row = self._database.execute(
            "SELECT max(at) FROM readings WHERE machine = ?", (self._machines.get(machine),)
        ).fetchone()
        return None if row is None else row[0]

    def history(self, machine: str, since: int) -> History:
        """A machine's readings as columns; readings of the same instant become one row."""
        names = {number: sensors for sensors, number in self._layouts.items()}
        times: dict[int, list[int]] = {}
        numbers: dict[int, list[bytes]] = {}
        for at, layout, content in self._history(machine, since):
            times.setdefault(layout, []).append(at)
            numbers.setdefault(layout, []).append(content)
        sensors = tuple(sorted({name for layout in times for name in names[layout]}))
        column = {name: i for i, name in enumerate(sensors)}
        blocks = [np.empty((0, len(sensors)))]
        for layout, contents in numbers.items():
            block = np.full((len(contents), len(sensors)), np.nan)
            columns = [column[name] for name in names[layout]]
            block[:, columns] = np.frombuffer(b"".join(contents)).reshape(len(contents), -1)
            blocks.append(block)
        moments = np.array([at for layout in times.values() for at in layout], dtype=np.int64)
        order = np.argsort(moments, kind="stable")
        values = np.concatenate(blocks)[order]
        texts = {float(n): text for n, text in self._database.execute("SELECT number, text FROM texts")}
        return merged(History(machine, sensors, moments[order], values, texts=texts), Grid(1))

    def _history(self, machine: str, since: int) -> Iterator[tuple[int, int, bytes]]:
        """As `_rows`, but in no order, and with what was before the machine's clock was set back.

        Of time that came a second time the later readings count: together they would be no movement of it.
        """
        return self._database.execute(
            """
            SELECT at, layout, numbers FROM readings AS r
            WHERE machine IN (SELECT machine FROM numbers WHERE name = ?1) AND at >= ?2
            AND (machine = ?3 OR NOT EXISTS (
                SELECT 1 FROM readings AS later
                WHERE later.machine IN (SELECT machine FROM numbers WHERE name = ?1)
                AND later.machine > r.machine AND later.at BETWEEN r.at - ?4 AND r.at + ?4
            ))
            """,
            (machine, since, self._machines.get(machine), APART),
        )

    def _rows(self, machine: str, since: int) -> Iterator[tuple[int, int, bytes]]:
        """Time, layout and numbers of a machine's readings, oldest first."""
        return self._database.execute(
            "SELECT at, layout, numbers FROM readings WHERE machine = ? AND at >= ? ORDER BY at, layout",
            (self._machines.get(machine), since),
        )

    def alerted(self, machine: str) -> list[tuple[int, int | None]]:
        """Start and end of a machine's alerts in milliseconds since the epoch; None: still open."""
        return self._database.execute(
            "SELECT opened_at, closed_at FROM alerts "
            "WHERE machine IN (SELECT machine FROM numbers WHERE name = ?) ORDER BY opened_at",
            (machine,),
        ).fetchall()

    def prune(self, *, keep: int, max_size: int, now: int) -> int:
        """See `Retention.prune`; deletes a step whole or not at all.

        Raises:
            sqlite3.Error: The disk refuses; nothing was deleted.
        """
        with self._atomic():
            ended = dict(self._database.execute("SELECT machine, ended_at FROM former"))
            machines = (*self._machines.values(), *ended)
            gone = self._retention.prune(machines, ended=ended, keep=keep, max_size=max_size, now=now)
            if gone:
                failpoint("readings_pruned")
            return gone


def _larger(numbers: bytes, others: bytes) -> bytes:
    """What counts of two values of one time, as in the sampler: one that is there, and the larger one."""
    return np.fmax(np.frombuffer(numbers), np.frombuffer(others)).tobytes()


def now() -> int:
    """This host's clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
