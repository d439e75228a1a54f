from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from config import Settings, load
from daemon import child
from daemon.due import SETTLING
from daemon.retraining import Retraining
from daemon.tally import Tally
from registry.champions import Registry
from registry.ledger import FIRST_PAUSE, Ledger, Past
from registry.requests import By, Request, RequestFile
from registry.turn_lock import TurnLock
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
        file.write_text(
            f"state_dir: {tmp_path}/state\nretrain: {{every: {every or 'off'}, jitter: off, by: {by}}}\n"
        )
        settings: Settings = load(file, {})
        settings.state_dir.mkdir(exist_ok=True)
        made.append(Retraining(settings, Registry(settings.state_dir), file, Tally(time.monotonic), now=now))
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
    shutil.rmtree(tmp_path / "state")
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)
    (line,) = logs
    assert (line["event"], line["log_level"], line["reason"]) == ("retraining_failed", "error", "io")
    assert "retrain.request" in line["why"]


def ran(schedule: Retraining, now: int) -> list[dict[str, Any]]:
    """What is logged of a child that is due, until it has ended."""
    with capture_logs() as logs:
        schedule.tick(now)

        def over() -> bool:
            schedule.tick(now)
            return not schedule.running

        wait_until(over, "the child's end")
    return [dict(line) for line in logs]


def as_child(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", script))


def test_what_a_child_decided_is_logged_with_who_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    as_child(
        monkeypatch,
        """print('[{"machine": "press", "promoted": true}, {"machine": "pump", "promoted": false}]')""",
    )
    started, *decided = ran(start("1m", "child"), NOON + MINUTE)
    assert (started["event"], started["reason"]) == ("retraining_started", "schedule")
    assert [(line["event"], line["machine"], line["promoted"], line["by"]) for line in decided] == [
        ("retraining_decided", "press", True, "schedule"),
        ("retraining_decided", "pump", False, "schedule"),
    ]


@pytest.mark.parametrize(
    ("script", "reason", "why"),
    [
        ("print('no json')", "error", "no answer that can be read"),
        ("import sys; print('[]'); sys.exit('anomalyd: bad disk')", "error", "bad disk"),
        ("print('[]'); raise SystemExit(65)", "error", "no message"),
        ("raise SystemExit(71)", "max_memory", "no message"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "killed",
            "ended by SIGKILL, as by a kernel that is out of memory: see retrain.max_memory",
        ),
        (
            "import os; os.kill(os.getpid(), 6)",
            "killed",
            "ended by SIGABRT, as a library does that is refused memory: see retrain.max_memory",
        ),
        (
            "import os; os.kill(os.getpid(), 14)",
            "max_time",
            "ended by SIGALRM: it took longer than retrain.max_time",
        ),
    ],
)
def test_a_child_that_fails_backs_off_and_says_why(
    start: Start, monkeypatch: pytest.MonkeyPatch, script: str, reason: str, why: str
) -> None:
    as_child(monkeypatch, script)
    schedule = start("1m", "child")
    _, failed, backed_off = ran(schedule, NOON + MINUTE)
    schedule.tick(NOON + MINUTE)
    assert (failed["event"], failed["reason"], failed["why"]) == ("retraining_failed", reason, why)
    assert (backed_off["event"], backed_off["failures"]) == ("retraining_backed_off", 1)
    assert backed_off["why"] == why
    assert schedule.standing.problem is not None
    assert why in schedule.standing.problem
    assert schedule.next_at is not None
    assert schedule.next_at >= NOON + MINUTE + FIRST_PAUSE


def test_pauses_grow_survive_a_restart_and_end_with_a_success(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_child(monkeypatch, "raise SystemExit(1)")
    now, pauses = NOON + MINUTE, []
    for _ in range(3):
        schedule = start("1m", "child", now=now - MINUTE)
        ran(schedule, now)
        with capture_logs() as logs:
            schedule.tick(now + MINUTE)
        assert logs == []
        assert schedule.next_at is not None
        pauses.append(schedule.next_at - now)
        now = schedule.next_at
    assert pauses[1:] == pytest.approx([2 * pauses[0], 4 * pauses[0]], abs=2)
    assert FIRST_PAUSE <= pauses[0] < FIRST_PAUSE * 1.25

    (tmp_path / "ends").write_text(
        "import sys, time\nfrom pathlib import Path\nfrom registry.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(tmp_path / 'state')!r}))\n"
        f"ledger.begin(None, {now}); ledger.end(None, 1.5); print('[]')"
    )
    as_child(monkeypatch, f"exec(open({str(tmp_path / 'ends')!r}).read())")
    schedule = start("1m", "child", now=now - MINUTE)
    ran(schedule, now)
    assert schedule.standing.problem is None
    assert schedule.standing.last_seconds == 1.5
    assert schedule.standing.backed_off == 0


def test_a_command_is_taken_in_spite_of_a_pause_and_not_again_if_it_fails(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_child(monkeypatch, "raise SystemExit(1)")
    schedule = start(None, "child")
    for minute in (1, 2):
        assert schedule.ask(Request(By.COMMAND, "new tool", NOON))
        ran(schedule, NOON + minute * MINUTE)
    with capture_logs() as logs:
        schedule.tick(NOON + 365 * 24 * HOUR)
    assert [line["event"] for line in logs] == []
    assert schedule.standing.problem is not None
    assert "failed 2 times in a row" in schedule.standing.problem


def test_what_failed_of_what_the_daemon_wants_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_child(monkeypatch, "raise SystemExit(1)")
    schedule = start(None, "child")
    schedule.ask(Request(By.LEARNING, "enough", NOON))
    ran(schedule, NOON + MINUTE)
    schedule.tick(NOON + MINUTE)
    assert schedule.next_at is not None
    started, *_ = ran(schedule, schedule.next_at)
    assert (started["event"], started["reason"], started["asked"]) == (
        "retraining_started",
        "learning",
        "enough",
    )


def test_drift_is_no_reason_where_it_is_not_wished_for(tmp_path: Path, start: Start) -> None:
    schedule = start(None)
    schedule.settings = replace(schedule.settings, retrain=replace(schedule.settings.retrain, on_drift=False))
    assert not schedule.ask(Request(By.DRIFT, "warm", NOON))
    assert schedule.ask(Request(By.COMMAND, "tool", NOON))
    assert asks(tmp_path, schedule, range(1)) == [0]


def test_what_is_pending_survives_a_restart(start: Start, tmp_path: Path) -> None:
    start(None, "child").ask(Request(By.LEARNING, "enough", NOON, ("press",), own=True))
    start(None).tick(NOON + MINUTE)
    (request,), _ = RequestFile(tmp_path / "state").take()
    assert request == Request(By.LEARNING, "enough", NOON, ("press",), own=True)


def test_a_turn_fulfils_what_was_asked_of_its_line_before_it_began(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.01)\nprint('[]')"
    as_child(monkeypatch, wait)
    schedule = start(None, "child")
    for by in (By.LEARNING, By.DRIFT, By.COMMAND):
        schedule.ask(Request(by, f"by {by}", NOON))
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)
        schedule.tick(NOON + 2 * MINUTE)
        schedule.ask(Request(By.COMMAND, "by command", NOON + 2 * MINUTE))
        go.touch()

        def over() -> bool:
            schedule.tick(NOON + 2 * MINUTE)
            return not schedule.running and schedule.next_at is None

        wait_until(over, "all that was asked for")
    begun = [line["asked"] for line in logs if line["event"] == "retraining_started"]
    assert begun == ["by command", "by command"]


def test_the_request_file_is_taken_up_and_what_is_bad_in_it_refused_by_name(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_child(monkeypatch, "import sys; print('[]')")
    schedule = start(None, "child")
    RequestFile(tmp_path / "state").path.write_text('{"by": "the boss"}\n{"reason": "new tool"}\n')
    refused, requested, started = ran(schedule, NOON + MINUTE)
    assert (refused["event"], refused["reason"]) == ("retraining_refused", "unreadable")
    assert 'line 1 must be a request in JSON, got \'{"by": "the boss"}\'' in refused["text"]
    assert (requested["event"], requested["by"]) == ("retraining_requested", "file")
    assert (started["reason"], started["asked"]) == ("file", "new tool")
    assert not RequestFile(tmp_path / "state").exists()


def test_while_another_process_retrains_the_daemon_s_turn_waits_and_is_no_failure(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_child(monkeypatch, "import sys; print('anomalyd: process 7 does', file=sys.stderr); sys.exit(75)")
    schedule = start("1m", "child")
    _, postponed = ran(schedule, NOON + MINUTE)
    assert (postponed["event"], postponed["text"]) == ("retraining_postponed", "process 7 does")
    assert schedule.standing.problem is None
    with capture_logs() as logs:
        schedule.tick(NOON + 90_000)
    assert logs == []
    started, _ = ran(schedule, NOON + 2 * MINUTE)
    assert started["event"] == "retraining_started"


def test_a_turn_of_another_service_that_was_killed_is_noticed_and_one_that_runs_is_not(
    start: Start, tmp_path: Path
) -> None:
    schedule = start("24h")
    ledger, lock = Ledger(tmp_path / "state"), TurnLock(tmp_path / "state")
    lock.take(None, wait=False)
    ledger.begin("press", NOON)
    with capture_logs() as logs:
        schedule.tick(NOON + MINUTE)
        assert logs == []
        lock.release()
        schedule.tick(NOON + 2 * MINUTE)
    (line,) = logs
    assert (line["event"], line["machine"], line["why"]) == (
        "retraining_backed_off",
        "press",
        "it was killed",
    )
    assert ledger.read().of("press").failures == 1


def test_the_books_are_begun_anew_where_they_cannot_be_read(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "retraining.json").write_text("{")
    schedule = start("1m")
    assert asks(tmp_path, schedule, range(3)) == [1, 2]
    Ledger(tmp_path / "state").begin(None, 5)
    assert Ledger(tmp_path / "state").read().of(None) == Past(5)


def test_a_child_is_ended_with_the_daemon(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
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


@pytest.mark.parametrize("command", [["/nowhere/anomalyd"], ["a\0b"]])
def test_a_child_that_cannot_be_started_is_put_off_and_a_person_is_not_obeyed_later(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(child, "COMMAND", command)
    schedule = start(None, "child")
    assert schedule.ask(Request(By.COMMAND, "the pump is new", NOON))
    with capture_logs() as logs:
        for minute in range(5):
            schedule.tick(NOON + minute * MINUTE)
    assert [line["reason"] for line in logs if line["event"] == "retraining_failed"] == ["io"]
    book = Ledger(tmp_path / "state").read()
    assert (book.shared.failures, book.pending) == (1, ())


@pytest.mark.parametrize("field", ['"reason": "a\\u0000b"', '"machines": ["a\\u0000b"], "own": true'])
def test_what_no_command_line_can_hold_ends_no_start(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    as_child(monkeypatch, "print([])")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "retraining.json").write_text(f'{{"pending": [{{"by": "command", {field}}}]}}')
    (tmp_path / "state" / "retrain.request").write_text(f"{{{field}}}\n")
    schedule = start(None, "child")
    for minute in range(3):
        ran(schedule, NOON + minute * MINUTE)
    assert not requested(tmp_path)
    assert not Ledger(tmp_path / "state").read().pending


def test_a_turn_that_ends_well_while_the_books_are_looked_at_was_not_killed(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, books = start(None), Ledger(tmp_path / "state")
    books.begin(None, NOON)
    held = TurnLock.held

    def ends_then(lock: TurnLock) -> bool:
        books.end(None, 5.0)
        return held(lock)

    monkeypatch.setattr(TurnLock, "held", ends_then)
    schedule.tick(NOON + MINUTE)
    assert books.read().shared == Past(NOON, 5.0)
    assert schedule.standing.problem is None
