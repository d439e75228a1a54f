from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config import Settings, load
from daemon import retraining
from daemon.retraining import SETTLING, Retraining
from registry.champions import Registry
from tests import plant
from tests.waiting import wait_until

MINUTE, HOUR = 60_000, 3_600_000
NOON = plant.START + 2 * HOUR  # the bundle of the plant is from 9 o'clock, three hours before
Start = Callable[..., Retraining]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A schedule that begins at noon."""
    made: list[Retraining] = []

    def begin(every: str | None, by: str = "request", *, now: int = NOON) -> Retraining:
        file = tmp_path / "anomalyd.yaml"
        file.write_text(f"state_dir: {tmp_path}/state\nretrain: {{every: {every or 'off'}, by: {by}}}\n")
        settings: Settings = load(file, {})
        settings.state_dir.mkdir(exist_ok=True)
        made.append(Retraining(settings, Registry(settings.state_dir), file, now=now))
        return made[-1]

    yield begin
    for each in made:
        each.stop()


def requested(tmp_path: Path) -> bool:
    """Whether a turn was asked for since the last look."""
    file = tmp_path / "state" / "retrain.request"
    found = file.exists()
    file.unlink(missing_ok=True)
    return found


def asks(tmp_path: Path, schedule: Retraining, minutes: range) -> list[int]:
    """The minutes after noon in which the schedule asks for a turn."""
    asked = []
    for minute in minutes:
        schedule.tick(NOON + minute * MINUTE)
        if requested(tmp_path):
            asked.append(minute)
    return asked


def test_without_a_schedule_nothing_is_retrained(tmp_path: Path, start: Start) -> None:
    assert asks(tmp_path, start(None), range(0, 10_000, 100)) == []


def test_a_bundle_is_renewed_when_it_is_old_enough(tmp_path: Path, start: Start) -> None:
    plant.promote(tmp_path / "state")
    assert asks(tmp_path, start("4h"), range(500)) == [60, 300]


def test_an_old_bundle_is_renewed_soon_after_a_start_but_not_at_once(tmp_path: Path, start: Start) -> None:
    plant.promote(tmp_path / "state")
    assert asks(tmp_path, start("2h"), range(200)) == [SETTLING // MINUTE, SETTLING // MINUTE + 120]


def test_without_any_bundle_the_first_turn_comes_soon_after_the_start(tmp_path: Path, start: Start) -> None:
    (tmp_path / "state").mkdir()
    assert asks(tmp_path, start("24h"), range(100)) == [SETTLING // MINUTE]


def test_a_short_schedule_does_not_wait_longer_than_itself(tmp_path: Path, start: Start) -> None:
    assert asks(tmp_path, start("1m"), range(4)) == [1, 2, 3]


def test_a_new_bundle_starts_the_time_anew(tmp_path: Path, start: Start) -> None:
    plant.promote(tmp_path / "state")
    schedule = start("4h")
    plant.promote(tmp_path / "state", "2025-01-01T12-30-00Z-0002")
    assert asks(tmp_path, schedule, range(300)) == [270]


def test_a_turn_that_cannot_be_asked_for_is_logged(tmp_path: Path, start: Start) -> None:
    schedule = start("1m")
    (tmp_path / "state").rmdir()
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("retraining_failed", "error")
    assert "retrain.request" in line["reason"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            """print('[{"machine": "press", "promoted": true}, {"machine": "pump", "promoted": false}]')""",
            [
                {"event": "retraining_decided", "machine": "press", "promoted": True},
                {"event": "retraining_decided", "machine": "pump", "promoted": False},
            ],
        ),
        ("print('no json')", [{"event": "retraining_failed", "exit_code": 0}]),
        ("print('[]'); raise SystemExit(65)", [{"event": "retraining_failed", "exit_code": 65}]),
        ("import os; os.kill(os.getpid(), 9)", [{"event": "retraining_failed", "exit_code": -9}]),
    ],
)
def test_how_a_child_ended_is_logged(
    start: Start, monkeypatch: pytest.MonkeyPatch, script: str, expected: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(retraining, "COMMAND", (sys.executable, "-c", script))
    schedule = start("1m", "child")
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)

        def told() -> bool:
            schedule.tick(NOON + MINUTE)
            return len(logs) > len(expected)

        wait_until(told, "the child's end")
    assert logs[0]["event"] == "retraining_started"
    said = [{k: v for k, v in line.items() if k not in {"log_level", "hint"}} for line in logs[1:]]
    assert said == expected


def test_a_child_is_ended_with_the_daemon(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    schedule = start("1m", "child")
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)
        schedule.stop()
    assert [line["event"] for line in logs] == ["retraining_started", "retraining_stopped"]
    assert not Path(f"/proc/{logs[0]['process']}").exists()


@pytest.mark.parametrize("back", [HOUR, 100 * 365 * 24 * HOUR])
def test_a_clock_that_is_set_back_holds_no_training_up_for_as_long(
    tmp_path: Path, start: Start, back: int
) -> None:
    """As at boot, before the time is known."""
    plant.promote(tmp_path / "state")
    schedule = start("1h", now=NOON + back)
    schedule.tick(NOON + back)
    assert asks(tmp_path, schedule, range(3 * 60)) == [
        SETTLING // MINUTE,
        SETTLING // MINUTE + 60,
        SETTLING // MINUTE + 120,
    ]
