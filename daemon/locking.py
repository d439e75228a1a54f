"""One daemon for each state directory."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


LOCK = "daemon.lock"
GLANCE = 0.5  # seconds; `anomalyd doctor` holds the lock for less, to see whether a daemon does


class LockedError(Exception):
    """Another daemon uses the state directory."""


class StateLock:
    """Held until the process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        """Takes the lock.

        Raises:
            LockedError: Another daemon holds it.
            OSError: The directory cannot be made or written.
        """
        path = state_dir
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            path = state_dir / LOCK
            self._file = path.open("a+")
        except OSError as error:
            raise OSError(f"{state_dir}: must be writable, got {error.strerror} for {path}") from error
        try:
            _take(self._file)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise LockedError(
                f"{state_dir}: must be used by one daemon only, got a second; process {holder} holds it. "
                "Stop that one or give this one a state_dir of its own"
            ) from error
        with suppress(OSError):  # who holds it is a courtesy, and a full disk no reason not to start
            os.truncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), str(os.getpid()).encode())

    def release(self) -> None:
        """Gives the lock back."""
        self._file.close()


def holder(state_dir: Path) -> int | None:
    """The process that holds the state directory, 0 if it does not tell; None: there is none."""
    with suppress(OSError), (state_dir / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
        except BlockingIOError:
            told = file.read(20).strip()
            return int(told) if told.isdecimal() else 0
    return None


def _take(file: IO[str]) -> None:
    """Takes the lock.

    Raises:
        BlockingIOError: It is held for longer than by a doctor that looks whether it is.
    """
    until = time.monotonic() + GLANCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(GLANCE / 20)
        else:
            return
