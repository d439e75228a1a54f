from __future__ import annotations

import io
import os
import pty
import sys
from select import select
from threading import Event

import pytest

from cli.progress import Log, progress


def test_a_log_says_what_is_new_and_the_same_only_once() -> None:
    said: list[str] = []
    log = Log("training", said.append)
    log.say()
    log.tell(0.004)
    log.tell(0.256, "epoch 3/9, loss 1")
    log.say()
    log.say()
    log.tell(None, "exporting")
    log.say()
    assert said == ["training: 26%, epoch 3/9, loss 1", "training: exporting"]


def test_where_there_is_no_terminal_a_long_work_is_told_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress.EVERY", 0.001)
    said = _Written()
    monkeypatch.setattr(sys, "stderr", said)
    with progress("reading") as tell:
        for rows in (10, 20):
            tell(None, f"{rows} rows")
            said.wait()
    assert said.getvalue() == "reading: 10 rows\nreading: 20 rows\n"


def test_a_quick_work_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading") as tell:
        tell(None, "10 rows")
    assert capsys.readouterr().err == ""


def test_a_bar_says_at_once_what_it_is_busy_with(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb") as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm-256color")
        with progress("training") as tell:
            for done, detail in ((0.5, "epoch 1/2"), (None, "drawing the report")):
                tell(done, detail)
                shown = b""
                while detail.encode() not in shown:
                    assert select([screen], [], [], 30)[0]
                    shown += os.read(screen.fileno(), 4096)


class _Written(io.StringIO):
    """Lets one wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._line = Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        self._line.set()
        return written

    def wait(self) -> None:
        assert self._line.wait(30)
        self._line.clear()
