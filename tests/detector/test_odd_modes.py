"""Modes, conditions and shelves where things come late, change meanwhile, or lack a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import Change, OpenAlert, Severity
from detector.events import AlertChanged, Event, MachineState, ReadingDropped, SilenceChanged
from detector.expression import parse
from detector.history import History
from detector.machine import Machine, Snapshot
from detector.manifest import WindowSpec
from detector.modes import Mode, OperationPolicy, running
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import (
    START,
    assert_same,
    detector,
    manifest,
    operation_policies,
    pipeline,
    reading,
    streams,
    whole,
)
from tests.detector.test_modes import CALM, EAGER, NOW, STREAM, WILD, feed, scored, watching

FAST = OperationPolicy(running_when=parse("speed > 50"))
SLIGHTLY = [1.3, -1.3]  # a warning


def machine(target: Pipeline) -> Machine:
    found = target.machine("press-1")
    assert found is not None
    return found


def alerts(events: list[Event]) -> list[tuple[Change, Severity]]:
    return [(event.change, event.severity) for event in events if isinstance(event, AlertChanged)]


def restarted(old: Pipeline, fresh: Pipeline, readings: list[Reading]) -> Pipeline:
    written = msgspec.msgpack.encode(machine(old).snapshot())
    fresh.restore("press-1", msgspec.msgpack.decode(written, type=Snapshot), readings)
    return fresh


def test_an_alert_closes_with_the_mode_though_no_bundle_serves_the_machine() -> None:
    target = pipeline(Champions(), stream=STREAM, alerts=EAGER)
    target.adopt("press-1", OpenAlert("one", 0, 2.0, Severity.WARNING, 0))
    assert alerts(target.set_mode("press-1", Mode.OFF, now=NOW)) == [(Change.CLOSED, Severity.WARNING)]
    target = pipeline(Champions(), stream=STREAM, alerts=EAGER, operation=FAST)
    target.adopt("press-1", OpenAlert("one", 0, 2.0, Severity.WARNING, 0))
    assert alerts(target.on_readings([reading(0, speed=0)])) == [(Change.CLOSED, Severity.WARNING)]


def test_what_settles_late_from_before_opens_no_alert_while_the_machine_is_off() -> None:
    made = manifest(window=WindowSpec(length=2, max_gap=2))
    target = pipeline(detector(made), stream=StreamPolicy(lateness=2_000), alerts=EAGER)
    target.on_readings([reading(second, flow=flow) for second, flow in enumerate([0, 0, 60])])
    target.set_mode("press-1", Mode.OFF, now=NOW)
    events = target.on_readings([reading(second, flow=0) for second in range(3, 12)])
    assert scored(events) == [1, 2], "but it is scored"
    assert alerts(events) == []
    assert machine(target).state is MachineState.OFF


def test_after_a_restart_a_machine_whose_clock_is_behind_is_off_at_once() -> None:
    target = watching()
    feed(target, [CALM, CALM, CALM])
    target = restarted(target, watching(), whole(("flow", "load"), [CALM] * 3))
    target.set_mode("press-1", Mode.OFF, now=NOW)
    assert scored(feed(target, [WILD] * 5, 3)) == []


def test_silence_counts_from_when_a_machine_is_to_run_again() -> None:
    target = watching()
    feed(target, [CALM, CALM])
    target.set_mode("press-1", Mode.OFF, now=NOW)
    target.on_tick(NOW + 100_000)
    target.set_mode("press-1", Mode.RUNNING, now=NOW + 100_500)
    assert target.on_tick(NOW + 104_000) == []
    assert any(isinstance(event, SilenceChanged) for event in target.on_tick(NOW + 106_000))


def test_what_became_more_severe_on_the_shelf_is_said_afterwards() -> None:
    target = watching()
    assert alerts(feed(target, [CALM, CALM, SLIGHTLY, SLIGHTLY])) == [(Change.OPENED, Severity.WARNING)]
    target.shelve("press-1", until=NOW + 1_000, now=NOW)
    assert alerts(feed(target, [WILD], 4)) == []
    target.on_tick(NOW + 1_000)
    said = alerts(feed(target, [WILD, WILD], 5))
    assert said == [(Change.UPDATED, Severity.CRITICAL)], "and only once"


def test_a_value_that_comes_after_a_newer_one_says_nothing() -> None:
    made = manifest(window=WindowSpec(length=2, max_gap=2))
    target = pipeline(detector(made), stream=StreamPolicy(lateness=5_000), operation=FAST)
    target.on_readings([reading(0, flow=0, speed=60), reading(2, flow=0, speed=60)])
    target.on_readings([reading(1, flow=0, speed=0)])
    assert machine(target).operation.mode is Mode.RUNNING
    target.on_readings([reading(3, flow=0, speed=0)])
    assert machine(target).operation.mode is Mode.OFF


def test_a_message_of_the_conditions_sensors_alone_is_taken() -> None:
    target = watching(running_when=FAST.running_when)
    target.on_readings([reading(0.4, speed=60)])
    assert machine(target).grid is None, "the machine's grid is that of its samples"
    feed(target, [CALM, CALM], 1)
    target.on_readings([reading(3, speed=0)])
    assert machine(target).operation.mode is Mode.OFF
    events = target.on_readings([reading(3, speed=0), reading(2, speed=60), reading(4, other=60)])
    assert [type(event) for event in events] == [ReadingDropped] * 3
    assert machine(target).operation.mode is Mode.OFF


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("speed > 5", Mode.RUNNING),
        ("speed > 20", Mode.OFF),
        ("speed > 50 or heat > 1", Mode.RUNNING),
        (None, Mode.RUNNING),
    ],
)
def test_another_condition_after_a_restart_is_judged_by_what_is_known(text: str | None, mode: Mode) -> None:
    target = watching(running_when=parse("speed > 50"))
    target.on_readings([reading(second, flow=0, load=0, speed=10) for second in range(3)])
    fresh = watching(running_when=None if text is None else parse(text))
    assert machine(restarted(target, fresh, [])).operation.mode is mode


def test_numbers_that_grow_too_large_are_infinite_in_a_history_too() -> None:
    policy = OperationPolicy(running_when=parse("a * 1e308 - b * 1e308 > 0"))
    history = History("m", ("a", "b"), np.arange(2), np.array([[1e10, 1e10], [2, 1]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert running(history, policy).tolist() == [False, True]


Order = Callable[[Pipeline, int], list[Event]]
ORDERS: list[Order] = [
    lambda target, now: target.set_mode("press-1", Mode.OFF, now=now, by="anna"),
    lambda target, now: target.set_mode("press-1", Mode.MAINTENANCE, now=now, until=now + 5_000),
    lambda target, now: target.set_mode("press-1", Mode.RUNNING, now=now),
    lambda target, now: target.acknowledge("press-1", now=now, by="ben"),
    lambda target, now: target.shelve("press-1", until=now + 5_000, now=now),
    lambda target, now: target.unshelve("press-1", now=now),
    lambda target, now: target.on_tick(now),
]


@given(
    stream=streams(("press-1", "press-2")),
    orders=st.dictionaries(st.integers(1, 50), st.sampled_from(ORDERS), max_size=6),
    cuts=st.sets(st.integers(1, 50), max_size=4),
    policy=operation_policies,
    lateness=st.sampled_from((0, 2_000)),
)
def test_between_orders_neither_grouping_nor_a_restart_changes_anything(
    stream: list[Reading],
    orders: dict[int, Order],
    cuts: set[int],
    policy: OperationPolicy,
    lateness: int,
) -> None:
    champions = Champions(shared=detector(manifest(window=WindowSpec(length=3, max_gap=2))))

    def fresh() -> Pipeline:
        stream_policy = StreamPolicy(lateness=lateness)
        return pipeline(champions, stream=stream_policy, alerts=EAGER, operation=policy)

    def step(target: Pipeline, first: int, end: int) -> list[Event]:
        order = orders.get(first) if target.machine("press-1") else None
        said = [] if order is None else order(target, START + 1_000 * first)
        return said + target.on_readings(stream[first:end])

    at_once, current = fresh(), fresh()
    taken: list[Reading] = []
    found: list[Event] = []
    for place, one in enumerate(stream):
        if place in cuts:
            old, current = current, fresh()
            for each in old.machines():
                own = sorted((r for r in taken if r.machine == each.name), key=lambda r: r.at)
                written = msgspec.msgpack.encode(each.snapshot())
                current.restore(each.name, msgspec.msgpack.decode(written, type=Snapshot), own)
        events = step(current, place, place + 1)
        if not any(isinstance(event, ReadingDropped) for event in events):
            taken.append(one)
        found += events
    places = sorted({0, len(stream), *(place for place in orders if place < len(stream))})
    assert_same([e for first, end in pairwise(places) for e in step(at_once, first, end)], found)
