"""Files of history, read with progress for the commands that look back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.exits import CommandError, Exit
from cli.options import need_trainer
from cli.progress import note, progress
from detector.history import History
from trainer.wording import counted

if TYPE_CHECKING:
    from config import Settings
    from trainer.recording import Recording


def read(data: Sequence[Path], settings: Settings, machine: str | None) -> list[History]:
    """Reads files into memory.

    Raises:
        CommandError: They cannot be read or used.
    """
    need_trainer("reading history files")
    from trainer.history_files import read_histories

    with _reading() as advance:
        histories = read_histories(
            data,
            settings.history,
            channels=settings.readings.channels,
            machine=machine,
            note=note,
            advance=advance,
        )
    _warn_of_undeclarable(settings, histories)
    return histories


def read_each(
    data: Sequence[Path], settings: Settings
) -> tuple[list[tuple[History, tuple[Path, ...]]], dict[str, tuple[str, ...]]]:
    """Reads files into memory, each machine for itself; see `trainer.history_files.read_each`."""
    need_trainer("reading history files")
    from trainer.history_files import read_each as read_histories

    with _reading() as advance:
        found, wrong = read_histories(
            data, settings.history, channels=settings.readings.channels, note=note, advance=advance
        )
    if not wrong:  # or else it may be in the files that could not be read
        _warn_of_undeclarable(settings, [history for history, _ in found])
    return found, wrong


@contextmanager
def recorded(data: Sequence[Path], settings: Settings, machine: str | None) -> Iterator[list[Recording]]:
    """Reads files into a temporary one, as they may be larger than memory; it goes with the context.

    Raises:
        CommandError: They cannot be read or used.
    """
    need_trainer("reading history files")
    from trainer.history_files import record_histories
    from trainer.recording import Recorder

    with Recorder() as recorder:
        with _reading() as advance:
            recordings = record_histories(
                data,
                settings.history,
                recorder,
                channels=settings.readings.channels,
                machine=machine,
                note=note,
                advance=advance,
            )
        yield recordings


def _warn_of_undeclarable(settings: Settings, histories: Sequence[History]) -> None:
    """Says before a long fit that a sensor would be taken for what it is not."""
    from trainer.verdict import undeclarable

    sensors = {sensor for history in histories for sensor in history.sensors}
    for text in undeclarable(settings.readings.channels, sensors):
        note(f"warning: {text}")


@contextmanager
def _reading() -> Iterator[Callable[[int], None]]:
    """Shows how many rows were read, and turns what is wrong with the files into the command's end."""
    from trainer.problems import Unreadable, Unusable

    try:
        with progress("reading") as tell:
            rows = 0

            def advance(more: int) -> None:
                nonlocal rows
                rows += more
                tell(None, counted(rows, "row"))

            yield advance
    except Unreadable as error:
        raise CommandError(Exit.IO, *error.problems) from error
    except Unusable as error:
        raise CommandError(Exit.DATA, *error.problems) from error
