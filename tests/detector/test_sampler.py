from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.grid import Grid
from detector.reading import Dropped, Reading
from detector.sampler import Sample, Sampler
from tests.detector import naive
from tests.detector.examples import SECOND, START, reading, streams

FIRST = START // SECOND


def sampler(*, lateness: int = 0, max_gap: int = 2) -> Sampler:
    return Sampler(("flow", "load"), Grid(SECOND), max_gap=max_gap, lateness=lateness)


def fed(target: Sampler, *readings: Reading) -> list[tuple[int, list[float], int | None] | Dropped]:
    """Samples as (slots after the start, values, missed), and the reasons of what was dropped."""
    found: list[tuple[int, list[float], int | None] | Dropped] = []
    for one in readings:
        samples = target.feed(one)
        if isinstance(samples, Dropped):
            found.append(samples)
        else:
            found += [(s.slot - FIRST, s.values.tolist(), s.missed) for s in samples]
    return found


@given(
    stream=streams(machines=("press-1",)),
    sensors=st.sampled_from((("flow", "load"), ("load",), ("load", "oil", "flow"))),
    grid=st.builds(Grid, st.sampled_from((SECOND, 700, 1)), st.just(0)),
    lateness=st.sampled_from((0, 400, 1_000, 2_500)),
    max_gap=st.integers(0, 3),
)
def test_samples_and_drops_are_those_of_the_definition(
    stream: list[Reading], sensors: tuple[str, ...], grid: Grid, lateness: int, max_gap: int
) -> None:
    real = Sampler(sensors, grid, max_gap=max_gap, lateness=lateness)
    slow = naive.Sampling(sensors, grid, lateness)
    emitted: list[Sample] = []
    for one in stream:
        got, expected = real.feed(one), slow.feed(one)
        if isinstance(got, Dropped) or isinstance(expected, Dropped):
            assert got is expected
            continue
        emitted += got
        assert [s.slot for s in got] == [slot for slot, _ in expected]
        for sample, (_, row) in zip(got, expected, strict=True):
            np.testing.assert_array_equal(sample.values, row)
    starts = {stretch[0][0] for stretch in naive.stretches(slow.samples, max_gap)}
    assert {s.slot for s in emitted if s.missed is None} == starts
    for before, after in pairwise(emitted):
        assert after.missed in {None, after.slot - before.slot - 1}


def test_a_whole_reading_is_emitted_at_once() -> None:
    assert fed(sampler(lateness=5_000), reading(0, load=2, flow=1), reading(1, flow=3, load=4)) == [
        (0, [1, 2], None),
        (1, [3, 4], 0),
    ]


def test_parts_of_one_instant_are_merged_and_emitted_with_the_last_sensor() -> None:
    target = sampler()
    assert fed(target, reading(0, flow=1)) == []
    assert fed(target, reading(0.2, load=2)) == [(0, [1, 2], None)]


def test_a_slot_that_lacks_a_sensor_waits_until_the_watermark_has_passed_it() -> None:
    target = sampler(lateness=1_000)
    assert fed(target, reading(0, flow=1), reading(1, flow=2, load=2)) == []
    found = fed(target, reading(2, flow=3, load=3))
    assert str(found) == str([(0, [1.0, math.nan], None), (1, [2.0, 2.0], 0), (2, [3.0, 3.0], 0)])


def test_a_sensor_that_reports_no_value_has_reported() -> None:
    assert str(fed(sampler(), reading(0, flow=1, load=math.nan))) == str([(0, [1.0, math.nan], None)])


def test_of_two_reports_of_a_sensor_in_a_slot_the_earlier_counts_whichever_came_first() -> None:
    target = sampler()
    assert fed(target, reading(0.3, flow=9), reading(0.1, flow=1), reading(0.2, flow=5)) == [
        Dropped.DUPLICATE
    ]
    assert fed(target, reading(0.3, load=2)) == [(0, [1, 2], None)]


def test_of_two_values_of_one_instant_the_larger_counts_whichever_came_first_and_none_counts_least() -> None:
    for flows in ((3, 5, math.nan), (math.nan, 5, 3), (5, math.nan, 3)):
        target = sampler()
        fed(target, *(reading(0, flow=flow) for flow in flows))
        assert fed(target, reading(0, load=2)) == [(0, [5, 2], None)]


def test_readings_within_the_lateness_are_put_in_order() -> None:
    found = fed(sampler(lateness=2_000), *(reading(at, flow=at, load=at) for at in (0, 2, 3, 1)))
    assert found == [(0, [0, 0], None), (1, [1, 1], 0), (2, [2, 2], 0), (3, [3, 3], 0)]


def test_what_comes_for_an_emitted_slot_is_late() -> None:
    found = fed(sampler(), reading(0, flow=0, load=0), reading(3, flow=3, load=3), reading(2, flow=2, load=2))
    assert found == [(0, [0, 0], None), (3, [3, 3], 2), Dropped.LATE]


@pytest.mark.parametrize(("slot", "missed"), [(1, 0), (3, 2), (4, None)])
def test_a_hole_longer_than_a_window_may_bridge_starts_anew(slot: int, missed: int | None) -> None:
    found = fed(sampler(max_gap=2), reading(0, flow=0, load=0), reading(slot, flow=1, load=1))
    assert found[1] == (slot, [1, 1], missed)


def test_jitter_of_less_than_half_an_interval_changes_nothing() -> None:
    found = fed(sampler(), *(reading(at, flow=1, load=1) for at in (0.4, 0.6, 2.49, 2.5)))
    assert [found_one[0] for found_one in found if not isinstance(found_one, Dropped)] == [0, 1, 2, 3]


def test_a_reading_of_unknown_sensors_alone_is_dropped_even_when_it_is_late() -> None:
    found = fed(sampler(), reading(0, flow=1, load=1), reading(0, oil=1), reading(9, oil=1))
    assert found[1:] == [Dropped.NO_KNOWN_SENSOR, Dropped.NO_KNOWN_SENSOR]


def test_settling_gives_up_what_still_waits_and_keeps_the_distance_to_the_last_sample() -> None:
    target = sampler(lateness=9_000)
    fed(target, reading(0, flow=0, load=0), reading(2, flow=2))
    (settled,) = target.settle(FIRST + 3)
    assert (settled.slot, settled.missed, target.emitted) == (FIRST + 2, 1, FIRST + 3)
    assert fed(target, reading(3, flow=3, load=3)) == [Dropped.LATE]
    assert fed(target, reading(4, flow=4, load=4)) == [(4, [4, 4], 1)]


@pytest.mark.parametrize(("upto", "slots"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2])])
def test_settling_takes_all_slots_up_to_the_given_one_and_never_goes_back(
    upto: int, slots: list[int]
) -> None:
    target = sampler(lateness=9_000)
    fed(target, reading(0, flow=0, load=0), reading(1, flow=1), reading(2, flow=2))
    assert [sample.slot - FIRST for sample in target.settle(FIRST + upto)] == slots
    target.settle(FIRST - 5)
    assert target.emitted == FIRST + upto


def test_a_sender_that_invents_sensors_takes_a_bounded_amount_of_memory() -> None:
    target = sampler()
    for i in range(500):
        target.feed(Reading("press-1", START + i * SECOND, (f"s{i}",), np.ones(1)))
    assert len(target._layouts) <= 64
