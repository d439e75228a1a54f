"""Replay and evaluate on several machines, with real processes."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest

from cli.backtest import WORTH_A_PROCESS, Work, replayed, served
from cli.evaluate import count
from cli.exits import CommandError
from cli.histories import recorded
from cli.replay import said
from config import load
from detector.alerts import AlertPolicy
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stream import StreamPolicy
from registry.bundle import BundleError
from registry.bundle import load as load_bundle
from registry.bundle import read as read_bundle
from tests import plant
from tests.cli.conftest import Ended
from tests.cli.works import imported, killed
from tests.waiting import wait_until
from trainer.evaluation import evaluate, rows, summed

T = TypeVar("T")
Run = Callable[..., Ended]
MACHINES = {"press-1": 900, "press-2": 300, "press-3": 1200, "a press, old": 30}  # rows of each


@pytest.fixture
def data(config: Path, tmp_path: Path) -> list[Path]:
    """Labelled files of several machines, two files of one of them, and a bundle for all."""
    plant.promote(tmp_path / "state")
    paths = []
    for name, size in MACHINES.items():
        fault = range(size // 2, size // 2 + 20)
        history = plant.history(size, machine=name, faults=[fault])
        frame = pd.DataFrame(history.values, columns=list(history.sensors))
        frame.insert(0, "timestamp", history.at)
        frame["label"] = [int(i in fault) for i in range(size)]
        frame["machine"] = name
        for part, (start, stop) in enumerate([(0, size // 3), (size // 3, size)]):
            paths.append(tmp_path / f"{name}-{part}.csv")
            frame[start:stop].to_csv(paths[-1], index=False)
    return paths[::-1]


def results(config: Path, data: list[Path], work: Work[T], processes: int) -> list[T]:
    settings = load(config, {})
    with recorded(data, settings, None) as recordings:
        machines = served(settings, None, recordings)
        return list(replayed(machines, settings, work, processes=processes))


def test_the_number_of_processes_changes_nothing(config: Path, data: list[Path]) -> None:
    one, two, many = (results(config, data, partial(said, scores=True, sensors=True), n) for n in (1, 2, 9))
    assert len(one) == len(MACHINES)
    assert one == two == many
    counted = [results(config, data, partial(count, lateness=0), n) for n in (1, 3)]
    found = [summed(each) for each in counted]
    assert found[0] == found[1]
    assert found[0].files == found[0].events == len(MACHINES)
    assert found[0].events_found == len(MACHINES)


@pytest.mark.parametrize("lateness", [0, 3_000])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_of_any_size_are_worth_what_all_rows_are(tmp_path: Path, lateness: int, size: int) -> None:
    detector = load_bundle(read_bundle(plant.promote(tmp_path / "state")))
    whole = plant.history(300, faults=[range(100, 120), range(200, 230)]).select(plant.SENSORS[:2])
    label = np.array([100 <= i < 120 or 198 <= i < 225 for i in range(300)], dtype=np.int8)
    whole = dataclasses.replace(whole, label=label).rows(np.arange(300) % 11 > 0)
    pipeline, again = (
        Pipeline(Champions(shared=detector), stream=StreamPolicy(lateness=lateness), alerts=AlertPolicy())
        for _ in range(2)
    )
    blocks = [whole.rows(slice(start, start + size)) for start in range(0, len(whole), size)]
    pieces = ((block, list(replay([block], pipeline))) for block in blocks)
    grid = detector.manifest.grid
    expected = evaluate([rows(whole, replay([whole], again), grid=grid, stride=1)])
    assert summed(list(count(detector, pieces, lateness=lateness))) == expected
    assert expected.events_found == 2


def test_machines_come_one_after_another_by_name_and_each_in_order_of_time(
    anomalyd: Run, data: list[Path], tmp_path: Path
) -> None:
    ended = anomalyd("replay", *data, "--scores", tmp_path / "scores.csv")
    assert ended.code == 0
    table = list(csv.reader((tmp_path / "scores.csv").read_text().splitlines()))[1:]
    alerts = [json.loads(line) for line in ended.out.splitlines()]
    for moments in (
        [(row[0], row[1]) for row in table],
        [(alert["machine"], alert["at"]) for alert in alerts],
    ):
        assert {machine for machine, _ in moments} == {*MACHINES}
        assert moments == sorted(moments)
    assert len(table) == sum(MACHINES.values()) - len(MACHINES) * (plant.LENGTH - 1)
    assert f"{sum(MACHINES.values()):,} readings: " in ended.err


def test_several_machines_are_told_what_each_of_them_is_told_alone(
    anomalyd: Run, data: list[Path], tmp_path: Path
) -> None:
    together = anomalyd("replay", *data).out
    alone = [anomalyd("replay", *data, "--machine", machine).out for machine in sorted(MACHINES)]
    assert together == "".join(alone)
    assert all(alone)


def test_machines_beyond_those_that_the_daemon_follows_are_left_out(
    anomalyd: Run, config: Path, data: list[Path], tmp_path: Path
) -> None:
    with config.open("a") as file:
        file.write("readings: {interval: 1s, max_machines: 1}\n")
    config.write_text(config.read_text().replace("readings: {interval: 1s}\n", "", 1))
    early = tmp_path / "early.csv"
    early.write_text(f"timestamp,flow,pressure,temperature\n{plant.START - 1000},40,3,60\n")
    ended = anomalyd("replay", early, *data)
    assert ended.code == 0
    names = ", ".join(sorted(MACHINES))
    assert f"left out, as readings.max_machines is 1: {names}\n1 reading: 1 warming up\n" in ended.err


def test_another_process_imports_nothing_that_only_training_needs(config: Path, data: list[Path]) -> None:
    found = dict(results(config, data, imported, 2))
    assert os.getpid() not in found
    for names in found.values():
        assert not {*names} & {"tensorflow", "keras", "sklearn", "pandas", "pyarrow"}


def test_a_bundle_that_was_damaged_meanwhile_ends_all_processes_with_its_own_words(
    config: Path, data: list[Path], tmp_path: Path
) -> None:
    settings = load(config, {})
    with recorded(data, settings, None) as recordings:
        machines = served(settings, None, recordings)
        model = next(tmp_path.glob("state/bundles/*/model.tflite"))
        model.write_bytes(b"other")
        with pytest.raises(BundleError, match=r"model.tflite was changed after it was written"):
            list(replayed(machines, settings, partial(said, scores=False, sensors=False), processes=2))
    assert not workers(os.getpid())


def test_a_process_that_the_system_ends_is_told(config: Path, data: list[Path]) -> None:
    with pytest.raises(CommandError, match=r"ended by the system, which may be out of memory"):
        results(config, data, killed, 2)
    assert not workers(os.getpid())


def workers(process: int) -> list[int]:
    """Processes that a process has started to share its work."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == process and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def lives(process: int) -> bool:
    try:
        return "spawn_main" in Path(f"/proc/{process}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is never shared")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_replay_that_is_stopped(
    config: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    plant.promote(tmp_path / "state")
    size = WORTH_A_PROCESS
    values = np.random.default_rng(0).normal([40, 3, 60], [2, 0.1, 1], (size, 3)).round(2)
    frame = pd.DataFrame(values, columns=list(plant.SENSORS))
    frame["timestamp"] = plant.START + 1000 * np.arange(size)
    for name in ("a", "b"):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    files = [f"{tmp_path}/{name}.parquet" for name in ("a", "b")]
    command = [sys.executable, "-m", "cli", "replay", *files]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    wait_until(lambda: len(workers(process.pid)) == 2, "two processes")
    started = workers(process.pid)
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal_number)  # as a terminal does
    else:
        process.kill()
    _, err = process.communicate(timeout=60)
    if signal_number == signal.SIGINT:
        assert (process.returncode, err) == (1, "\nanomalyd: stopped\n")
    wait_until(lambda: not any(map(lives, started)), "their end")
