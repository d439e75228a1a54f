from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from config import Settings
from config.policies import alert_policy, stream_policy
from daemon.serving import Serving
from daemon.store import Store
from daemon.transaction import Transaction
from detector.pipeline import Pipeline
from detector.reading import Reading
from registry.champions import Registry
from tests import plant


def test_a_reload_that_the_disk_refuses_leaves_the_lateness_as_it_was(tmp_path: Path) -> None:
    plant.promote(tmp_path)
    store = Store(tmp_path / "store.sqlite")
    history = plant.history(20)
    readings = [
        Reading("press", at, history.sensors, row)
        for at, row in zip(history.at.tolist(), history.values, strict=True)
    ]
    store.commit(Transaction(readings=readings))
    serving = Serving(Registry(tmp_path), store, lateness=0)
    settings = Settings()
    champions, stream, alerts = serving.load(), stream_policy(settings), alert_policy(settings)
    before, after = (Pipeline(champions, stream=stream, alerts=alerts) for _ in range(2))
    before.on_readings(readings)
    detector = before.champions.of("press")
    assert detector is not None
    recent = [reading.at for reading in serving.recent("press", detector)]
    store.close()
    aside = store.path.rename(tmp_path / "aside")
    store.path.mkdir()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        serving.carry_over(before, after, lateness=5000)
    store.path.rmdir()
    aside.rename(store.path)
    assert [reading.at for reading in serving.recent("press", detector)] == recent
    serving.carry_over(before, after, lateness=5000)
    assert len(list(serving.recent("press", detector))) == len(recent) + 5
    store.close()
