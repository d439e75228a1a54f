"""`anomalyd run` as a process of its own, with its log as data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]


class Daemon:
    """A running daemon; `log` holds what it has said as JSON."""

    def __init__(self, config: Path, environ: dict[str, str] | None = None) -> None:
        """Starts it."""
        self.log: list[dict[str, Any]] = []
        self._stray: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", "run", "--config", str(config)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        self._reader = Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of an event with these fields."""
        return [
            line
            for line in list(self.log)
            if line["event"] == event and all(line.get(k) == v for k, v in fields.items())
        ]

    def wait(self, event: str, **fields: object) -> dict[str, Any]:
        """The first log line of an event; waits for it."""

        def seen() -> dict[str, Any] | None:
            said = self.said(event, **fields)
            assert said or self.running, f"the daemon ended without {event}: {self.log} {self._stray}"
            return said[0] if said else None

        return wait_until(seen, f"{event} {fields}")

    def words(self) -> list[str]:
        """What it has said that is no log line; after its end, and only once."""
        words, self._stray = self._stray, []
        return words

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at this very moment, without warning."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM, within: float = 30) -> int:
        """Sends a signal and returns the exit code."""
        self._process.send_signal(number)
        return self.code(within)

    def code(self, within: float = 30) -> int:
        """The exit code; waits for the end."""
        code = self._process.wait(within)
        self._reader.join()
        return code

    def close(self) -> None:
        """Makes sure that nothing is left."""
        if self.running:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        assert self._stray == [], "all that it says while it runs is a log line"

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self._stray.append(line.rstrip("\n"))
