from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertPolicy, Change
from detector.events import (
    AlertChanged,
    Event,
    MachineState,
    ModeOrdered,
    NotScored,
    NotScoredReason,
    Scored,
    SilenceChanged,
    StateChanged,
)
from detector.expression import parse
from detector.history import History
from detector.machine import Snapshot
from detector.manifest import ErrorSpec, WindowSpec
from detector.modes import Mode, OperationPolicy, running
from detector.pipeline import Pipeline
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import SECOND, START, detector, manifest, pipeline, reading, whole

EAGER = AlertPolicy(open_after=1, open_within=1, close_after=2, repeat_every=2_000, on_silence=True)
STREAM = StreamPolicy(silent_after=5_000)
WILD, CALM = [60.0, -60.0], [0.0, 0.1]
NOW = START + 500 * SECOND


def watching(**policy: object) -> Pipeline:
    made = manifest(window=WindowSpec(length=2, max_gap=2), error=ErrorSpec("mse", 0.0))
    operation = OperationPolicy(**policy)  # type: ignore[arg-type]
    return pipeline(detector(made), stream=STREAM, alerts=EAGER, operation=operation)


def feed(target: Pipeline, rows: list[list[float]], first: int = 0) -> list[Event]:
    stream = whole(("flow", "load"), rows)
    return target.on_readings(
        [msgspec.structs.replace(one, at=one.at + first * SECOND, received_at=NOW) for one in stream]
    )


def said(events: list[Event]) -> list[tuple[int, str]]:
    """Alerts and states, with the second."""
    return [
        ((event.at - START) // SECOND, event.change if isinstance(event, AlertChanged) else event.state)
        for event in events
        if isinstance(event, AlertChanged | StateChanged)
    ]


def scored(events: list[Event]) -> list[int]:
    return [(event.at - START) // SECOND for event in events if isinstance(event, Scored)]


def test_a_machine_that_is_off_is_not_scored_and_what_is_open_closes() -> None:
    target = watching(settle=2_000)
    feed(target, [CALM, CALM, WILD])
    events = target.set_mode("press-1", Mode.OFF, now=NOW, by="anna", note="shift ends")
    assert said(events) == [(2, "closed"), (2, "off")]
    closed = next(event for event in events if isinstance(event, AlertChanged))
    assert (closed.score, closed.sensors, closed.mode) == (None, (), Mode.OFF)
    ordered = next(event for event in events if isinstance(event, ModeOrdered))
    assert (ordered.ended, ordered.begun and ordered.begun.start) == (None, START + 2 * SECOND)
    assert target.set_mode("press-1", Mode.OFF, now=NOW + 9, by="anna", note="shift ends") == []
    events = feed(target, [WILD, WILD, WILD], 3)
    assert [event.reason for event in events if isinstance(event, NotScored)] == [NotScoredReason.OFF] * 3
    assert len(events) == 3
    events = target.set_mode("press-1", Mode.RUNNING, now=NOW)
    assert [(event.ended is not None, event.begun) for event in events if isinstance(event, ModeOrdered)] == [
        (True, None)
    ]
    events = feed(target, [WILD, CALM, CALM, CALM, CALM], 6)
    assert scored(events) == [9, 10], "two seconds to settle, then a whole window"
    assert said(events) == [(6, "warming_up"), (9, "normal")]


def test_maintenance_for_a_time_ends_by_itself() -> None:
    target = watching()
    feed(target, [CALM, CALM])
    target.set_mode("press-1", Mode.MAINTENANCE, now=NOW, until=NOW + 1_000)
    assert [e.state for e in feed(target, [WILD], 2) if isinstance(e, StateChanged)] == []
    assert target.on_tick(NOW + 999) == []
    events = target.on_tick(NOW + 1_000)
    assert [type(event) for event in events] == [ModeOrdered, StateChanged]
    assert scored(feed(target, [CALM, CALM], 3)) == [4]


def test_a_machine_that_is_off_is_never_silent() -> None:
    target = watching()
    feed(target, [CALM, CALM])
    target.on_tick(NOW)
    opened = target.on_tick(NOW + 6_000)
    assert [event.change for event in opened if isinstance(event, SilenceChanged)] == [Change.OPENED]
    events = target.set_mode("press-1", Mode.OFF, now=NOW + 7_000)
    assert [event.change for event in events if isinstance(event, SilenceChanged)] == [Change.CLOSED]
    machine = target.machine("press-1")
    assert machine is not None
    assert machine.state is MachineState.OFF
    assert target.on_tick(NOW + 60_000) == []


def test_a_condition_that_ceases_to_hold_stops_scoring_with_that_reading() -> None:
    target = watching(running_when=parse("speed > 50"), settle=0)
    stream = [
        reading(second, received_at=500, flow=flow, load=-flow, speed=speed)
        for second, (flow, speed) in enumerate(
            [(0, 60), (60, 60), (60, 60), (60, 10), (60, 10), (60, 60), (0, 60), (0, 60)]
        )
    ]
    events = target.on_readings(stream)
    assert scored(events) == [1, 2, 6, 7]
    assert said(events)[-5:] == [(3, "closed"), (3, "off"), (5, "warming_up"), (6, "opened"), (6, "alert")]


def test_a_value_that_is_missing_is_as_it_was_last() -> None:
    target = watching(running_when=parse("speed > 50"), settle=0)
    target.on_readings([reading(i, flow=0, load=0) for i in range(3)])  # it has never been heard: they run
    assert not [e for e in target.on_readings([reading(3, flow=0, load=0)]) if isinstance(e, NotScored)]
    target.on_readings([reading(4, flow=0, load=0, speed=0)])
    events = target.on_readings([reading(5, flow=0, load=0), reading(6, flow=0, load=0, speed=np.nan)])
    assert [type(event) for event in events] == [NotScored] * 2


def test_an_alert_that_was_acknowledged_is_not_repeated_until_it_is_more_severe() -> None:
    target = watching()
    slightly = [1.3, -1.3]  # a warning
    feed(target, [CALM, CALM, *[slightly] * 3])
    machine = target.machine("press-1")
    assert machine is not None
    assert machine.alerts.alert is not None
    (state,) = target.acknowledge("press-1", now=NOW, by="anna", note="on my way")
    assert isinstance(state, StateChanged)
    assert state.alert is not None
    assert state.alert.acknowledged is not None
    assert (state.alert.acknowledged.by, state.alert.acknowledged.note) == ("anna", "on my way")
    assert said(feed(target, [slightly] * 6, 5)) == []
    (updated,) = [e for e in feed(target, [WILD], 11) if isinstance(e, AlertChanged)]
    assert (updated.change, updated.acknowledged) == (Change.UPDATED, None)
    assert target.acknowledge("press-1", now=NOW)
    closed = [e for e in feed(target, [CALM] * 4, 12) if isinstance(e, AlertChanged)][-1]
    assert closed.change is Change.CLOSED
    assert closed.acknowledged is not None
    assert target.acknowledge("press-1", now=NOW) == []


def test_alerts_on_the_shelf_are_hidden_but_for_the_end_of_one_that_was_seen() -> None:
    target = watching()
    feed(target, [CALM, CALM, WILD])
    (state,) = target.shelve("press-1", until=NOW + 1_000, now=NOW, by="anna")
    assert isinstance(state, StateChanged)
    assert state.shelf is not None
    alerts = [
        e for e in feed(target, [WILD, WILD, WILD, *[CALM] * 4, WILD, WILD], 3) if isinstance(e, AlertChanged)
    ]
    assert [(e.change, e.hidden) for e in alerts] == [(Change.CLOSED, False), (Change.OPENED, True)]
    assert target.on_tick(NOW + 999) == []
    (state,) = target.on_tick(NOW + 1_000)
    assert isinstance(state, StateChanged)
    assert state.shelf is None
    alerts = [e for e in feed(target, [WILD, *[CALM] * 4], 12) if isinstance(e, AlertChanged)]
    assert [e.change for e in alerts] == [Change.OPENED, Change.UPDATED, Change.CLOSED]
    assert not any(e.hidden for e in alerts)
    assert len({e.id for e in alerts}) == 1


def test_an_alert_that_ends_on_the_shelf_was_never_there_for_subscribers() -> None:
    target = watching()
    feed(target, [CALM, CALM])
    target.shelve("press-1", until=NOW + 1_000, now=NOW)
    alerts = [e for e in feed(target, [WILD, *[CALM] * 4], 2) if isinstance(e, AlertChanged)]
    assert [(e.change, e.hidden) for e in alerts] == [(Change.OPENED, True), (Change.CLOSED, True)]


def test_a_restart_keeps_who_has_acknowledged_the_shelf_and_the_mode() -> None:
    target = watching()
    feed(target, [CALM, CALM, WILD])
    target.acknowledge("press-1", now=NOW, by="anna")
    target.shelve("press-1", until=NOW + 1_000, now=NOW, by="ben")
    machine = target.machine("press-1")
    assert machine is not None
    before = machine.present(NOW)
    written = msgspec.msgpack.encode(machine.snapshot())
    fresh = watching()
    fresh.restore("press-1", msgspec.msgpack.decode(written, type=Snapshot), [])
    again = fresh.machine("press-1")
    assert again is not None
    assert again.present(NOW) == before
    fresh.set_mode("press-1", Mode.MAINTENANCE, now=NOW, until=NOW + 5)
    last = watching()
    written = msgspec.msgpack.encode(again.snapshot())
    last.restore("press-1", msgspec.msgpack.decode(written, type=Snapshot), [])
    assert [type(event) for event in feed(last, [WILD, WILD], 3)] == [NotScored] * 2
    restored = last.machine("press-1")
    assert restored is not None
    assert restored.state is MachineState.MAINTENANCE


@given(
    speeds=st.lists(st.sampled_from((0.0, 60.0, np.nan)), min_size=1, max_size=30),
    settle=st.sampled_from((0, 1_000, 2_500)),
)
def test_rows_of_a_history_ran_where_the_pipeline_would_have_watched(
    speeds: list[float], settle: int
) -> None:
    policy = OperationPolicy(running_when=parse("speed > 50"), settle=settle)
    made = manifest(window=WindowSpec(length=1))
    target = pipeline(detector(made), operation=policy)
    stream = [
        Reading("press-1", START + i * SECOND, ("flow", "load", "speed"), np.array([0.0, 0.0, speed]))
        for i, speed in enumerate(speeds)
    ]
    watched = scored(target.on_readings(stream))
    history = History(
        "press-1",
        stream[0].sensors,
        np.array([one.at for one in stream]),
        np.array([one.values for one in stream]),
        None,
    )
    assert np.flatnonzero(running(history, policy)).tolist() == watched


def test_a_history_without_a_sensor_of_the_condition_is_all_watched() -> None:
    history = History("press-1", ("flow",), np.arange(3), np.zeros((3, 1)), None)
    assert running(history, OperationPolicy(running_when=parse("speed > 50"))).all()


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_a_clock_that_is_set_moves_what_was_ordered_for_a_time(step: int) -> None:
    target = watching()
    feed(target, [CALM, CALM])
    target.shelve("press-1", until=NOW + 1_000, now=NOW)
    target.set_mode("press-1", Mode.OFF, now=NOW, until=NOW + 1_000)
    assert target.shift_clock(step) == ["press-1"]
    assert target.on_tick(NOW + step + 999) == []
    assert len(target.on_tick(NOW + step + 1_000)) == 3
