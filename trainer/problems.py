"""Why a history cannot be used: every problem at once, each as one line that a person can act on."""

from __future__ import annotations


class Unusable(Exception):
    """The data cannot carry what is asked of it; `problems` says all that is wrong, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unreadable(OSError):
    """Files that cannot be read at all; `problems` names each with the reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
