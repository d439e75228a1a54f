"""Files that a command is asked to write besides what it prints."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from cli.exits import CommandError, Exit


def check_writable(path: Path) -> None:
    """Tries to write before long work, so that nobody waits for a result that cannot be kept.

    Raises:
        CommandError: A file could not be written there.
    """
    if path.is_dir():
        raise CommandError(Exit.IO, f"{path}: must be a file, got a folder")
    try:
        if path.exists():
            path.open("ab").close()
        if path.is_file() or not path.exists():  # it will be written under another name first
            with TemporaryFile(dir=path.resolve().parent, buffering=0) as file:
                file.write(b"\0")
    except OSError as error:
        raise CommandError(Exit.IO, f"{path}: cannot be written: {_reason(path, error)}") from error


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
        CommandError: The disk refuses.
    """
    from registry.files import write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise CommandError(Exit.IO, f"{path}: cannot be written: {_reason(path, error)}") from error


def _reason(path: Path, error: OSError) -> str:
    folder = path.resolve().parent
    return f"there is no folder {folder}" if not folder.is_dir() else f"{error.strerror}"
