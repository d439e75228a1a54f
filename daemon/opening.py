"""The store's file: opened, brought to this version, and succeeded by another one when it is damaged."""

from __future__ import annotations

import errno
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Literal, TypeVar

import structlog

from daemon import succession
from daemon.failpoints import failpoint
from daemon.integrity import COPIES, Damage, beside, damaged, flaw, lost, salvage
from daemon.notify import notify
from daemon.schema import SCHEMA, UNREADABLE, migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from daemon.tally import Tally

BUSY = 500  # milliseconds that a commit waits for another process; who waits sees no signal
# Pages of 4 KiB in the log before they go to the file. Readings of many machines touch the same pages again
# and again: at 1,000 machines this takes a third of the time that SQLite's own 1,000 pages take.
CHECKPOINT = 4000
LOG_KEPT = 64 * 2**20  # bytes of the log of writes that stay on disk after a long reader let it grow
# The disk is full or fails, or another process has the file: what the next try may not meet.
PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# What the system says of a disk, in SQLite's words.
REFUSALS = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EIO: sqlite3.SQLITE_IOERR,
    errno.EROFS: sqlite3.SQLITE_READONLY,
}
COPIED = 16_384  # pages of 4 KiB that are copied between two signs of life

T = TypeVar("T")


class StoreError(Exception):
    """The file cannot be used; the message names it and says what to do."""


class StoreUnavailableError(StoreError):
    """The file cannot be used now, for a reason that may pass by itself."""


def unusable(path: Path, error: Exception) -> StoreError:
    """What to raise of a file that cannot be used."""
    passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING
    kind = StoreUnavailableError if passing else StoreError
    return kind(f"{path}: cannot be used as the store: {error}")


class StoreFile:
    """Always the connection to a file that is sound, as far as anybody knows."""

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["full", "normal"],
        read_only: bool,
        expected: bool,
        tally: Tally,
        clock: Callable[[], int],
        opened: Callable[[sqlite3.Connection], None],
    ) -> None:
        """Opens it.

        Args:
            path: The SQLite file.
            durability: See `Store`.
            read_only: See `Store`.
            expected: See `Store`.
            tally: Counts damage.
            clock: Milliseconds since the epoch.
            opened: Called with each connection before it is used; an error that says that the content is
                wrong (see `damaged`) is damage.

        Raises:
            StoreUnavailableError: The disk is full or fails, or another process has the file.
            StoreError: It was written by a newer version, or cannot be opened.
        """
        self.path = path
        self.damage: Damage | None = None  # the last that was met
        self.recovering = False  # whether it is still to be asked what the broker knows
        self._durability = durability
        self._read_only = read_only
        self._expected = expected
        self._tally = tally
        self._clock = clock
        self._opened = opened
        self._open: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is open
        try:
            if read_only:
                self._open_read_only()
            else:
                self._prepare()
        except (sqlite3.Error, OSError, *UNREADABLE) as error:
            raise unusable(path, error) from error

    @property
    def database(self) -> sqlite3.Connection:
        """The open file; a damaged one has a successor by then.

        Raises:
            sqlite3.Error: The disk refuses the successor.
        """
        if self._open is None:
            self._prepare()
        assert self._open is not None
        return self._open

    def surviving(self, operation: Callable[[], T]) -> T:
        """Runs it; where the file turns out to be damaged, once more on its successor.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        if self._read_only:
            return operation()
        try:
            if self._replaced():
                self._restore()
            return operation()
        except sqlite3.Error as error:
            if not damaged(error):
                raise
            reason = str(error)
        self.close()
        self._succeed(reason)
        return operation()

    def _replaced(self) -> bool:
        """Whether the open file is no longer the one that has its name."""
        with suppress(OSError):  # a disk that does not tell
            return self._open is not None and _identity(self.path) != self._identity
        return False

    def recovered(self, *, answered: bool = True) -> None:
        """Notes that what the broker still knew has been stored; without its answer, until the next start.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        if answered:
            self.database.execute("UPDATE set_aside SET pending = FALSE")
        self.recovering = False

    def close(self) -> None:
        """Closes the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _open_read_only(self) -> None:
        self._open = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None
        )
        version = self._version(self._open)
        if version != SCHEMA:
            raise StoreError(f"{self.path}: must have schema {SCHEMA}, got {version}: start the daemon first")
        self._opened(self._open)

    def _version(self, database: sqlite3.Connection) -> int:
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise StoreError(
                f"{self.path}: must have schema {SCHEMA} or an older one, got {version}: made by a newer "
                "version, which alone can go on with it"
            )
        return version

    def _prepare(self) -> None:
        """Opens the file for writing, or its successor if it is damaged."""
        with _in_words_of_sqlite():
            self._complete()
            reason = lost(self.path, expected=self._expected) or self._try()
        if reason is not None:
            self._succeed(reason)
            self._prepare()

    def _try(self) -> str | None:
        """Opens the file, brought to this version; else returns what is wrong with its content."""
        database = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            self._version(database)
            wrong = flaw(database)
            if wrong is None:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(f"PRAGMA synchronous = {self._durability}")
                database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
                database.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
                migrate(database)
                self._opened(database)
                row = database.execute(succession.LAST).fetchone()
                database.execute(f"PRAGMA busy_timeout = {BUSY}")
        except BaseException as error:
            database.close()
            if isinstance(error, Exception) and damaged(error):
                return str(error)
            raise
        if wrong is not None:
            database.close()
            return wrong
        self._open, self._expected = database, True
        self._identity = _identity(self.path)
        self.damage = None if row is None else Damage(*row[:3])
        self.recovering = row is not None and bool(row[3])
        return None

    def _succeed(self, reason: str) -> None:
        """Puts a new file in the place of the damaged one, which is closed, with what is legible there."""
        failpoint("damage_found")
        at = self._clock()

        def fill(database: sqlite3.Connection) -> None:
            database.execute("PRAGMA journal_mode = MEMORY")  # who is killed here begins once more
            migrate(database)
            database.execute("BEGIN IMMEDIATE")
            with database:
                salvage(self.path, database, at)

        there = any(file.exists() and file.stat().st_size for file in (self.path, beside(self.path, "-wal")))
        with _in_words_of_sqlite():
            aside = str(succession.vacant(self.path, at)) if there else ""
            succession.write(self.path, Damage(at, aside, reason), fill, pending=True)
            self._complete()

    def _restore(self) -> None:
        """Writes the open file once more, which somebody has deleted: it lives as long as it is open."""
        living, at = self.database, self._clock()
        there = self.path.exists()
        reason = ("another file was put in its place" if there else "it was deleted") + " while it was in use"

        def fill(database: sqlite3.Connection) -> None:
            living.backup(database, pages=COPIED, progress=self._show_life)

        with _in_words_of_sqlite():
            aside = str(succession.vacant(self.path, at)) if there else ""
            succession.write(self.path, Damage(at, aside, reason), fill, pending=False)
        self.close()  # not before: the copy is whole now. Not later: SQLite deletes a log by its name
        self._prepare()

    def _show_life(self, *_: int) -> None:
        """This is work, not hanging."""
        notify("WATCHDOG=1")
        self._tally.figures.turned_at = time.monotonic()

    def _complete(self) -> None:
        """Puts a successor in its place, also one that was written by a process that is no more."""
        damage = succession.complete(self.path)
        if damage is None:
            return
        self._tally.report("store_damaged", file=damage.file, detail=damage.reason)
        with closing(sqlite3.connect(self.path)) as database:
            counts = {
                table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
                for table in COPIES
            }
        structlog.get_logger().info("store_begun_anew", path=str(self.path), **counts)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from every other one that exists; None: it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _in_words_of_sqlite() -> Iterator[None]:
    """Raises what the system refuses as SQLite would."""
    try:
        yield
    except OSError as error:
        refusal = sqlite3.OperationalError(str(error))
        refusal.sqlite_errorcode = REFUSALS.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN)
        raise refusal from error
