from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.history import UNKNOWN, History
from trainer.faults import KINDS, SPIKE_ROWS, Fault, Kind, faults, inject

SENSORS = ("flow", "pressure", "current")
ADDED = [kind for kind, does in KINDS.items() if not does.replaces]
REPLACED = [kind for kind, does in KINDS.items() if does.replaces]


@st.composite
def histories(draw: st.DrawFn, missing: float = 0.2) -> History:
    rows = draw(st.integers(4, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = random.normal(size=(rows, len(SENSORS)))
    values[random.random(values.shape) < missing] = np.nan
    label = random.choice([0, UNKNOWN], rows).astype(np.int8) if draw(st.booleans()) else None
    return History("press", SENSORS, 1000 * np.arange(rows), values, label)


@st.composite
def faulty(
    draw: st.DrawFn,
    kinds: Sequence[Kind] = tuple(Kind),
    missing: float = 0.2,
) -> tuple[History, Fault, History, float]:
    """Rows, a fault, the rows with the fault in them, and the sensor's deviation."""
    history = draw(histories(missing))
    kind = draw(st.sampled_from(kinds))
    start = draw(st.integers(0, len(history) - 1))
    stop = draw(st.integers(start + 1, len(history)))
    strength = draw(st.floats(0.1, 1.0 if KINDS[kind].replaces else 9.0))
    fault = Fault(kind, draw(st.sampled_from(SENSORS)), start, stop, strength, draw(st.integers(0, 99)))
    deviation = draw(st.floats(0.1, 100))
    return history, fault, inject(history, fault, deviation), deviation


def column(history: History, fault: Fault) -> NDArray[np.float64]:
    """The sensor's values in the rows of the fault."""
    return history.values[fault.start : fault.stop, SENSORS.index(fault.sensor)]


@given(faulty())
def test_a_fault_changes_its_sensor_in_its_rows_alone_and_labels_them(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, after, _ = case
    inside = np.zeros(before.values.shape, bool)
    inside[fault.start : fault.stop, SENSORS.index(fault.sensor)] = True
    np.testing.assert_array_equal(after.values[~inside], before.values[~inside])
    np.testing.assert_array_equal(after.at, before.at)
    assert after.label is not None
    rows = inside.any(axis=1)
    assert (after.label[rows] == 1).all()
    expected = np.zeros(len(before)) if before.label is None else before.label
    np.testing.assert_array_equal(after.label[~rows], expected[~rows])


@given(faulty())
def test_a_missing_value_stays_missing_and_no_other_becomes_missing(
    case: tuple[History, Fault, History, float],
) -> None:
    before, _, after, _ = case
    np.testing.assert_array_equal(np.isnan(after.values), np.isnan(before.values))


@given(faulty())
def test_the_same_fault_is_the_same_again_and_leaves_the_given_rows_alone(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, after, deviation = case
    kept = before.values.copy()
    np.testing.assert_array_equal(inject(before, fault, deviation).values, after.values)
    np.testing.assert_array_equal(before.values, kept)


@given(faulty([Kind.SPIKE, Kind.LEVEL_SHIFT]))
def test_a_spike_and_a_level_shift_are_off_by_so_many_deviations_in_one_direction(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, after, deviation = case
    off = column(after, fault) - column(before, fault)
    off = off[~np.isnan(off)]
    assume(len(off))
    np.testing.assert_allclose(off, np.sign(off[0]) * fault.strength * deviation, rtol=1e-6)


@given(faulty([Kind.DRIFT], missing=0))
def test_a_drift_grows_by_the_same_with_every_row_up_to_its_strength(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, after, deviation = case
    off = np.abs(column(after, fault) - column(before, fault))
    assert off[-1] == pytest.approx(fault.strength * deviation)
    np.testing.assert_allclose(np.diff(off, prepend=0), off[-1] / len(off), rtol=1e-6, atol=1e-9)


@given(faulty([Kind.STUCK]))
def test_a_stuck_sensor_follows_by_what_is_left_of_it_and_not_at_all_at_full_strength(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, after, deviation = case
    own, stuck = column(before, fault), column(after, fault)
    there = ~np.isnan(own)
    assume(there.any())
    first = own[there][0]
    np.testing.assert_allclose(stuck[there] - first, (1 - fault.strength) * (own[there] - first), atol=1e-12)
    whole = Fault(fault.kind, fault.sensor, fault.start, fault.stop, 1, fault.seed)
    assert {*column(inject(before, whole, deviation), fault)[there]} == {first}


def test_a_noise_burst_adds_white_noise_of_so_many_deviations() -> None:
    rows = 20_000
    still = History("press", SENSORS, np.arange(rows), np.ones((rows, 3)))
    fault = Fault(Kind.NOISE_BURST, "flow", 0, rows, 2.5, seed=4)
    noise = column(inject(still, fault, 3.0), fault) - 1
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert noise.std() == pytest.approx(7.5, rel=0.02)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0, abs=0.03)


@given(faulty([Kind.LOST_CORRELATION], missing=0))
def test_a_lost_correlation_shows_what_the_sensor_showed_at_another_time(
    case: tuple[History, Fault, History, float],
) -> None:
    before, fault, _, deviation = case
    rows, total = fault.stop - fault.start, len(before)
    whole = Fault(fault.kind, fault.sensor, fault.start, fault.stop, 1, fault.seed)
    shown = column(inject(before, whole, deviation), fault)
    values = before.values[:, SENSORS.index(fault.sensor)].tolist()
    places = [values.index(value) for value in shown.tolist()]  # drawn values, of which none is there twice
    steps = {(later - earlier) % total for earlier, later in pairwise(places)}
    assert steps <= {1}, "in the order in which they were shown"
    if total >= 2 * rows:
        assert not {*places} & {*range(fault.start, fault.stop)}, "none of them at this time"


def test_a_correlation_is_lost_by_as_much_as_the_strength_says() -> None:
    random = np.random.default_rng(0)
    load = random.normal(size=4000)
    history = History("press", ("a", "b"), np.arange(4000), np.column_stack([load, load]))
    left = []
    for strength in KINDS[Kind.LOST_CORRELATION].strengths:
        values = inject(history, Fault(Kind.LOST_CORRELATION, "a", 0, 2000, strength, seed=1), 1.0).values
        left.append(np.corrcoef(values[:2000, 0], values[:2000, 1])[0, 1])
    assert left[0] == pytest.approx(0.7, abs=0.05)
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(0, abs=0.05)


@given(
    st.integers(0, 30), st.integers(1, 20), st.integers(0, 30), st.integers(1, 3), st.integers(0, 2**32 - 1)
)
def test_faults_of_every_kind_and_strength_are_drawn_within_the_rows(
    first: int, lasting: int, spare: int, each: int, seed: int
) -> None:
    stop = first + lasting + spare
    drawn = faults(SENSORS, first=first, stop=stop, lasting=lasting, each=each, seed=seed)
    assert drawn == faults(SENSORS, first=first, stop=stop, lasting=lasting, each=each, seed=seed)
    for kind, does in KINDS.items():
        for strength in does.strengths:
            assert sum(fault.kind is kind and fault.strength == strength for fault in drawn) == each
    for fault in drawn:
        assert first <= fault.start < fault.stop <= stop
        rows = min(lasting, SPIKE_ROWS) if fault.kind is Kind.SPIKE else lasting
        assert fault.stop - fault.start == rows
    assert len(drawn) == each * sum(len(does.strengths) for does in KINDS.values())


@pytest.mark.parametrize(
    ("stop", "strength", "text"),
    [
        (5, 1.0, "fault: must begin at row 0 or later and end after it began, got 5..5"),
        (9, 0.0, "stuck: strength must be above 0 and at most 1.0, got 0.0"),
        (9, 1.5, "stuck: strength must be above 0 and at most 1.0, got 1.5"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(stop: int, strength: float, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Fault(Kind.STUCK, "a", 5, stop, strength, seed=0)


def test_a_fault_outside_of_the_rows_is_refused() -> None:
    history = History("press", SENSORS, np.arange(5), np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"^press: must hold sensor heat and rows up to 6, got flow, "):
        inject(history, Fault(Kind.STUCK, "heat", 0, 6, 1, 0), 1.0)
    with pytest.raises(ValueError, match=r"^faults: must have a sensor and at least 6 rows, got 3 sensors"):
        faults(SENSORS, first=0, stop=5, lasting=6, each=1, seed=0)
