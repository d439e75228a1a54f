"""The demonstration as plain lines, for scripts and logs: no colour, no movement."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from typing import IO

from rich.console import Console

from demo.seen import Alert
from demo.show import Report, Scene
from demo.story import Stretch
from demo.summary import culprits, summary

EVERY = 2.0  # seconds between two lines about the score
WIDTH = 100  # characters of the table at the end
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class PlainShow:
    """Writes each line with the seconds since the beginning."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._began = time.monotonic()
        self._next_line = 0.0
        self._stretch: Stretch | None = None

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.1f} s] {text}", file=self._out, flush=True)

    def training(self) -> IO[str] | int | None:
        return subprocess.PIPE

    def training_said(self, line: str) -> None:
        for part in re.split(r"[\r\n]", ESCAPE.sub("", line)):
            if part.strip():
                self.say(f"  train: {part.strip()}")

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        yield

    def update(self, scene: Scene) -> None:
        if scene.stretch is not self._stretch:
            self._stretch = scene.stretch
            self.say(scene.stretch.title)
        if time.monotonic() >= self._next_line and scene.seen.scores:
            self._next_line = time.monotonic() + EVERY
            score = scene.seen.scores[-1]
            self.say(
                f"  {scene.now:%H:%M:%S}  {scene.sent} readings sent, "
                f"score {score.score:.2f} of 1, {scene.seen.state}"
            )

    def alert(self, event: Alert) -> None:
        """Says that it opened or closed; what happens between is in the scores."""
        if event.change == "updated":
            return
        self.say(
            f"  {event.at:%H:%M:%S}  ALERT {event.change} ({event.severity}): score {event.score:.1f}, "
            f"peak {event.peak_score:.1f}; {culprits(event)}"
        )

    def report(self, report: Report) -> None:
        console = Console(file=self._out, no_color=True, force_terminal=False, width=WIDTH, highlight=False)
        with console.capture() as captured:
            console.print(summary(report))
        for line in captured.get().splitlines():
            print(line.rstrip(), file=self._out, flush=True)
