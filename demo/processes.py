"""The demonstration's child processes: each leads a group of its own, and a group is ended whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

STOP_TIMEOUT = 8.0  # seconds; the daemon promises to stop within 5


class DemoError(Exception):
    """The demonstration cannot go on; the text is for the person who started it."""


class Stopped(BaseException):
    """The person asked the demonstration to stop: Ctrl-C, SIGTERM, or the terminal was closed."""


class _Stopper:
    """Turns the first signal into Stopped, at once or when what must not be cut in two is done."""

    def __init__(self) -> None:
        self._shields = 0
        self._asked: signal.Signals | None = None

    def on_signal(self, number: int, _frame: object) -> None:
        first, self._asked = self._asked is None, signal.Signals(number)
        if first and not self._shields:
            raise Stopped(self._asked.name)

    def reset(self) -> None:
        self._shields, self._asked = 0, None

    def shield(self) -> None:
        self._shields += 1

    def unshield(self) -> None:
        """Raises Stopped if a signal came meanwhile; not if that was said before."""
        self._shields -= 1
        if self._asked is not None and not self._shields and sys.exception() is None:
            raise Stopped(self._asked.name)


_stopper = _Stopper()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise Stopped inside, once; more of them cannot disturb the clean-up.

    Must be entered in the main thread. The former handlers are back afterwards.
    """
    _stopper.reset()
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, _stopper.on_signal) for number in watched}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder, gone after the block."""
    _stopper.shield()
    folder = Path(tempfile.mkdtemp(prefix="anomalyd-demo-"))
    try:
        _stopper.unshield()
        yield folder
    finally:
        _stopper.shield()
        shutil.rmtree(folder, ignore_errors=True)
        _stopper.unshield()


@contextlib.contextmanager
def running(
    command: Sequence[str], *, stdout: int | IO[str] | None, stderr: int | IO[str] | None
) -> Iterator[subprocess.Popen[str]]:
    """The command while the block lasts; afterwards neither it nor anything that it started is alive."""
    _stopper.shield()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        errors="replace",
        env=_environment(),
        start_new_session=True,  # Ctrl-C on the terminal is for the demonstration, which ends them in order
    )
    try:
        _stopper.unshield()
        yield process
    finally:
        _stopper.shield()
        _end(process)
        _stopper.unshield()


def module_command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def last_lines(log: Path, count: int = 8) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(lines[-count:]) or "(it wrote nothing)"


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):  # what is left of the group, children of the leader too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _environment() -> dict[str, str]:
    """This process's environment, less the settings of a real daemon, which must not reach this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALYD_")}
    here = str(Path(__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (here, kept.get("PYTHONPATH"))))
    return kept
