"""How retraining stands, whoever retrains: what failed, what is put off, what was killed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.turn_lock import TurnLock

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.tally import Tally
    from registry.ledger import Book, Ledger


class Standing:
    """Follows the books, and tells once of each turn that is put off."""

    def __init__(self, state_dir: Path, ledger: Ledger, tally: Tally) -> None:
        """Begins with what the books say; what failed in an earlier life was told then."""
        self._state_dir = state_dir
        self._ledger = ledger
        self._tally = tally
        self._book = ledger.read()
        self.problem = trouble(self._book)  # what keeps it from its work, for people; None: nothing does

    @property
    def last_seconds(self) -> float | None:
        """How long the last turn took that has ended; None: there was none."""
        ended = [past for past in self._book.lines().values() if past.seconds is not None]
        return max(ended, key=lambda past: past.began_at).seconds if ended else None

    @property
    def backed_off(self) -> int:
        """How many lines wait because their last turn failed or took too long."""
        return sum(past.failures > 0 for past in self._book.lines().values())

    def look(self, now: int) -> Book:
        """What became of turns; the first to see that one was killed says so.

        Args:
            now: Milliseconds since the epoch.

        Raises:
            OSError: The disk refuses.
        """
        book = self._ledger.read()
        if any(past.began_at > now for past in book.lines().values()):
            self._ledger.set_back(now)
        opened = [line for line, past in book.lines().items() if past.open]
        if opened and not self._locked():
            # One that has ended, or begun, since the first look at the books was not killed.
            again = self._ledger.read()
            killed = [line for line in opened if again.of(line) == book.of(line)]
            self._ledger.fail(killed, "it was killed", at=now)
        book = self._ledger.read()
        for line, past in book.lines().items():
            if past.failures > self._book.of(line).failures:
                self._tally.report(
                    "retraining_backed_off",
                    level="warning",
                    machine=line,
                    failures=past.failures,
                    next=moment(past.retry_at),
                    why=past.why,
                )
        if book is not self._book:
            self.problem = trouble(book)
        self._book = book
        return book

    def _locked(self) -> bool:
        lock = TurnLock(self._state_dir)
        try:
            return lock.held()
        finally:
            lock.release()


def trouble(book: Book) -> str | None:
    """What keeps retraining from its work, for people; None: nothing does."""
    failed = {line: past for line, past in book.lines().items() if past.failures}
    if not failed:
        return None
    line, worst = max(failed.items(), key=lambda item: item[1].failures)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    times = "once" if worst.failures == 1 else f"{worst.failures} times in a row"
    return (
        f"the retraining of {line or 'the shared model'}{more} has failed {times}: {worst.why}; "
        f"the next is at {moment(worst.retry_at)}"
    )


def moment(at: int) -> str:
    """Milliseconds since the epoch as people read them."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
