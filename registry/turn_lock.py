"""One retraining at a time on a state directory, whoever starts it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from registry.requests import Request

LOCK = "retrain.lock"


class Holder(msgspec.Struct, frozen=True):
    """The process that retrains, and who asked for it."""

    process: int
    request: str = ""

    def __str__(self) -> str:
        return f"process {self.process}" + (f" ({self.request})" if self.request else "")


class RetrainingError(Exception):
    """Another process retrains."""


class TurnLock:
    """Held until the process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        """Opens it, and makes the state directory if need be.

        Raises:
            OSError: The directory cannot be made or written.
        """
        state_dir.mkdir(parents=True, exist_ok=True)
        self._path = state_dir / LOCK
        self._file: IO[bytes] = self._path.open("a+b")

    def take(self, request: Request | None, *, wait: bool) -> None:
        """Takes it.

        Args:
            request: Why, for those who find it held.
            wait: For as long as another process has it.

        Raises:
            RetrainingError: Another process has it.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = self.holder() or "another process"
            raise RetrainingError(
                f"{self._path.parent}: must be retrained by one process at a time, and {held} does; "
                "wait for its end (--wait), or stop it"
            ) from None
        text = f"{request.by}: {request.reason}" if request is not None and request.reason else ""
        with suppress(OSError):  # who holds it is a courtesy
            os.ftruncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), msgspec.json.encode(Holder(os.getpid(), text)))

    def holder(self) -> Holder | None:
        """Who has it, if that can be told; to be asked while it is held."""
        self._file.seek(0)
        with suppress(OSError, ValueError):
            return msgspec.json.decode(self._file.read(4096), type=Holder)
        return None

    def held(self) -> bool:
        """Whether another process has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        """Gives it back."""
        self._file.close()
