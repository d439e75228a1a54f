"""Stored readings, alerts, dead letters and what waits to be published: one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import numpy as np

from daemon import labelling
from daemon.bounds import (
    KEPT_PAYLOAD,
    UNDELIVERABLE,
    Bounds,
    Limits,
    Pruned,
    bury,
)
from daemon.clock import now
from daemon.commands import table
from daemon.failpoints import failpoint
from daemon.hearing import Hearing
from daemon.intake import Message
from daemon.opening import StoreFile, unusable
from daemon.retention import Retention
from daemon.schema import UNREADABLE
from daemon.sweep import Sweep
from daemon.tally import Tally
from detector.grid import Grid
from detector.history import History, merged
from detector.machine import Snapshot
from detector.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from daemon.integrity import Damage
    from daemon.transaction import Transaction
    from detector.labels import Label, LabelKind

NEW_MACHINE = (
    "INSERT INTO machines (id, name, heard_at) SELECT 1 + ifnull(max(machine), 0), ?, ? FROM numbers"
)
APART = 60_000  # milliseconds that readings of before and after keep, where the times came a second time
# Of two readings of one time that were both taken, each may have values that the other lacks.
INSERT_READING = (
    "INSERT INTO readings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET numbers = larger(numbers, excluded.numbers) WHERE numbers IS NOT excluded.numbers"
)
MAX_TEXTS = 100_000  # of categories; 10 MB. Of more it is not known any longer what they were called
MAX_NAMES = 1_000_000  # sensors of all stored layouts: memory of about 100 MB
NUMBER = 8  # bytes

T = TypeVar("T")


class Store:
    """The daemon's memory; one writer."""

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["full", "normal"] = "full",
        max_dead_letters: int = 10_000,
        read_only: bool = False,
        expected: bool = False,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the file, making it if need be; one that is damaged is set aside and begun anew.

        Args:
            path: The SQLite file.
            durability: `full` survives a power cut, `normal` any crash of the process.
            max_dead_letters: The oldest beyond this number are deleted.
            read_only: For retraining, beside a running daemon.
            expected: Whether there should be a file: none, or an empty one, is a damaged one.
            tally: Counts what is turned away, and damage.
            clock: Monotonic, in seconds.

        Raises:
            StoreUnavailableError: The disk is full or fails, or another process has the file.
            StoreError: It was written by a newer version, or cannot be opened.
        """
        self.path = path
        self.max_dead_letters = max_dead_letters
        self._tally = tally or Tally(time.monotonic)
        self._read_only = read_only
        self._hearing = Hearing(clock)
        self._file = StoreFile(
            path,
            durability=durability,
            read_only=read_only,
            expected=expected,
            tally=self._tally,
            clock=now,
            opened=self._remember,
        )

    @property
    def damage(self) -> Damage | None:
        """The last that was met."""
        return self._file.damage

    @property
    def recovering(self) -> bool:
        """Whether it is still to be asked what the broker knows."""
        return self._file.recovering

    @property
    def _database(self) -> sqlite3.Connection:
        return self._file.database

    def _surviving(self, operation: Callable[[], T]) -> T:
        return self._file.surviving(operation)

    def _remember(self, database: sqlite3.Connection) -> None:
        """Takes up what is asked often from a file that was just opened."""
        database.create_function("larger", 2, _larger, deterministic=True)
        self._retention = Retention(database)
        if not self._read_only:
            self._bounds = Bounds(database)
        self._sweep: Sweep | None = None
        self._machines: dict[str, int] = dict(database.execute("SELECT name, id FROM machines"))
        self._layouts: dict[tuple[str, ...], int] = {
            msgspec.json.decode(sensors, type=tuple[str, ...]): number
            for number, sensors in database.execute("SELECT id, sensors FROM layouts")
        }
        self._names = sum(map(len, self._layouts))
        (self.outbox,) = database.execute("SELECT count(*) FROM outbox").fetchone()

    def recovered(self, *, answered: bool = True) -> None:
        """Notes that what the broker still knew has been stored; without its answer, until the next start.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        self._file.recovered(answered=answered)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def commit(self, transaction: Transaction) -> list[int]:
        """Stores it whole or not at all; returns the numbers of what is outgoing, in order.

        Raises:
            sqlite3.Error: The disk refuses; nothing was stored and it may be tried again.
        """
        return self._surviving(lambda: self._commit(transaction))

    def _commit(self, transaction: Transaction) -> list[int]:
        with self._atomic() as database:
            execute, many = database.execute, database.executemany
            machines, layouts = dict(self._machines), dict(self._layouts)
            failpoint("transaction_begun")
            for name in transaction.forgotten & machines.keys():
                self._retention.forget(machines.pop(name))
            heard = {reading.machine for reading in transaction.readings}
            for name in (heard | transaction.snapshots.keys()) - machines.keys():
                machines[name] = self._insert(NEW_MACHINE, name, now())
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
            dropped_texts = self._note_texts(transaction.texts) if transaction.texts else 0
            many(
                "UPDATE machines SET snapshot = ?, heard_at = coalesce(?, heard_at) WHERE id = ?",
                [
                    (msgspec.msgpack.encode(snapshot), now() if name in heard else None, machines[name])
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
            # Without any, the count of rows is -1.
            gone = max(0, many("DELETE FROM outbox WHERE id = ?", [(n,) for n in transaction.sent]).rowcount)
            for number, detail in transaction.undeliverable:
                gone += bury(database, number, UNDELIVERABLE, detail, now())
            many(
                "INSERT INTO dead_letters VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        r.message.received_at,
                        r.message.topic,
                        r.message.payload[:KEPT_PAYLOAD],
                        r.reason,
                        r.detail,
                        r.message.retained,
                    )
                    for r in transaction.refusals[-self.max_dead_letters :]
                ],
            )
            dead_letters = max(0, len(transaction.refusals) - self.max_dead_letters)
            replayed = [(number,) for number in transaction.replayed]
            again = [(number,) for number, _, _ in transaction.refused_again]
            many("DELETE FROM dead_letters WHERE id = ?", replayed)
            many("DELETE FROM replays WHERE letter = ?", replayed + again)
            many(
                "UPDATE dead_letters SET reason = ?, detail = ? WHERE id = ?",
                [(reason, detail, number) for number, reason, detail in transaction.refused_again],
            )
            if transaction.refusals or transaction.undeliverable:
                dead_letters += execute(
                    "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?",
                    (self.max_dead_letters,),
                ).rowcount
            labelling.write(database, transaction.labels)
            labelling.delete(database, transaction.unlabelled)
            labelling.close(database, transaction.closed)
            table.settle(database, transaction.settled)
            table.write(database, transaction.filed)
            failpoint("transaction_written")
        if len(layouts) > len(self._layouts):
            self._names = sum(map(len, layouts))
        if self._sweep is not None:
            self._sweep.see(layouts[sensors] for sensors in {each.sensors for each in transaction.readings})
        self._machines, self._layouts = machines, layouts
        self._hearing.forget(transaction.forgotten)
        self._hearing.note(heard)
        self.outbox += len(numbers) - gone
        self._count_dropped(dead_letters, dropped_texts)
        return numbers

    def _note_texts(self, texts: dict[float, str]) -> int:
        """Stores texts that are not known yet, while there is room; returns for how many there was none."""
        execute = self._database.execute
        new = [
            (int(number), text)
            for number, text in texts.items()
            if execute("SELECT 1 FROM texts WHERE number = ?", (int(number),)).fetchone() is None
        ]
        (known,) = execute("SELECT count(*) FROM texts").fetchone()
        room = max(0, MAX_TEXTS - known)
        self._database.executemany("INSERT INTO texts VALUES (?, ?)", new[:room])
        return len(new[room:])

    def _count_dropped(self, dead_letters: int, texts: int) -> None:
        if dead_letters:
            self._tally.count("dead_letter_dropped", "too_many", dead_letters)
        if texts:
            self._tally.count("text_dropped", "too_many", texts)

    def _renumber(self, machine: str) -> int:
        """Gives a machine another number; what is stored of it keeps the former one."""
        self._database.execute(
            "INSERT INTO former SELECT id, name, ? FROM machines WHERE name = ?", (now(), machine)
        )
        (number,) = self._database.execute("SELECT 1 + max(machine) FROM numbers").fetchone()
        self._database.execute("UPDATE machines SET id = ? WHERE name = ?", (number, machine))
        return int(number)

    @contextmanager
    def _atomic(self) -> Iterator[sqlite3.Connection]:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        with database:  # commits, or rolls back
            yield database

    def _insert(self, statement: str, *values: object) -> int:
        return self._database.execute(statement, values).lastrowid or 0

    def room_for(self, sensors: tuple[str, ...]) -> bool:
        """Whether readings of these sensors can be stored: their names are kept in memory."""
        return sensors in self._layouts or self._names < MAX_NAMES

    def marked(self, after: int, most: int) -> list[tuple[int, Message | None]]:
        """Dead letters to be read once more, from a number on; None: it is not there any more."""
        query = (
            "SELECT letter, topic, payload, received_at, retained "
            "FROM replays LEFT JOIN dead_letters ON id = letter WHERE letter > ? ORDER BY letter LIMIT ?"
        )
        rows = self._surviving(lambda: self._database.execute(query, (after, most)).fetchall())
        return [
            (letter, None if topic is None else Message(topic, payload, received_at, 0, 0, 0, bool(retained)))
            for letter, topic, payload, received_at, retained in rows
        ]

    def size(self) -> int:
        """Bytes of the file and its log of writes."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def unsent(self) -> list[tuple[int, str, bytes]]:
        """Number, topic and payload of what the broker has not taken yet, oldest first."""
        query = "SELECT id, topic, payload FROM outbox ORDER BY id"
        return self._surviving(lambda: self._database.execute(query).fetchall())

    def subscribed(self, *topics: str) -> tuple[str, ...]:
        """Notes what is subscribed to; returns what was before and has not been ended since.

        Raises:
            StoreUnavailableError: The disk is full or fails, or another process has the file.
            StoreError: It cannot be written.
        """
        try:
            return self._surviving(lambda: self._subscribed(topics))
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def _subscribed(self, topics: Sequence[str]) -> tuple[str, ...]:
        known = {each for (each,) in self._database.execute("SELECT topic FROM subscriptions")}
        with self._atomic() as database:
            new = [(topic,) for topic in topics if topic not in known]
            database.executemany("INSERT INTO subscriptions VALUES (?)", new)
        return tuple(sorted(known - {*topics}))

    def unsubscribed(self, topics: Sequence[str]) -> None:
        """Notes that these subscriptions have ended.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        statement = "DELETE FROM subscriptions WHERE topic = ?"

        def delete() -> None:
            with self._atomic() as database:
                database.executemany(statement, [(topic,) for topic in topics])

        self._surviving(delete)

    def snapshots(self) -> Iterator[tuple[str, Snapshot]]:
        """The stored state of every machine."""
        query = "SELECT name, snapshot FROM machines WHERE snapshot IS NOT NULL"
        for name, content in self._surviving(lambda: self._database.execute(query).fetchall()):
            try:
                yield name, msgspec.msgpack.decode(content, type=Snapshot)
            except UNREADABLE as error:  # damage that SQLite does not see
                self._tally.report("snapshot_unreadable", machine=name, detail=str(error))

    def machines(self) -> Sequence[str]:
        """The machines of which anything is stored."""
        return tuple(self._machines)

    def readings(self, machine: str, since: int) -> Iterator[Reading]:
        """A machine's readings from a time on (milliseconds since the epoch), oldest first."""
        rows = self._surviving(lambda: list(self._rows(machine, since)))
        for at, sensors, numbers in rows:
            yield Reading(machine, at, sensors, np.frombuffer(numbers))

    def newest(self, machine: str) -> int | None:
        """Time of a machine's newest reading."""
        query = "SELECT max(at) FROM readings WHERE machine = ?"
        number = self._machines.get(machine)
        (at,) = self._surviving(lambda: self._database.execute(query, (number,)).fetchone())
        return None if at is None else int(at)

    def history(self, machine: str, since: int) -> History:
        """A machine's readings as columns; readings of the same instant become one row."""
        return self._columns(machine, self._history(machine, since))

    def extent(self, machine: str, most: int) -> tuple[int, int, int] | None:
        """How many readings a machine has, counted up to `most`, and the times of the oldest and the newest.

        None where it has none.
        """
        query = (
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM readings WHERE machine = ?1 LIMIT ?2)), "
            "(SELECT min(at) FROM readings WHERE machine = ?1), "
            "(SELECT max(at) FROM readings WHERE machine = ?1)"
        )
        number = self._machines.get(machine)
        found: tuple[int, int, int] = self._surviving(
            lambda: self._database.execute(query, (number, most)).fetchone()
        )
        return found if found[0] else None

    def sample(self, machine: str, oldest: int, newest: int, *, stretches: int, rows: int) -> History:
        """Stretches of a machine's readings, spread evenly over a time; as columns, see `history`."""
        query = "SELECT at, layout, numbers FROM readings WHERE machine = ? AND at >= ? ORDER BY at LIMIT ?"
        number = self._machines.get(machine)

        def read() -> list[tuple[int, tuple[str, ...], bytes]]:
            starts = [oldest + (newest - oldest) * i // stretches for i in range(stretches)]
            found = (self._database.execute(query, (number, start, rows)) for start in starts)
            return list(self._sound({row[:2]: row for each in found for row in each}.values()))

        return self._columns(machine, self._surviving(read))

    def _columns(self, machine: str, rows: Iterable[tuple[int, tuple[str, ...], bytes]]) -> History:
        times: dict[tuple[str, ...], list[int]] = {}
        numbers: dict[tuple[str, ...], list[bytes]] = {}
        for at, names, content in rows:
            times.setdefault(names, []).append(at)
            numbers.setdefault(names, []).append(content)
        sensors = tuple(sorted({name for names in times for name in names}))
        column = {name: i for i, name in enumerate(sensors)}
        blocks = [np.empty((0, len(sensors)))]
        for names, contents in numbers.items():
            block = np.full((len(contents), len(sensors)), np.nan)
            columns = [column[name] for name in names]
            block[:, columns] = np.frombuffer(b"".join(contents)).reshape(len(contents), -1)
            blocks.append(block)
        moments = np.array([at for each in times.values() for at in each], dtype=np.int64)
        order = np.argsort(moments, kind="stable")
        values = np.concatenate(blocks)[order]
        texts = {float(n): text for n, text in self._database.execute("SELECT number, text FROM texts")}
        return merged(History(machine, sensors, moments[order], values, texts=texts), Grid(1))

    def _history(self, machine: str, since: int) -> Iterator[tuple[int, tuple[str, ...], bytes]]:
        """As `_rows`, but in no order, and with what was before the machine's clock was set back.

        Of time that came a second time the later readings count: together they would be no movement of it.
        """
        rows = self._database.execute(
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
        return self._sound(rows)

    def _rows(self, machine: str, since: int) -> Iterator[tuple[int, tuple[str, ...], bytes]]:
        """Time, sensors and numbers of a machine's readings, oldest first."""
        rows = self._database.execute(
            "SELECT at, layout, numbers FROM readings WHERE machine = ? AND at >= ? ORDER BY at, layout",
            (self._machines.get(machine), since),
        )
        return self._sound(rows)

    def _sound(self, rows: Iterable[tuple[int, int, bytes]]) -> Iterator[tuple[int, tuple[str, ...], bytes]]:
        """Rows with their sensors, but for those that damage has changed where SQLite does not see it."""
        layouts = {number: names for names, number in self._layouts.items()}
        for at, layout, numbers in rows:
            names = layouts.get(layout)
            if names is not None and len(numbers) == NUMBER * len(names):
                yield at, names, numbers

    def alerted(self, machine: str) -> list[tuple[int, int | None]]:
        """Start and end of a machine's alerts in milliseconds since the epoch; None: still open."""
        return self._database.execute(
            "SELECT opened_at, closed_at FROM alerts "
            "WHERE machine IN (SELECT machine FROM numbers WHERE name = ?) ORDER BY opened_at",
            (machine,),
        ).fetchall()

    def labels(self, machine: str) -> list[Label]:
        """What was said about stretches of a machine's time, in order of time.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        return labelling.read(self._database, machine)

    def label_count(self, machine: str) -> int:
        """How many labels a machine has; raises `sqlite3.Error` if the file cannot be read."""
        return self._surviving(lambda: labelling.count(self._database, machine))

    def has_label(self, machine: str, kind: LabelKind, start: int) -> bool:
        """Whether there is a label of this machine, kind and start; raises `sqlite3.Error`."""
        return self._surviving(lambda: labelling.has(self._database, machine, kind, start))

    def alerts_named(self, machine: str, begin: str) -> list[tuple[str, int, int | None]]:
        """Ids, starts and ends of a machine's alerts whose id begins so; an end of None: still open."""
        query = (
            "SELECT id, opened_at, closed_at FROM alerts WHERE substr(id, 1, length(?2)) = ?2 "
            "AND machine IN (SELECT machine FROM numbers WHERE name = ?1) ORDER BY opened_at"
        )
        return self._surviving(lambda: self._database.execute(query, (machine, begin)).fetchall())

    def commands_waiting(self, most: int) -> list[table.Row]:
        """The first commands that nobody has obeyed yet."""
        return self._surviving(lambda: table.waiting(self._database, most))

    def command_known(self, digest: str) -> tuple[bool, bytes | None]:
        """Whether a command was taken before, and its answer; see `daemon.commands.table.find`."""
        return self._surviving(lambda: table.find(self._database, digest))

    def prune(self, limits: Limits, *, now: int, connected: bool = True) -> Pruned:
        """Deletes a step of what exceeds the limits, whole or not at all.

        Args:
            limits: What may be kept.
            now: Milliseconds since the epoch.
            connected: Whether machines could be heard since the last call; else none becomes forgettable.

        Raises:
            sqlite3.Error: The disk refuses; nothing was deleted.
        """
        self._hearing.look(connected=connected)
        pruned = self._surviving(lambda: self._prune(limits, now, connected=connected))
        self.outbox -= len(pruned.outgoing)
        if pruned.layouts:
            gone = {*pruned.layouts}
            self._layouts = {names: number for names, number in self._layouts.items() if number not in gone}
            self._names = sum(map(len, self._layouts))
        return pruned

    def _prune(self, limits: Limits, now: int, *, connected: bool) -> Pruned:
        with self._atomic() as database:
            ended = dict(database.execute("SELECT machine, ended_at FROM former"))
            machines = [*self._machines.items(), *((None, former) for former in ended)]
            share = self._retention.share(machines)
            silent = {}
            if connected and self._hearing.settled():
                silent = {
                    number: name
                    for name, number in share
                    if name is not None and self._silent(name, number, keep=limits.keep, now=now)
                }
            old, over = self._retention.prune(
                [number for _, number in share],
                ended=ended,
                silent=silent,
                keep=limits.keep,
                max_size=limits.max_size,
                now=now,
            )
            if old + over:
                failpoint("readings_pruned")
            forgettable = tuple(name for number, name in silent.items() if self._retention.empty(number))
            outgoing = self._bounds.prune_outbox(limits.max_outbox, now)
            layouts = self._prune_layouts(database, (number for _, number in machines))
            return Pruned(old, over, forgettable, outgoing, self._bounds.prune_dead_letters(), layouts)

    def _prune_layouts(self, database: sqlite3.Connection, machines: Iterable[int]) -> tuple[int, ...]:
        """Looks for what is unused while there are many; returns what was deleted once all is looked at."""
        if self._sweep is None and self._names > MAX_NAMES // 2:
            self._sweep = Sweep(machines, self._layouts.values())
        if self._sweep is None or not self._sweep.step(database):
            return ()
        unused, self._sweep = tuple(self._sweep.unused), None
        database.executemany("DELETE FROM layouts WHERE id = ?", [(number,) for number in unused])
        return unused

    def _silent(self, name: str, number: int, *, keep: int, now: int) -> bool:
        """Whether a machine was not heard for so many milliseconds, and has no open alert."""
        since = self._hearing.since(name)
        if since is not None and since * 1000 <= keep:
            return False
        # Of those that were last heard in an earlier life, the host's clock alone can tell.
        query = (
            "SELECT 1 FROM machines WHERE id = ?1 AND (?2 OR heard_at < ?3) "
            "AND NOT EXISTS (SELECT 1 FROM alerts WHERE machine = ?1 AND closed_at IS NULL)"
        )
        return self._database.execute(query, (number, since is not None, now - keep)).fetchone() is not None


def _larger(numbers: bytes, others: bytes) -> bytes:
    """What counts of two values of one time, as in the sampler: one that is there, and the larger one."""
    if len(numbers) != len(others):  # the stored one is damaged
        return others
    return np.fmax(np.frombuffer(numbers), np.frombuffer(others)).tobytes()
