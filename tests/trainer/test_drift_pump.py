"""Drift of the simulated pump over months, whose bearing wears out."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from bench.drift import pump
from config.policies import health_policy
from config.settings import Settings
from registry.drifts import Drift, Kind
from trainer.drift import DriftPolicy, judge
from trainer.drift_blocks import block_length, course
from trainer.jobs import Job
from trainer.training import train

DAY = 86_400_000
LEARNED = 30  # days
BEGIN, END = 70, 90  # of wear, in days
CALM = {"SEASON": 0.0, "AGEING": 0.0, "FOULING": 0.0}


@pytest.fixture(scope="module")
def days() -> dict[int, Drift]:
    """What is found at the end of each day; nothing changes but the duty and the bearing."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in CALM.items():
            patched.setattr(pump, name, value)
        wears = pump.Pump(1, fault=True, days=100, set_point=1000, wears_out=(BEGIN, END)).course()
    history = dataclasses.replace(wears.history, label=None)
    settings = Settings()
    job = Job([history.rows(wears.learned)], "pump", ("recording",), "0")
    trained = train(job, settings=settings, created_at=datetime(2026, 1, 5, tzinfo=UTC))
    manifest, health = trained.detector.manifest, health_policy(settings)
    length = block_length(manifest.grid.interval, None)
    usual = course(trained.remembered[0], trained.detector, length, health)
    later = history.rows(slice(wears.learned.stop, None))
    newest = course(later, trained.detector, length, health)
    policy = DriftPolicy(settled_after=3 * DAY, min_move=0.5, min_growth=1.3)
    found = {}
    for day in range(LEARNED + 3, 100):
        seen = newest.rows(newest.at < pump.BEGIN + day * DAY)
        found[day] = judge("pump", "0", manifest.sensors, usual, seen, policy, 0)
    return found


def test_a_pump_that_is_as_it_was_does_not_drift(days: dict[int, Drift]) -> None:
    assert {found.kind for day, found in days.items() if day <= BEGIN} == {Kind.NONE}


def test_a_bearing_that_wears_out_is_developing_until_its_repair_and_never_taken_for_normal(
    days: dict[int, Drift],
) -> None:
    found = [day for day, one in days.items() if one.kind is Kind.DEVELOPING]
    assert found[0] <= BEGIN + 5
    assert set(range(found[0], END + 1)) <= {*found}
    first = days[found[0]]
    assert first.sensors[0].sensor == "vibration"
    assert first.since is not None
    assert abs((first.since - pump.BEGIN) / DAY - BEGIN) < 1
    assert not any(one.kind is Kind.SETTLED for one in days.values()), "it is never taken for normal"
    assert days[99].kind is Kind.NONE


def test_what_wears_is_said_with_numbers_that_json_can_carry(days: dict[int, Drift]) -> None:
    for one in days.values():
        numbers = [one.score, one.usual, one.rise, *(part.size for part in one.sensors)]
        assert all(number is None or np.isfinite(number) for number in numbers)
