"""A store that cannot serve any longer gives way to a successor, and at no moment do both or neither count.

`store.sqlite.unfinished` is being written and worth nothing. Renamed to `store.sqlite.successor` it is whole,
and synced: what lies at `store.sqlite` does not count from then on, whatever of it has been moved already.
Whoever starts next finds the successor and takes the steps that are left. The successor's last row in
`set_aside` says where the former file goes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.failpoints import failpoint
from daemon.integrity import LOGS, Damage, beside, damaged
from registry.files import sync_path

if TYPE_CHECKING:
    from collections.abc import Callable

UNFINISHED, SUCCESSOR = ".unfinished", ".successor"


def write(path: Path, damage: Damage, fill: Callable[[sqlite3.Connection], None], *, pending: bool) -> None:
    """Writes the successor, whole or not at all.

    Args:
        path: The store that it will take the place of.
        damage: Why, and where the former file will lie.
        fill: Gives the new file its tables and rows.
        pending: Whether the broker is to be asked for open alerts.

    Raises:
        sqlite3.Error: The disk refuses; nothing has changed.
        OSError: The same.
    """
    unfinished = beside(path, UNFINISHED)
    for part in ("", *LOGS):  # of one who was killed at it
        beside(unfinished, part).unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
        fill(database)
        values = (damage.at, damage.file, damage.reason, pending)
        database.execute("INSERT INTO set_aside VALUES (?, ?, ?, ?)", values)
        database.execute("PRAGMA journal_mode = DELETE")  # all of it in the file itself
    sync_path(unfinished)
    failpoint("successor_written")
    unfinished.rename(beside(path, SUCCESSOR))
    sync_path(path.parent)
    failpoint("successor_named")


def complete(path: Path) -> Damage | None:
    """Puts a successor in its place, if there is one; returns why.

    Raises:
        OSError: The disk refuses; the next call goes on.
        sqlite3.Error: The same.
    """
    successor = beside(path, SUCCESSOR)
    if not successor.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{successor.absolute().as_uri()}?mode=ro", uri=True)) as database:
            damage = Damage(*database.execute(LAST).fetchone()[:3])
    except sqlite3.Error as error:
        if not damaged(error):
            raise
        successor.rename(vacant(path, int(successor.stat().st_mtime * 1000)))  # then what is there counts
        return None
    aside = path.with_name(Path(damage.file).name) if damage.file else vacant(path, damage.at)
    # Of a file without its log SQLite would read what held before; nobody opens a log without its file.
    for part in ("", *LOGS):
        with suppress(FileNotFoundError):
            beside(path, part).rename(beside(aside, part))
        if not part:
            failpoint("damaged_moved")
    sync_path(path.parent)
    failpoint("damaged_set_aside")
    successor.rename(path)
    sync_path(path.parent)
    failpoint("successor_placed")
    return damage


LAST = "SELECT at, file, reason, pending FROM set_aside ORDER BY rowid DESC LIMIT 1"


def vacant(path: Path, at: int) -> Path:
    """A name for a file that is set aside at a time (milliseconds since the epoch), which nothing has."""
    moment = f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H-%M-%SZ}"
    aside = beside(path, f".corrupt-{moment}")
    number = 1
    while any(beside(aside, part).exists() for part in ("", *LOGS)):
        number += 1
        aside = beside(path, f".corrupt-{moment}-{number}")
    return aside
