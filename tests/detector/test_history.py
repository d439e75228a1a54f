from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.events import Scored
from detector.grid import Grid
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History, merged, segments, windows
from detector.manifest import Manifest, WindowSpec
from detector.replay import readings, replay
from detector.scoring import Detector, Errors
from tests.detector import naive
from tests.detector.examples import (
    SECOND,
    START,
    Projection,
    assert_same,
    detector,
    machine_of,
    manifest,
    pipeline,
)

EMPTY = 777.0  # what stands for NaN in the windows that a model sees


class Recorder(Detector):
    """Keeps the windows that it is asked to score."""

    def __init__(self, made: Manifest) -> None:
        super().__init__(made, Projection(made.window.length, made.width))
        self.seen: list[NDArray[np.float32]] = []

    def errors(self, windows: NDArray[np.float32]) -> Errors:
        self.seen += list(windows.copy())
        return super().errors(windows)


@st.composite
def histories(draw: st.DrawFn, machine: str = "press-1") -> History:
    steps = draw(
        st.lists(st.sampled_from((1_000, 1_000, 1_000, 1_300, 700, 0, 400, 2_000, 3_000, 9_000)), max_size=40)
    )
    at = START + np.cumsum(np.array(steps, dtype=np.int64))
    values = draw(
        st.lists(st.sampled_from((0.0, 1.0, 2.5, np.nan)), min_size=2 * len(at), max_size=2 * len(at))
    )
    return History(machine, ("flow", "load"), at, np.array(values, dtype=np.float64).reshape(-1, 2))


specs = st.builds(
    WindowSpec,
    st.integers(1, 4),
    stride=st.integers(1, 3),
    max_gap=st.integers(0, 4),
    min_coverage=st.just(0.0),
)


@given(history=histories(), spec=specs, phase=st.sampled_from((0, 250, 999)))
def test_the_windows_of_a_history_are_those_that_the_pipeline_scores(
    history: History, spec: WindowSpec, phase: int
) -> None:
    grid = Grid(SECOND, phase)
    recorder = Recorder(manifest(window=spec, grid=grid))
    for _ in replay([history], pipeline(recorder)):
        pass
    found = [window for segment in segments(history, grid, spec.max_gap) for window in windows(segment, spec)]
    assert len(recorder.seen) == len(found)
    for seen, window in zip(recorder.seen, found, strict=True):
        np.testing.assert_array_equal(seen, recorder.scale(window))


@given(history=histories(), spec=specs)
def test_segments_and_windows_are_those_of_the_definition(history: History, spec: WindowSpec) -> None:
    phase = int(history.at[0]) % SECOND if len(history) else 0
    grid = Grid(SECOND, phase if min(phase, SECOND - phase) > SECOND // 4 else 0)
    rows: dict[int, tuple[float, ...]] = {}
    for at, values in zip(history.at.tolist(), history.values.tolist(), strict=True):
        rows.setdefault(grid.slot(at), tuple(values))
    stretches = naive.stretches(list(rows.items()), spec.max_gap)
    found = list(segments(history, grid, spec.max_gap))
    assert len(found) == len(stretches)
    for segment, stretch in zip(found, stretches, strict=True):
        assert segment.slots[segment.read].tolist() == [slot for slot, _ in stretch]
        expected = [
            naive.window(stretch, slot, spec.length) for slot, _ in stretch if slot % spec.stride == 0
        ]
        full = [window for window in expected if window is not None]
        np.testing.assert_array_equal(
            windows(segment, spec), np.array(full).reshape(len(full), spec.length, 2)
        )


@given(one=histories("press-1"), other=histories("press-2"))
def test_replay_takes_all_machines_in_order_of_time(one: History, other: History) -> None:
    together = list(replay([one, other], pipeline(detector())))
    for history in (one, other):
        alone = list(replay([history], pipeline(detector())))
        its = [event for event in together if machine_of(event) == history.machine]
        assert_same(its, alone)


def test_replay_goes_by_time_whatever_the_machine() -> None:
    histories = [
        History(
            name,
            ("flow", "load"),
            START + SECOND * np.arange(first, 9, 2),
            np.zeros((len(range(first, 9, 2)), 2)),
        )
        for name, first in (("press-1", 0), ("press-2", 1))
    ]
    spec = WindowSpec(length=1, max_gap=5)
    events = replay(histories, pipeline(detector(manifest(window=spec))))
    assert [e.at - START for e in events if isinstance(e, Scored)] == [SECOND * i for i in range(9)]


def test_a_row_becomes_a_reading_of_all_its_sensors() -> None:
    history = History("press-1", ("flow", "load"), np.array([START]), np.array([[1.0, np.nan]]))
    (one,) = readings(history)
    assert (one.machine, one.at, one.sensors, one.received_at) == ("press-1", START, ("flow", "load"), None)
    np.testing.assert_array_equal(one.values, [1.0, np.nan])


def test_rows_labelled_anomalous_are_not_normal_and_unknown_ones_are() -> None:
    label = np.array([NORMAL, ANOMALOUS, UNKNOWN], dtype=np.int8)
    history = History("press-1", ("flow",), np.arange(3), np.arange(3.0)[:, None], label)
    assert history.normal().values.ravel().tolist() == [0, 2]
    assert len(history.rows(slice(0, 1))) == 1


def test_selected_sensors_come_in_the_asked_order_and_an_unrecorded_one_is_missing() -> None:
    history = History("press-1", ("flow", "load"), np.array([START]), np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(history.select(("load", "oil", "flow")).values, [[2.0, np.nan, 1.0]])
    assert history.select(("flow", "load")) is history


def test_a_history_whose_columns_do_not_match_its_sensors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^press-1: values must have shape \(1, 2\), got \(1, 1\)$"):
        History("press-1", ("flow", "load"), np.array([START]), np.array([[1.0]]))


def test_rows_of_one_slot_become_one_with_the_earliest_value_of_each_sensor() -> None:
    nan = np.nan
    history = History(
        "press-1",
        ("flow", "load"),
        np.array([1000, 1001, 1400, 2000, 4000]),
        np.array([[1, nan], [2, 3], [4, 5], [nan, nan], [nan, 6]], dtype=np.float64),
    )
    one = merged(history, Grid(1000))
    assert one.at.tolist() == [1000, 2000, 4000]
    np.testing.assert_array_equal(one.values, [[1, 3], [nan, nan], [nan, 6]])
