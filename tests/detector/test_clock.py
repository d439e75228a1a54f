"""Clocks of machines that are set back or stand still: what is followed, and what is said."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.alerts import AlertPolicy
from detector.clock import FEW, ClockFault
from detector.events import (
    AlertChanged,
    ClockFailed,
    Event,
    MachineState,
    ModeOrdered,
    ReadingDropped,
    Scored,
    StateChanged,
)
from detector.grid import Grid
from detector.health import HealthPolicy
from detector.machine import Snapshot
from detector.manifest import Manifest, WindowSpec
from detector.modes import Mode
from detector.pipeline import Champions
from detector.reading import Dropped, Reading
from detector.stream import CLOCK_SET, StreamPolicy
from tests.detector import naive_pipeline
from tests.detector.examples import (
    SECOND,
    START,
    Projection,
    alert_policies,
    assert_same,
    detector,
    health_policies,
    machine_of,
    manifest,
    manifests,
    pipeline,
    reading,
)

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
IMPATIENT = StreamPolicy(clock_wait=15 * SECOND)
EAGER = AlertPolicy(open_after=1, open_within=1, close_after=1)


@st.composite
def clocks(draw: st.DrawFn) -> list[Reading]:
    """A machine that sends every second, by a clock that jumps; some readings come a second time."""
    steps = st.tuples(
        st.sampled_from((0,) * 25 + (-30_000, -20_000, 3_000, 40_000)),  # how the clock jumps
        st.sampled_from((0, 0, 0, 0, 0, 1, 3, 12)),  # how many of the last readings come again
        st.sampled_from((0.0, 1.25, 3.5, 6.0)),
        st.sampled_from(((0, 1), (0, 1), (0, 1), (0,))),
    )
    offset = 0
    stream: list[Reading] = []
    for i, (jump, again, value, columns) in enumerate(draw(st.lists(steps, min_size=20, max_size=90))):
        offset += jump
        now = START + i * SECOND
        stream += [
            msgspec.structs.replace(one, received_at=now) for one in stream[max(0, len(stream) - again) :]
        ]
        sensors = tuple(("flow", "load")[column] for column in columns)
        values = np.array([value, -value])[list(columns)]
        stream.append(Reading("press-1", now + offset, sensors, values, now))
    return stream


def steady(seconds: int, *, ahead: float = 0, begin: int = 0, lag: float = 0) -> list[Reading]:
    """A reading a second; their clock is `ahead` of ours by so many seconds, and they take `lag` to come."""
    return [
        reading(begin + i + ahead, received_at=begin + i + lag, flow=i % 7, load=-(i % 3))
        for i in range(seconds)
    ]


def of(kind: type[Event], events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def faults(events: list[Event]) -> list[tuple[int, ClockFault]]:
    return [(e.at - START, e.reason) for e in events if isinstance(e, ClockFailed)]


@settings(max_examples=200)
@given(
    stream=clocks(),
    made=manifests(),
    lateness=st.sampled_from((0, 1_000)),
    alerting=alert_policies,
    health=health_policies,
)
def test_events_are_those_of_the_definition_however_the_clock_jumps(
    stream: list[Reading], made: Manifest, lateness: int, alerting: AlertPolicy, health: HealthPolicy
) -> None:
    policy = StreamPolicy(clock_wait=12 * SECOND, lateness=lateness)
    events = pipeline(detector(made), stream=policy, alerts=alerting, health=health).on_readings(stream)
    model = Projection(made.window.length, made.width)
    expected = naive_pipeline.follow("press-1", stream, made, model, policy, alerting, health)
    left_out = {ReadingDropped}
    assert_same(
        [
            event
            for event in events
            if type(event) not in left_out and getattr(event, "reason", None) is not ClockFault.STANDS_STILL
        ],
        expected,
    )


@settings(max_examples=100)
@given(stream=clocks(), cuts=st.sets(st.integers(1, 90)), made=manifests(), health=health_policies)
def test_grouping_and_restarts_change_nothing_however_the_clock_jumps(
    stream: list[Reading], cuts: set[int], made: Manifest, health: HealthPolicy
) -> None:
    champions = Champions(shared=detector(made))
    at_once = pipeline(champions, stream=IMPATIENT, alerts=EAGER, health=health).on_readings(stream)
    current = pipeline(champions, stream=IMPATIENT, alerts=EAGER, health=health)
    stored: list[Reading] = []  # since the clock was set back last
    events: list[Event] = []
    for i, one in enumerate(stream):
        machine = current.machine("press-1")
        if i in cuts and machine is not None:
            written = msgspec.msgpack.encode(machine.snapshot())
            current = pipeline(champions, stream=IMPATIENT, alerts=EAGER, health=health)
            snapshot = msgspec.msgpack.decode(written, type=Snapshot)
            current.restore("press-1", snapshot, sorted(stored, key=lambda r: (r.at, r.sensors)))
        new = current.on_readings([one])
        if any(reason is ClockFault.SET_BACK for _, reason in faults(new)):
            stored.clear()
        if not of(ReadingDropped, new):
            stored.append(one)
        events += new
    assert_same(events, at_once)


@settings(max_examples=50)
@given(
    repeats=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300), st.integers(0, 5)), max_size=20),
    made=manifests(),
)
def test_what_comes_a_second_time_changes_nothing_but_the_count_of_duplicates(
    repeats: list[tuple[int, int, int]], made: Manifest
) -> None:
    """As after a connection that broke: the last readings again, in order, all at once or slowly."""
    stream = steady(300)
    disturbed = list(stream)
    for place, count, pace in sorted(repeats, reverse=True):
        again = [
            msgspec.structs.replace(one, received_at=START + place * SECOND + i * pace * 100)
            for i, one in enumerate(stream[max(0, place - count) : place])
        ]
        disturbed[place:place] = again
    expected = pipeline(detector(made), alerts=EAGER).on_readings(stream)
    events = pipeline(detector(made), alerts=EAGER).on_readings(disturbed)
    assert_same([event for event in events if not isinstance(event, ReadingDropped)], expected)


def test_a_clock_that_jumps_ahead_and_back_is_followed_again_after_a_minute() -> None:
    target = pipeline(detector())
    target.on_readings(steady(100))
    assert faults(target.on_readings(steady(30, ahead=1800, begin=100))) == []
    back = steady(300, begin=130)
    events = target.on_readings(back)
    assert faults(events) == [(190_000, ClockFault.SET_BACK)]
    assert [e.reason for e in events if isinstance(e, ReadingDropped)] == [Dropped.LATE] * 60
    scored = [e.at - START for e in events if isinstance(e, Scored)]
    assert scored == [second * SECOND for second in range(192, 430)]  # a window of three has to fill anew


@pytest.mark.parametrize("hours", [1, -1, 24 * 365])
def test_a_clock_that_is_wrong_all_the_time_is_the_machine_s_own_time(hours: int) -> None:
    target = pipeline(detector(), stream=StreamPolicy(max_ahead=10**12))
    events = target.on_readings(steady(100, ahead=hours * 3600))
    assert of(ReadingDropped, events) == []
    assert len(of(Scored, events)) == 98


@pytest.mark.parametrize(
    ("at", "reasons"),
    [
        (0, ["past"]),  # 1970: a machine without a clock of its own
        (4_291_747_200_000, ["future"]),  # 2106
        (START - 2 * HOUR - 1, ["past"]),
        (START - 2 * HOUR, []),
        (START + HOUR, []),
        (START + HOUR + 1, ["future"]),
    ],
)
def test_a_reading_from_beyond_the_limits_is_dropped(at: int, reasons: list[str]) -> None:
    target = pipeline(detector(), stream=StreamPolicy(max_behind=2 * HOUR))
    events = target.on_readings([Reading("press-1", at, ("flow", "load"), np.ones(2), START)])
    assert [e.reason for e in events if isinstance(e, ReadingDropped)] == reasons


def test_any_time_may_be_past_unless_a_limit_is_set_or_the_host_s_own_clock_is_not() -> None:
    past = Reading("press-1", 0, ("flow", "load"), np.ones(2), START)
    assert of(ReadingDropped, pipeline(detector()).on_readings([past])) == []
    at_boot = msgspec.structs.replace(past, received_at=CLOCK_SET - 1)
    strict = pipeline(detector(), stream=StreamPolicy(max_behind=0))
    assert of(ReadingDropped, strict.on_readings([at_boot])) == []


def test_a_machine_that_starts_in_1970_is_followed_and_again_once_it_is_told_the_time() -> None:
    target = pipeline(detector())
    target.on_readings(steady(100))
    reboot = steady(100, ahead=-START / SECOND - 100, begin=100)  # it counts from 1970 on
    assert faults(target.on_readings(reboot)) == [(60_000 - START, ClockFault.SET_BACK)]
    events = target.on_readings(steady(100, begin=200))
    assert (faults(events), len(of(Scored, events))) == ([], 98)


def test_a_backlog_of_a_gateway_is_late_and_no_clock_that_was_set_back() -> None:
    target = pipeline(detector())
    target.on_readings([reading(1_000, received_at=1_000, flow=1, load=1)])
    backlog = [reading(i, received_at=1_001 + i / 2, flow=1, load=1) for i in range(900)]  # twice as fast
    events = target.on_readings(backlog)
    assert {e.reason for e in events if isinstance(e, ReadingDropped)} == {Dropped.LATE}
    assert faults(events) == []


def test_a_clock_that_stands_still_is_told_once_and_the_machine_falls_silent() -> None:
    target = pipeline(detector(), stream=StreamPolicy(silent_after=5 * MINUTE))
    target.on_readings(steady(10))
    still = [reading(9, received_at=10 + i, flow=i, load=-i) for i in range(400)]
    events = []
    for one in still:
        assert one.received_at is not None
        events += target.on_readings([one]) + target.on_tick(one.received_at)
    assert faults(events) == [(9_000, ClockFault.STANDS_STILL)]
    states = [event.state for event in events if isinstance(event, StateChanged)]
    assert states == [MachineState.SILENT]
    events = target.on_readings(steady(5, begin=500))
    assert of(ReadingDropped, events) == []


@pytest.mark.parametrize("step", [HOUR, -HOUR, 10**12, -(10**12)])
def test_silence_is_as_long_as_it_is_whatever_becomes_of_our_own_clock(step: int) -> None:
    target = pipeline(detector(), stream=StreamPolicy(silent_after=5 * MINUTE))
    target.on_readings([reading(0, flow=1, load=1)])
    assert target.on_tick(START) == []
    assert target.on_tick(START + 4 * MINUTE) == []
    target.on_readings([reading(1, machine="lathe", flow=1, load=1)])  # in the second in which it was set
    assert target.shift_clock(step) == []
    assert target.on_tick(START + step + 5 * MINUTE) == []
    (silent,) = target.on_tick(START + step + 5 * MINUTE + 1)
    assert (type(silent), machine_of(silent)) == (StateChanged, "press-1")
    assert target.on_tick(START + step + 10 * MINUTE) == []
    assert [machine_of(event) for event in target.on_tick(START + step + 10 * MINUTE + 1)] == ["lathe"]


@pytest.mark.parametrize("step", [HOUR, -HOUR, 70 * SECOND])
def test_what_comes_a_second_time_as_our_own_clock_is_set_is_no_clock_that_was_set_back(step: int) -> None:
    target = pipeline(detector())
    target.on_readings(steady(300))
    again = [reading(100 + i, received_at=300 + i / 1000, flow=1, load=1) for i in range(200)]
    target.on_readings(again[:20])
    assert target.shift_clock(step) == ["press-1"]
    shifted = [msgspec.structs.replace(one, received_at=(one.received_at or 0) + step) for one in again[20:]]
    events = target.on_readings(shifted)
    assert faults(events) == []
    assert len(of(ReadingDropped, events)) == 180


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_that_was_set_back_is_noticed_in_time_though_ours_is_set_meanwhile(step: int) -> None:
    target = pipeline(detector())
    target.on_readings(steady(100, ahead=1800))
    back = steady(61, begin=100)
    target.on_readings(back[:30])
    target.shift_clock(step)
    shifted = [msgspec.structs.replace(one, received_at=(one.received_at or 0) + step) for one in back[30:]]
    assert faults(target.on_readings(shifted)) == [(160_000, ClockFault.SET_BACK)]


def test_a_reading_that_was_not_sent_just_now_says_nothing_about_a_clock() -> None:
    target = pipeline(detector())
    target.on_readings(steady(100, ahead=1800))
    back = steady(61, begin=100)
    target.on_readings(back[:30])
    target.on_readings([reading(3000, flow=1, load=1)])
    assert faults(target.on_readings(back[30:])) == [(160_000, ClockFault.SET_BACK)]


def test_a_message_that_comes_again_with_each_connection_is_no_clock_that_stands_still() -> None:
    target = pipeline(detector())
    again = [reading(0, received_at=3600 * i, flow=1, load=1) for i in range(FEW)]
    assert faults(target.on_readings(again)) == []


def test_alerts_of_one_instant_before_a_clock_was_set_back_and_after_have_ids_of_their_own() -> None:
    made = manifest(window=WindowSpec(length=1))
    target = pipeline(detector(made), stream=IMPATIENT, alerts=EAGER)
    stream = steady(60) + steady(60, ahead=-40, begin=60)
    wild = [
        msgspec.structs.replace(
            one, values=np.array([9.0, -9.0]) if one.at == START + 45 * SECOND else np.zeros(2)
        )
        for one in stream
    ]
    events = target.on_readings(wild)
    opened = [e for e in events if isinstance(e, AlertChanged) and e.change == "opened"]
    assert [alert.at - START for alert in opened] == [45 * SECOND] * 2
    assert opened[0].id != opened[1].id


@settings(max_examples=60)
@given(
    delays=st.lists(st.integers(0, 2_900), min_size=60, max_size=60),
    again=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 2_900)), max_size=30),
    made=manifests(),
)
def test_the_order_in_which_readings_arrive_changes_nothing_within_the_lateness(
    delays: list[int], again: list[tuple[int, int]], made: Manifest
) -> None:
    """Readings that take different ways, and come a second time; the first comes first."""
    policy = StreamPolicy(lateness=3_000)
    made = msgspec.structs.replace(made, grid=Grid(SECOND))  # a reading in each slot
    stream = steady(60)
    arrivals = [
        (one.at + delay * (i > 0), one) for i, (one, delay) in enumerate(zip(stream, delays, strict=True))
    ]
    arrivals += [(arrivals[i][0] + delay, stream[i]) for i, delay in again]
    arrived = [
        msgspec.structs.replace(one, received_at=at) for at, one in sorted(arrivals, key=lambda a: a[0])
    ]
    expected = pipeline(detector(made), stream=policy, alerts=EAGER).on_readings(stream)
    events = pipeline(detector(made), stream=policy, alerts=EAGER).on_readings(arrived)
    assert_same([event for event in events if not isinstance(event, ReadingDropped)], expected)


def test_what_was_ordered_before_a_clock_was_set_back_holds_in_the_other_time() -> None:
    target = pipeline(detector())
    target.on_readings(steady(30))
    target.set_mode("press-1", Mode.OFF, now=START + 30 * SECOND, by="anna")
    events = target.on_readings(steady(300, ahead=-3600, begin=30))
    (ordered,) = (event for event in events if isinstance(event, ModeOrdered))
    (again,) = (event.reading.at for event in events if isinstance(event, ClockFailed))
    assert (ordered.ended and ordered.ended.start, ordered.at) == (START + 29 * SECOND, START + 29 * SECOND)
    assert (ordered.begun and ordered.begun.start, ordered.begun and ordered.begun.by) == (again, "anna")
    (ended,) = (
        event
        for event in target.set_mode("press-1", Mode.RUNNING, now=START + 330 * SECOND)
        if isinstance(event, ModeOrdered)
    )
    assert (ended.ended, ended.at) == (ordered.begun, START + (329 - 3600) * SECOND)
