"""Labels in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec.structs import astuple

from detector.labels import Label, LabelKind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from detector.events import ModeOrdered

# Columns as the fields of `Label`.
READ = "SELECT machine, kind, start, end, noted_at, by, note, code, alert FROM labels"
WRITE = (  # what is not said anew, such as who it was, stays
    "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET end = excluded.end, noted_at = excluded.noted_at, "
    "by = iif(excluded.by = '', labels.by, excluded.by), "
    "note = iif(excluded.note = '', labels.note, excluded.note), "
    "code = iif(excluded.code = '', labels.code, excluded.code), "
    "alert = coalesce(excluded.alert, labels.alert)"
)
CLOSE = "UPDATE labels SET end = max(start, ?) WHERE alert = ? AND end IS NULL"
KINDS = {kind.value for kind in LabelKind}
DELETE = "DELETE FROM labels WHERE machine = ? AND kind = ? AND start = ?"


def write(database: sqlite3.Connection, labels: Iterable[Label]) -> None:
    """Notes labels, each in place of the one of its machine, kind and start."""
    database.executemany(WRITE, [astuple(label) for label in labels])


def labelled(event: ModeOrdered) -> list[Label]:
    """A mode that ends, and one that begins, as labels: nothing is learned from that time."""
    both = ((event.ended, event.at), (event.begun, None))
    return [
        Label(event.machine, LabelKind(one.mode.value), one.start, end, one.at, one.by, one.note)
        for one, end in both
        if one is not None
    ]


def delete(database: sqlite3.Connection, keys: Iterable[tuple[str, LabelKind, int]]) -> None:
    """Deletes the labels of these machines, kinds and starts."""
    database.executemany(DELETE, list(keys))


def close(database: sqlite3.Connection, closed: Iterable[tuple[str, int]]) -> None:
    """Ends the labels that are about alerts which have closed: their ids and when."""
    database.executemany(CLOSE, [(at, alert) for alert, at in closed])


def count(database: sqlite3.Connection, machine: str) -> int:
    """How many labels a machine has."""
    number: int = database.execute("SELECT count(*) FROM labels WHERE machine = ?", (machine,)).fetchone()[0]
    return number


def has(database: sqlite3.Connection, machine: str, kind: LabelKind, start: int) -> bool:
    """Whether there is a label of this machine, kind and start."""
    query = "SELECT 1 FROM labels WHERE machine = ? AND kind = ? AND start = ?"
    return database.execute(query, (machine, kind, start)).fetchone() is not None


def read(database: sqlite3.Connection, machine: str | None) -> list[Label]:
    """The labels of a machine, or with None of all, in order of time."""
    rows = database.execute(READ + " WHERE ?1 IS NULL OR machine = ?1 ORDER BY start, kind", (machine,))
    labels = []
    for name, kind, *rest in rows:
        if kind in KINDS:
            labels.append(Label(name, LabelKind(kind), *rest))
        else:  # as a newer version has written it, or damage
            structlog.get_logger().warning("label_unreadable", machine=name, kind=kind)
    return labels
