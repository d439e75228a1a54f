from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from config.policies import alert_policy
from config.settings import Settings
from detector.history import UNKNOWN, History
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stream import StreamPolicy
from trainer.evaluation import evaluate, rows
from trainer.history_files import read_histories
from trainer.jobs import Job
from trainer.training import train

DATA = Path(os.environ.get("ANOMALYD_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "manifest.json").exists(), reason=f"the recordings are not in {DATA}")
def test_a_fault_of_a_real_valve_is_found_after_280_rows_of_fitting() -> None:
    files = json.loads((DATA / "manifest.json").read_text())["files"]
    file = next(file for file in files if file["file"] == "skab/valve1-8.csv.gz")
    settings = Settings()
    (whole,) = read_histories([DATA / file["file"]], settings.history)
    first, last = file["train_range"]
    job = Job([whole.rows(slice(first, last))], whole.machine, (file["file"],), "valve1-8")
    trained = train(job, settings=settings, created_at=datetime(2026, 1, 5, tzinfo=UTC))
    assert trained.manifest.history.rows == 400
    assert trained.manifest.metrics["export_difference"] < 1e-4

    assert whole.label is not None
    label = whole.label.copy()
    label[: file["test_range"][0]] = UNKNOWN
    tested = History(whole.machine, whole.sensors, whole.at, whole.values, label)
    pipeline = Pipeline(
        Champions(shared=trained.detector), stream=StreamPolicy(), alerts=alert_policy(settings)
    )
    events = list(replay([whole], pipeline))
    found = evaluate([rows(tested, events, grid=trained.manifest.grid, stride=1)])
    assert found.rows == file["rows"] - 400
    assert found.anomalous == int(np.sum(label == 1))
    assert (found.events, found.events_found) == (1, 1)
    assert found.auc_pr is not None
    assert found.auc_pr_random is not None
    assert found.auc_pr > found.auc_pr_random + 0.2
