"""How long sensors stand still is learned from all normal rows, and never from sensors that were stuck."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.streams import Range
from detector.grid import Grid
from detector.health import HealthPolicy
from detector.history import History
from detector.manifest import StretchSpec
from tests.detector.examples import manifest
from tests.trainer import examples
from trainer import stretches
from trainer.jobs import Job
from trainer.problems import Unusable
from trainer.stretches import longest_stretches, unstuck, within
from trainer.training import train

SECOND = 1000
NAN = math.nan


def history(*columns: list[float], at: list[int] | None = None) -> History:
    """One reading a second, or at the given seconds."""
    seconds = range(len(columns[0])) if at is None else at
    values = np.array(columns, dtype=np.float64).T
    return History("press-1", ("flow", "load")[: len(columns)], SECOND * np.array(seconds), values)


@settings(max_examples=200)
@given(st.lists(st.lists(st.sampled_from((0.0, 1.0, NAN)), min_size=1, max_size=12), min_size=1, max_size=3))
def test_the_longest_stretch_of_any_machine_counts(columns: list[list[float]]) -> None:
    spec = longest_stretches([history(column) for column in columns], Grid(SECOND), 5, ())
    shown = [[value for value in column if not math.isnan(value)] for column in columns]
    same = [len(list(run)) for values in shown for _, run in groupby(values)]
    absent = [len(list(run)) for column in columns for there, run in groupby(column, math.isnan) if there]
    changes = sum(len(list(groupby(values))) for values in shown)
    assert spec == StretchSpec((max(same, default=0),), (max(absent, default=0),), (changes,))


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_pieces_and_holes_end_no_stretch(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(stretches, "PIECE", piece)
    rows = history([1, 2, 2, 2, NAN, 2, 2, 3], at=[0, 1, 2, 3, 4, 500, 501, 502])
    assert longest_stretches([rows], Grid(SECOND), 5, ()) == StretchSpec((5,), (1,), (3,))


def test_slots_without_a_reading_are_no_missing_values_and_counters_count_by_increase() -> None:
    rows = history([1, 2, 2, 3, 4, 5], at=[0, 1, 2, 5, 6, 7])
    assert longest_stretches([rows], Grid(SECOND), 5, ("flow",)) == StretchSpec((2,), (1,), (3,))


def test_values_that_only_a_broken_sensor_shows_are_missing() -> None:
    rows = history([1, -999, NAN, 5, 9], [1, -999, 3, 4, 5])
    found = within(rows, {"flow": Range(0, 5), "oil": Range(0, 1)})
    np.testing.assert_equal(found.values[:, 0], [1, NAN, NAN, 5, NAN])
    np.testing.assert_equal(found.values[:, 1], rows.values[:, 1])
    assert rows.values[1, 0] == -999


def test_a_stuck_stretch_is_not_learned_from_not_even_its_beginning() -> None:
    flow = [1, 2, 2, 2, 3, 3, NAN, 3, 3, 4, 4, 4, 5]
    rows = history(flow, [float(i) for i in range(len(flow))])
    found = unstuck(rows, manifest(), HealthPolicy(stuck_after=3_000))
    np.testing.assert_equal(found.values[:, 0], [1, 2, 2, 2, NAN, NAN, NAN, NAN, NAN, 4, 4, 4, 5])
    np.testing.assert_equal(found.values[:, 1], rows.values[:, 1])
    same = unstuck(rows, manifest(), HealthPolicy(stuck_after=4_000))
    np.testing.assert_equal(same.values, rows.values)
    assert len(unstuck(rows.rows(slice(0, 0)), manifest(), HealthPolicy())) == 0


def test_a_bundle_holds_how_long_its_sensors_stood_still_and_knows_nothing_out_of_range() -> None:
    pump = examples.pump(400)
    pump.values[50:57, 0] = pump.values[50, 0]
    pump.values[100:103, 1] = NAN
    pump.values[200:205, 2] = -999
    wishes = examples.settings(report="off")
    limited = examples.limited(wishes, {pump.sensors[2]: Range(-100, math.inf)})
    job = Job([pump], None, ("pump.csv",), examples.ID)
    trained = train(job, settings=limited, created_at=examples.CREATED)
    assert trained.manifest.stretches is not None
    assert trained.manifest.stretches.same[:3] == (7, 1, 1)
    assert trained.manifest.stretches.absent[:3] == (0, 3, 5)
    assert trained.manifest.scaler.scale[2] < 10


def test_a_history_out_of_all_ranges_is_unusable() -> None:
    pump = examples.pump(400)
    ranges = dict.fromkeys(pump.sensors, Range(1e6, math.inf))
    settings = examples.limited(examples.settings(report="off"), ranges)
    with pytest.raises(Unusable):
        train(Job([pump], None, (), examples.ID), settings=settings, created_at=examples.CREATED)
