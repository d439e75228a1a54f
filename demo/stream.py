"""The stream: the pump's readings go out in step with the clock, while the daemon's answers come in."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from demo.client import Client
from demo.processes import DemoError, last_lines, module_command, running
from demo.pump import Pump
from demo.seen import Seen
from demo.show import Scene, Show

ONLINE_TIMEOUT = 20.0  # seconds
LAST_SCORE_TIMEOUT = 10.0  # seconds
STEP = 0.05  # seconds between two looks at the daemon


class Daemon:
    """The running daemon; made by `started`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raises DemoError, with the daemon's last words, if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise DemoError(f"run: must run until it is stopped, got exit code {code}\n{self.last_words()}")

    def last_words(self) -> str:
        return last_lines(self._log)


@contextlib.contextmanager
def started(config: Path, log: Path) -> Iterator[Daemon]:
    """`anomalyd run` while the block lasts; what it logs goes to `log`."""
    command = module_command("cli", "run", "--config", str(config))
    with (
        log.open("w", encoding="utf-8") as output,
        running(command, stdout=output, stderr=output) as process,
    ):
        yield Daemon(process, log)


class Stream:
    """Call `wait_until_online`, then `play`; `first_alert` is when, by the monotonic clock, an alert came."""

    def __init__(self, client: Client, daemon: Daemon, seen: Seen, show: Show) -> None:
        self._client = client
        self._daemon = daemon
        self._seen = seen
        self._show = show
        self.first_alert: float | None = None

    def wait_until_online(self) -> None:
        deadline = time.monotonic() + ONLINE_TIMEOUT
        while not self._seen.online:
            if time.monotonic() > deadline:
                said = self._daemon.last_words()
                raise DemoError(f"run: must be online within {ONLINE_TIMEOUT:.0f} s, got:\n{said}")
            self._listen(STEP)

    def play(self, pump: Pump, scene: Scene) -> None:
        """Sends every reading of the story that the pump has now reached, and waits for the last score."""
        clock = time.monotonic()
        for second, reading in enumerate(pump.readings(scene.story.seconds)):
            now = scene.at(second, reading)
            self._client.send(reading)
            self._listen(0.0)
            self._show.update(now)
            while (left := clock + (second + 1) / scene.pace - time.monotonic()) > 0:
                self._listen(min(left, STEP))
                self._show.update(now)
        deadline = time.monotonic() + LAST_SCORE_TIMEOUT
        while time.monotonic() < deadline and not self._caught_up(now):
            self._listen(STEP)
            self._show.update(now)

    def _caught_up(self, now: Scene) -> bool:
        scores = self._seen.scores
        return bool(scores) and now.reading is not None and scores[-1].at >= now.reading.at

    def _listen(self, wait: float) -> None:
        self._daemon.check()
        for topic, payload in self._client.heard(wait=wait):
            try:
                event = self._seen.take(topic, payload)
            except msgspec.DecodeError as error:
                raise DemoError(f"{topic}: must hold what was promised, got {payload!r}: {error}") from error
            if event is not None:
                self.first_alert = self.first_alert or time.monotonic()
                self._show.alert(event)
