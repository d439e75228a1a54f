"""A command of ours in a process of its own, that scoring does not feel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.requests import Request

PROGRAM = (sys.executable, "-m", "cli")
COMMAND = (*PROGRAM, "retrain")
LOWEST_PRIORITY = 19
STOP_WITHIN = 0.5  # seconds for a child to end by itself
LAST_WORDS = 2000  # bytes of what it said that a log is told
NO_MEMORY = 71  # its exit code where memory was refused
HINTS: dict[int, str] = {
    signal.SIGKILL: ", as by a kernel that is out of memory: see retrain.max_memory",
    signal.SIGABRT: ", as a library does that is refused memory: see retrain.max_memory",
    signal.SIGALRM: ": it took longer than retrain.max_time",
}  # by signal
BUSY = 75  # its exit code where another process retrains


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Exit code; the number of a signal, below 0.
        answers: What it answered, one for each turn or machine; None: nothing that can be read.
        said: The end of what it said on stderr.
        seconds: How long it ran.
    """

    code: int
    answers: list[dict[str, Any]] | None
    said: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it did not do all that it was asked for."""
        return self.code != 0 or self.answers is None

    @property
    def reason(self) -> str:
        """In a word, why it failed."""
        if self.code == -signal.SIGALRM:
            return "max_time"
        if self.code == NO_MEMORY:
            return "max_memory"
        return "killed" if self.code < 0 else "error"

    @property
    def why(self) -> str:
        """The same for people, in a line."""
        if self.code < 0:
            number = -self.code
            name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
            return f"ended by {name}{HINTS.get(number, '')}"
        last = self.said.splitlines()[-1] if self.said else "no message"
        return last.removeprefix("anomalyd: ") if self.code else "no answer that can be read"


class Child:
    """One process that answers with a list in JSON."""

    def __init__(self, command: Sequence[str]) -> None:
        """Starts it.

        Raises:
            OSError: The system refuses.
        """
        self._began = time.monotonic()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the child lives
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # the latter of what no command line can hold
            self._close()
            raise OSError(str(error)) from error
        with suppress(OSError):  # priority is a courtesy
            os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWEST_PRIORITY)
            os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ended(self) -> Ended | None:
        """How it ended, once; None: it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._output.seek(0)
        answers: list[dict[str, Any]] | None = None
        with suppress(ValueError):  # msgspec raises more than its own errors on bad text
            answers = msgspec.json.decode(self._output.read(), type=list[dict[str, Any]])
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - LAST_WORDS))
        said = self._errors.read().decode(errors="replace").strip()
        self._close()
        return Ended(code, answers, said, time.monotonic() - self._began)

    def stop(self) -> None:
        """Ends it; what it had not finished leaves nothing behind."""
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        self._output.close()
        self._errors.close()


def retraining(request: Request, config: Path) -> list[str]:
    """The command that takes a request's turns."""
    return [*COMMAND, "--config", str(config), "--json", *options(request)]


def options(request: Request) -> list[str]:
    """A request on the command line of `anomalyd retrain`."""
    lines = ("--shared" if machine is None else f"--machine={machine}" for machine in request.machines or ())
    own = ["--own"] if request.own else []
    return [f"--by={request.by}", f"--reason={request.reason}", *lines, *own]
