"""Files on disk that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What reading arrays (`.npz`) raises where a file is damaged: a changed byte may ask for anything.
UNREADABLE_ARRAYS = (
    OSError, EOFError, ValueError, KeyError, MemoryError, NotImplementedError, RecursionError,
    RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that takes the place of `path` once it is written to its end and the disk has it.

    Whatever breaks that off leaves what was there. A pipe or a device gets what is written at once.

    Raises:
        OSError: The disk refuses.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # a link stays one
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            yield file
            _sync(file)
        if path.exists():
            shutil.copymode(path, aside)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def sync_path(path: Path) -> None:
    """Waits until the disk has a file's content, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
