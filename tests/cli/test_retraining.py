"""`anomalyd retrain` as a process: one at a time, within its limits, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.retrain import taken
from config import Retrain as RetrainSettings
from config import Settings
from daemon.assembly import STORE
from daemon.store import Store
from daemon.transaction import Transaction
from detector.replay import readings
from registry.champions import Registry
from registry.ledger import Ledger
from registry.requests import By, Request, RequestFile
from tests import plant
from tests.cli.conftest import Ended
from tests.real_daemon import ROOT
from tests.waiting import wait_until

Run = Callable[..., Ended]
Process = subprocess.Popen[str]
Retrain = Callable[..., Process]
ENDLESS = "trainer: {window: 4, model: {kind: dense, epochs: 100000, patience: 100000}}\n"
QUICK = "trainer: {window: 4, model: {kind: dense, epochs: 2}}\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a champion and a store to learn from."""
    state = tmp_path / "state"
    plant.promote(state, threshold=5.0)  # so that it finds plain faults alone: a challenger is better
    store = Store(state / STORE)
    store.commit(Transaction(readings=[*readings(plant.history(1000))]))
    store.close()
    return state


@pytest.fixture
def retrain(tmp_path: Path, state: Path) -> Iterator[Retrain]:
    """Starts `anomalyd retrain` with a trainer and options of `retrain:` in YAML."""
    processes: list[Process] = []

    def start(*arguments: str, trainer: str = QUICK, options: str = "") -> Process:
        file = tmp_path / f"{len(processes)}.yaml"
        gate = "gate: {max_error_ratio: 100, alert_rate_margin: 0.05, equal_alarms: false}"
        file.write_text(
            f"state_dir: {state}\nreadings: {{interval: 1s}}\n{trainer}"
            f"retrain: {{min_readings: 500, {gate}, {options}}}\n"
        )
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "cli", "retrain", "--config", str(file), "--json", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def waits(process: int) -> bool:
    """Whether it waits for a lock that another process holds."""
    found = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f" {process} " in line for line in found)


def begun(state: Path) -> None:
    """Waits until a turn of the shared line is open."""
    wait_until(lambda: Ledger(state).read().shared.open, "a turn")


def test_a_second_retraining_says_who_is_at_it_and_gives_up_or_waits(state: Path, retrain: Retrain) -> None:
    first = retrain("--by", "drift", "--reason", "the pressure is warm", trainer=ENDLESS)
    begun(state)
    second = retrain("--machine", "press")
    out, err = second.communicate()
    assert second.returncode == 75
    assert out == ""
    assert f"process {first.pid} (drift: the pressure is warm) does" in err
    patient = retrain("--wait", "--machine", "press")
    wait_until(lambda: waits(patient.pid), "the process that waits")
    first.kill()
    out, _ = patient.communicate()
    assert patient.returncode == 0
    assert json.loads(out)[0]["machine"] is None


def test_who_asked_and_why_stands_in_the_answer_and_in_the_bundle(state: Path, retrain: Retrain) -> None:
    out, err = retrain("--by", "age", "--reason", "30 days old").communicate()
    (turn,) = json.loads(out)
    assert turn["promoted"], err
    assert turn["asked"] == {"by": "age", "reason": "30 days old"}
    asked = Registry(state).read(turn["bundle"]).manifest.asked
    assert asked is not None
    assert (asked.by, asked.reason) == ("age", "30 days old")
    past = Ledger(state).read().shared
    assert (past.failures, past.open) == (0, False)
    assert past.seconds == pytest.approx(turn["seconds"], abs=0.1)


def test_only_the_line_that_is_named_is_retrained_and_may_get_a_bundle_of_its_own(
    state: Path, retrain: Retrain
) -> None:
    out, _ = retrain("--machine", "press", "--own").communicate()
    (turn,) = json.loads(out)
    assert (turn["machine"], turn["promoted"]) == ("press", True)
    assert {*Registry(state).champions()} == {None, "press"}
    out, _ = retrain("--shared").communicate()
    assert json.loads(out) == []  # the only machine has its own now


def test_too_little_memory_is_said_and_put_off(state: Path, retrain: Retrain) -> None:
    process = retrain(options="max_memory: 512MiB")
    out, err = process.communicate()
    assert process.returncode == 71, err
    assert out == ""
    assert "out of memory: retrain.max_memory is 512MiB; raise it, or" in err.splitlines()[-1]
    past = Ledger(state).read().shared
    assert past.failures == 1
    assert past.why.startswith("out of memory: retrain.max_memory is 512MiB")


def test_a_turn_that_takes_too_long_is_ended_and_put_off(state: Path, retrain: Retrain) -> None:
    process = retrain(trainer=ENDLESS, options="max_time: 1s")
    _, err = process.communicate()
    assert process.returncode == -signal.SIGALRM
    assert "shared: given up: it took longer than retrain.max_time, 1s" in err
    past = Ledger(state).read().shared
    assert (past.failures, past.why) == (1, "it took longer than retrain.max_time, 1s")


def test_a_turn_that_takes_longer_than_its_interval_is_put_off(state: Path) -> None:
    settings = Settings(
        state_dir=state, retrain=RetrainSettings(every=timedelta(microseconds=1), min_readings=5000)
    )
    (turn,) = taken(Request(), settings)
    assert turn["reason"] == "too_few_readings"
    past = Ledger(state).read().shared
    assert past.failures == 1
    assert "longer than retrain.every" in past.why
    settings = replace(settings, retrain=replace(settings.retrain, every=timedelta(days=1)))
    assert len([*taken(Request(), settings)]) == 1
    assert Ledger(state).read().shared.failures == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is but one processor")
def test_all_threads_keep_to_the_processors_that_are_allowed(state: Path, retrain: Retrain) -> None:
    process = retrain(trainer=ENDLESS, options="max_cpus: 1")
    maps, tasks = Path(f"/proc/{process.pid}/maps"), Path(f"/proc/{process.pid}/task")
    wait_until(lambda: "tensorflow" in maps.read_text(), "TensorFlow")
    wait_until(lambda: len([*tasks.iterdir()]) > 3, "its threads")
    time.sleep(1)
    affinities = {frozenset(os.sched_getaffinity(int(task.name))) for task in tasks.iterdir()}
    assert affinities == {frozenset({max(os.sched_getaffinity(0))})}


def test_the_request_file_says_what_is_done_and_is_gone_after_it(state: Path, retrain: Retrain) -> None:
    file = RequestFile(state)
    file.path.write_text('{"by": "the boss"}\n{"by": "drift", "reason": "warm", "machines": ["press"]}\n')
    out, err = retrain("--by", "file").communicate()
    (turn,) = json.loads(out)
    assert turn["asked"] == {"by": "drift", "reason": "warm"}
    assert "refused: retrain.request: line 1 must be a request in JSON" in err
    assert file.take() == ([], [])
    out, _ = retrain("--by", "file").communicate()  # as a timer does
    (turn,) = json.loads(out)
    assert turn["asked"] == {"by": "schedule", "reason": "anomalyd-retrain was started"}


def test_a_request_that_a_killed_retraining_had_taken_is_left_to_the_next(
    state: Path, retrain: Retrain
) -> None:
    RequestFile(state).write([Request(By.LEARNING, "enough", 5)])
    first = retrain("--by", "file", trainer=ENDLESS)
    begun(state)
    first.kill()
    first.communicate()
    assert not RequestFile(state).exists()
    out, _ = retrain("--by", "file").communicate()
    (turn,) = json.loads(out)
    assert turn["asked"] == {"by": "learning", "reason": "enough"}


@pytest.mark.parametrize(
    "options", [("--own",), ("--own", "--machine", "press", "--shared"), ("--machine", "a/b")]
)
def test_who_is_to_be_retrained_must_make_sense(
    anomalyd: Run, config: Path, options: tuple[str, ...]
) -> None:
    assert anomalyd("retrain", *options).code == 64
