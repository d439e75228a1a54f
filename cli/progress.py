"""Progress and remarks on stderr, so that stdout holds results alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

BAR = 12  # columns, so that a line with figures fits into 80


def note(text: str) -> None:
    """A remark that a person may want to read."""
    # Not by click, which knows nothing of a progress display that has to make room for it.
    sys.stderr.write(f"{text}\n")


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress display; silent where stderr is no terminal."""
    display = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(BAR),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with display:
        yield display


def add_task(display: Progress, description: str, total: float | None) -> TaskID:
    """A new line of the display."""
    return display.add_task(description, total=total, detail="")


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
