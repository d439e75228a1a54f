"""What became of the retrainings of a state directory, and which are still to come: `retraining.json`."""

from __future__ import annotations

import fcntl
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from registry.files import write_whole
from registry.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

LEDGER = "retraining.json"
LOCK = "retraining.lock"
FIRST_PAUSE = 600_000  # milliseconds after a first failure; twice as long after each that follows
LONGEST_PAUSE = 86_400_000  # milliseconds; what fails for a day is not mended by trying more often
MOST_CHARACTERS = 500  # of why a turn has failed


class Past(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a line's turns.

    Attributes:
        began_at: When the last one began, in milliseconds since the epoch; 0: there was none.
        seconds: How long it took; None: it has not ended, or was killed.
        failures: Turns that have failed since the last one that did not, or took longer than their interval.
        retry_at: When the next may begin that nobody asks for in person, in milliseconds since the epoch.
        why: What was wrong with the last one, for people.
    """

    began_at: int = 0
    seconds: float | None = None
    failures: int = 0
    retry_at: int = 0
    why: str = ""

    @property
    def open(self) -> bool:
        """Whether it runs, or was killed."""
        return self.began_at > 0 and self.seconds is None


NONE = Past()


class Book(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of it.

    Attributes:
        spread: In [0, 1), drawn once: where in the jitter this state directory's turns lie.
        shared: Of the shared line.
        machines: Of the lines of single machines.
        pending: What was asked for and not begun.
    """

    spread: float = 0.0
    shared: Past = Past()
    machines: dict[str, Past] = {}
    pending: tuple[Request, ...] = ()

    def of(self, line: str | None) -> Past:
        """What became of a line's turns."""
        return self.shared if line is None else self.machines.get(line, NONE)

    def lines(self) -> dict[str | None, Past]:
        """All that had a turn, and the shared one."""
        lines: dict[str | None, Past] = {None: self.shared}
        return lines | dict(self.machines)


class Ledger:
    """The file; safe for several processes."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / LEDGER
        self._lock = state_dir / LOCK
        self._seen: object = None
        self._book = Book(random.random())  # noqa: S311 - spreads load

    def read(self) -> Book:
        """What it holds now; of a file that cannot be read, what was last read."""
        try:
            status = self._file.stat()
            seen = status.st_ino, status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._book = msgspec.json.decode(self._file.read_bytes(), type=Book)
                self._seen = seen
        except FileNotFoundError:
            self._book = Book(self._book.spread)
        except (OSError, ValueError, RecursionError):  # it is written anew: nothing in it is worth a halt
            pass
        return self._book

    def prepare(self) -> None:
        """Writes it where there is none, so that the jitter stays what it is.

        Raises:
            OSError: The disk refuses; as of all that follow.
        """
        if not self._file.exists():
            with self._changing() as change:
                change(lambda book: book)

    def ask(self, requests: tuple[Request, ...]) -> None:
        """Replaces what is pending."""
        with self._changing() as change:
            change(lambda book: replace(book, pending=requests))

    def begin(self, line: str | None, at: int) -> None:
        """Notes that a turn begins; `at` in milliseconds since the epoch."""
        self._turn(line, lambda past: replace(past, began_at=at, seconds=None))

    def end(self, line: str | None, seconds: float) -> None:
        """Notes that a turn has ended well."""
        self._turn(line, lambda past: Past(past.began_at, seconds))

    def fail(self, lines: Iterable[str | None], why: str, *, at: int, took: float = 0.0) -> None:
        """Notes that turns have failed, or took too long, and when the next may begin.

        Args:
            lines: Whose.
            why: What was wrong.
            at: Now, in milliseconds since the epoch.
            took: Seconds; the pause is no shorter.
        """
        for line in lines:
            self._turn(line, lambda past: self._failed(past, why, at, took))

    def stopped(self, lines: Iterable[str | None]) -> None:
        """Forgets turns that somebody has ended."""
        for line in lines:
            self._turn(line, lambda past: replace(past, began_at=0, seconds=0.0))

    def _failed(self, past: Past, why: str, at: int, took: float) -> Past:
        failures = past.failures + 1
        pause = max(backoff(failures, self._book.spread), round(took * 1000))
        return Past(past.began_at or at, took, failures, at + pause, why[:MOST_CHARACTERS])

    def set_back(self, now: int) -> None:
        """Brings times that are to come back to the present: the clock was ahead."""

        def past(one: Past) -> Past:
            return replace(
                one, began_at=min(one.began_at, now), retry_at=min(one.retry_at, now + LONGEST_PAUSE * 2)
            )

        with self._changing() as change:
            change(
                lambda book: replace(
                    book,
                    shared=past(book.shared),
                    machines={name: past(one) for name, one in book.machines.items()},
                    pending=tuple(replace(one, at=min(one.at, now)) for one in book.pending),
                )
            )

    def _turn(self, line: str | None, past: Callable[[Past], Past]) -> None:
        with self._changing() as change:
            if line is None:
                change(lambda book: replace(book, shared=past(book.shared)))
            else:
                change(lambda book: replace(book, machines={**book.machines, line: past(book.of(line))}))

    @contextmanager
    def _changing(self) -> Iterator[Callable[[Callable[[Book], Book]], None]]:
        """Hands over what writes the book as it is changed; raises `OSError` if the disk refuses."""

        def change(changed: Callable[[Book], Book]) -> None:
            book = changed(self.read())
            write_whole(self._file, msgspec.json.format(msgspec.json.encode(book), indent=2) + b"\n")

        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield change


def backoff(failures: int, spread: float) -> int:
    """Milliseconds to the next turn after so many failures in a row, and by `spread` up to a quarter more."""
    pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE)
    return round(pause * (1 + spread / 4))
