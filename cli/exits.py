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
    MEMORY = 71
    IO = 74
    BUSY = 75
    CONFIG = 78


class CommandError(Exception):
    """Ends a command with a code and what is wrong, one line each, with what to do about it."""

    def __init__(self, code: Exit, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.code = code
        self.problems = problems
