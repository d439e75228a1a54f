"""Drift of recorded machines that are labelled normal all the while."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.policies import health_policy
from config.settings import Settings
from detector.history import History
from registry.drifts import Kind
from trainer.drift import DriftPolicy, judge
from trainer.drift_blocks import block_length, course
from trainer.history_files import read_histories
from trainer.jobs import Job
from trainer.training import train

DATA = Path(os.environ.get("ANOMALYD_DATA", Path(__file__).parents[3] / "shared" / "data"))
MODELLED = 0.6  # share of the rows to train on that the model is made of; the rest is looked at
DAY = 86_400_000
MOVED = 4.0  # deviations: omi-9 itself swings by two

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "manifest.json").exists(), reason=f"the recordings are not in {DATA}"),
]


def looks(history: History, moved: float = 0.0) -> Counter[Kind]:
    """What is found, looking every six blocks; one sensor has moved since the model was made, if any."""
    settings = Settings()
    known = int(len(history) * MODELLED)
    job = Job([history.rows(slice(known))], history.machine, ("recording",), "0")
    trained = train(job, settings=settings, created_at=datetime(2026, 1, 5, tzinfo=UTC))
    values = history.values.copy()
    manifest = trained.detector.manifest
    column = history.sensors.index(manifest.sensors[0])
    values[known:, column] += moved * values[:known, column].std()
    later = dataclasses.replace(history, values=values).rows(slice(known, None))
    length, health = block_length(manifest.grid.interval, None), health_policy(settings)
    usual = course(trained.remembered[0], trained.detector, length, health)
    newest = course(later, trained.detector, length, health)
    policy = DriftPolicy(settled_after=3 * DAY, min_move=0.5, min_growth=1.3)
    return Counter(
        judge(history.machine, "0", manifest.sensors, usual, newest.rows(slice(end)), policy, 0).kind
        for end in range(6, len(newest) + 1, 6)
    )


@pytest.mark.parametrize("number", [1, 3, 5, 7, 9, 11])
def test_a_recorded_machine_that_is_normal_does_not_drift_and_one_whose_sensor_moves_does(
    number: int,
) -> None:
    files = json.loads((DATA / "manifest.json").read_text())["files"]
    file = next(file for file in files if file["file"] == f"asd/omi-{number}.csv.gz")
    (whole,) = read_histories([DATA / file["file"]], Settings().history)
    history = dataclasses.replace(whole.rows(slice(*file["train_range"])), label=None)
    calm = looks(history)
    assert calm[Kind.NONE] >= 18
    assert {*calm} <= {Kind.NONE, Kind.UNKNOWN}
    moved = looks(history, MOVED)
    assert moved.total() - moved[Kind.NONE] - moved[Kind.UNKNOWN] >= 10
