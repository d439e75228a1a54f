"""Exit codes (sysexits), and which error ends in which."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 64
    DATA = 65
    UNAVAILABLE = 69
    IO = 74
    CONFIG = 78


class CommandError(Exception):
    """Ends a command with a code and a message that says what to do."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
