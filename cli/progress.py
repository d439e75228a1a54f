"""Progress and remarks on stderr, so that stdout holds results alone."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from threading import Event, Lock, Thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

BAR = 12  # columns, so that a line with figures fits into 80
EVERY = 10.0  # seconds between two lines in a log: enough to see that it goes on, few to scroll past


def note(text: str) -> None:
    """A remark that a person may want to read."""
    if sys.stderr.isatty():
        text = broken(text, get_terminal_size().columns)
    # Not by click, which knows nothing of a progress display that has to make room for it.
    sys.stderr.write(f"{text}\n")


def broken(text: str, width: int, indent: int = 0) -> str:
    """Text in lines broken between words, all but the first one indented; the width includes that."""
    lines = (
        textwrap.wrap(line, width - indent, break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.splitlines()
    )
    return f"\n{'':{indent}}".join(part for parts in lines for part in parts)


class Tell(Protocol):
    """Takes the share of the work that is over, None where nobody knows, and what it is busy with."""

    def __call__(self, done: float | None, detail: str = "") -> None: ...


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Shows how far a work is: a bar on a terminal; in a log a line now and then, and none if it is quick."""
    with _bar(what) if sys.stderr.isatty() else _lines(what) as tell:
        yield tell


@contextmanager
def _bar(what: str) -> Iterator[Tell]:
    display = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(BAR),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = display.add_task(what, total=None, detail="")
    said: str | None = None

    def tell(done: float | None, detail: str = "") -> None:
        nonlocal said
        total = None if done is None else 1.0  # a bar without a total moves to and fro
        # What is new is drawn at once: loading and exporting let no other thread draw for seconds.
        display.update(task, total=total, completed=done or 0.0, detail=detail, refresh=detail != said)
        said = detail

    with display:
        yield tell


@contextmanager
def _lines(what: str) -> Iterator[Tell]:
    log, over = Log(what, note), Event()

    def tell_now_and_then() -> None:
        while not over.wait(EVERY):
            log.say()

    thread = Thread(target=tell_now_and_then, daemon=True)
    thread.start()
    try:
        yield log.tell
    finally:
        over.set()
        thread.join()


class Log:
    """The newest of what was told, in a line; the same is not said twice."""

    def __init__(self, what: str, write: Callable[[str], None]) -> None:
        self._what, self._write = what, write
        self._newest = self._said = ""
        self._lock = Lock()

    def tell(self, done: float | None, detail: str = "") -> None:
        """Takes what is to be said when it is time."""
        parts = [] if done is None else [f"{done:.0%}"]
        with self._lock:
            self._newest = ", ".join([*parts, *filter(None, [detail])])

    def say(self) -> None:
        """Says the newest, if it is new."""
        with self._lock:
            newest = self._newest
        if newest != self._said:
            self._said = newest
            self._write(f"{self._what}: {newest}")


@contextmanager
def doing() -> Iterator[Callable[[str | None], None]]:
    """Yields what shows a line of what is done now, None: nothing; silent where stderr is no terminal."""
    status = Console(stderr=True).status("")

    def show(what: str | None) -> None:
        if what is None or not sys.stderr.isatty():
            status.stop()
        else:
            status.update(what)
            status.start()

    try:
        yield show
    finally:
        status.stop()
