from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertPolicy
from detector.events import ReadingDropped
from detector.history import History
from detector.pipeline import Champions, Pipeline
from detector.replay import CHUNK, replay
from detector.stream import StreamPolicy


def taken(histories: list[History]) -> list[tuple[int, str, float]]:
    """What a pipeline is given, in order: one that follows no machine names each reading."""
    pipeline = Pipeline(Champions(), stream=StreamPolicy(max_machines=0), alerts=AlertPolicy())
    readings = [e.reading for e in replay(histories, pipeline) if isinstance(e, ReadingDropped)]
    return [(reading.at, reading.machine, float(reading.values[0])) for reading in readings]


def history(machine: str, times: list[int]) -> History:
    at = np.array(sorted(times), dtype=np.int64)
    return History(machine, ("row",), at, np.arange(len(at), dtype=float)[:, None])


@given(st.lists(st.lists(st.integers(0, 20)), max_size=4))
def test_machines_are_replayed_together_in_order_of_time_and_then_of_the_histories(
    times: list[list[int]],
) -> None:
    histories = [history(f"machine {i}", each) for i, each in enumerate(times)]
    rows = [(int(at), each.machine, float(row)) for each in histories for row, at in enumerate(each.at)]
    assert taken(histories) == sorted(rows, key=lambda row: row[0])


def test_no_reading_is_lost_between_two_chunks() -> None:
    assert len(taken([history("a", list(range(2 * CHUNK + 1)))])) == 2 * CHUNK + 1
