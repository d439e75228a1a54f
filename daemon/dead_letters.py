"""The messages that were refused, for who looks at them beside a running daemon."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from daemon.beside import open_beside
from daemon.bounds import KEPT_PAYLOAD, OUTBOX_FULL, UNDELIVERABLE
from daemon.decoding import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

STEP = 200  # letters changed at once, so that the daemon never waits long for the file
REASONS = tuple(sorted([*RefusalReason, UNDELIVERABLE, OUTBOX_FULL]))


class Letter(msgspec.Struct, frozen=True):
    """A message that was refused.

    Attributes:
        number: Its number.
        received_at: When it arrived, in milliseconds since the epoch.
        topic: Its topic.
        payload: Its first `KEPT_PAYLOAD` bytes.
        reason: Why it was refused.
        detail: In other words.
        marked: Whether the daemon is to read it once more.
    """

    number: int
    received_at: int
    topic: str
    payload: bytes
    reason: str
    detail: str
    marked: bool

    @property
    def problem(self) -> str | None:
        """Why it cannot be read once more; None: it can."""
        if self.reason in {UNDELIVERABLE, OUTBOX_FULL}:
            return "it is an alert of ours, which the broker would not take"
        if len(self.payload) >= KEPT_PAYLOAD:
            return f"only its first {KEPT_PAYLOAD} bytes were kept"
        if self.reason == RefusalReason.TOO_LARGE:
            return "it was too large to be taken whole"
        return None


class DeadLetters:
    """Reads and changes them in short transactions; the daemon may run."""

    def __init__(self, path: Path) -> None:
        """Uses the store in this file.

        Raises:
            StoreError: There is none, it was written by another version, or cannot be opened.
        """
        self.path = path
        self._database = open_beside(path)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def letters(self, numbers: Sequence[int] = (), *, reason: str | None = None) -> Iterator[Letter]:
        """Those of these numbers (none: all) and of this reason, the newest first."""
        query = (
            "SELECT id, received_at, topic, payload, reason, detail, id IN (SELECT letter FROM replays) "
            "FROM dead_letters WHERE (?1 IS NULL OR reason = ?1) "
            "AND (NOT ?2 OR id IN (SELECT value FROM json_each(?3))) ORDER BY id DESC"
        )
        wanted = msgspec.json.encode(list(numbers)).decode()
        with closing(self._database.execute(query, (reason, bool(numbers), wanted))) as rows:
            for number, received_at, topic, payload, why, detail, marked in rows:
                yield Letter(number, received_at, topic, payload, why, detail, bool(marked))

    def mark(self, numbers: Sequence[int]) -> None:
        """Has the daemon read them once more: the one that runs, else the next."""
        self._change("INSERT OR IGNORE INTO replays SELECT id FROM dead_letters WHERE id = ?", numbers)

    def drop(self, numbers: Sequence[int]) -> None:
        """Deletes them."""
        self._change("DELETE FROM dead_letters WHERE id = ?", numbers)

    def _change(self, statement: str, numbers: Sequence[int]) -> None:
        for begin in range(0, len(numbers), STEP):
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                self._database.executemany(statement, [(n,) for n in numbers[begin : begin + STEP]])
