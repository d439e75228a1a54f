"""What drift asks for, without a process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from config import Settings
from daemon import drifting
from daemon.drifting import ASK_AGAIN, Drifting
from daemon.tally import Tally

HOUR = 3_600_000
FOUND = [
    {
        "machine": "press",
        "model": "b",
        "kind": "settled",
        "text": "pressure",
        "measured_at": 0,
    }
]


@pytest.fixture
def period(monkeypatch: pytest.MonkeyPatch) -> int:
    """Milliseconds from one measurement to the next, each of which finds the same."""
    monkeypatch.setattr(
        drifting, "PROGRAM", (sys.executable, "-c", f"print({json.dumps(json.dumps(FOUND))})")
    )
    return 6 * HOUR


@pytest.mark.parametrize(("taken", "asked"), [(True, 1), (False, 3)])
def test_what_was_not_taken_is_asked_for_again_after_the_next_measurement(
    tmp_path: Path, period: int, *, taken: bool, asked: int
) -> None:
    reasons: list[str] = []

    def ask(_: str, reason: str) -> bool:
        reasons.append(reason)
        return taken

    here = Drifting(
        Settings(state_dir=tmp_path),
        tmp_path / "anomalyd.yaml",
        Tally(time.monotonic),
        tell=lambda *_: None,
        ask=ask,
        now=0,
    )
    assert 3 * period < ASK_AGAIN
    for number in range(1, 4):
        measured(here, number * period)
    assert reasons == ["pressure"] * asked


def measured(here: Drifting, now: int) -> None:
    """Starts a measurement, and hears what it has found."""
    here.tick(now)
    assert here._child is not None
    here._child._process.wait()
    here.tick(now)
    assert here._child is None
