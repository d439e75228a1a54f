"""Tables for people; never cut short where no terminal sets the width."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from cli.progress import broken

WIDE = 240  # columns where the output goes to a file or a pipe
NAME = 12  # columns of a line's name
LEAST = 10  # columns that are left to what is folded, however many there are


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Prints lines under their names; a long one is broken between words where the terminal is narrow."""
    width = _width()
    for name, text in lines:
        sys.stdout.write(f"{name:{NAME}}{broken(text, width, NAME)}\n")


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1, folded: int = 0
) -> None:
    """Prints rows under headings.

    Args:
        headings: Of the columns.
        rows: A text for each of them.
        numbers_from: Columns from here on are aligned to the right.
        folded: The column that is broken into lines where the terminal is narrow.
    """
    rows = list(rows)
    longest = max(len(row[folded]) for row in (headings, *rows))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for i, heading in enumerate(headings):
        side: Literal["right", "left"] = "right" if i >= numbers_from else "left"
        least = min(LEAST, longest) if i == folded else None
        table.add_column(heading, justify=side, overflow="fold", no_wrap=i != folded, min_width=least)
    for row in rows:
        table.add_row(*row)
    Console(width=_width(), markup=False, highlight=False).print(table)


def _width() -> int:
    return get_terminal_size().columns if sys.stdout.isatty() else WIDE
