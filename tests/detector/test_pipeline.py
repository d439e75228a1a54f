from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings

from detector.alerts import AlertPolicy, Change, OpenAlert, Severity
from detector.events import (
    AlertChanged,
    Event,
    MachineState,
    NotScored,
    NotScoredReason,
    ReadingDropped,
    Scored,
    SilenceChanged,
    StateChanged,
)
from detector.health import HealthPolicy
from detector.manifest import ErrorSpec, Manifest, WindowSpec
from detector.pipeline import Champions
from detector.reading import Dropped, Reading
from detector.stream import StreamPolicy
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
    stream_policies,
    streams,
    whole,
)

EAGER = AlertPolicy(open_after=1, open_within=1, close_after=1)
CALM, WILD = [0.0, 0.1], [6.0, -6.0]


def of(kind: type[Event], events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def alerts(events: list[Event]) -> list[AlertChanged]:
    return [event for event in events if isinstance(event, AlertChanged)]


def dropped(events: list[Event]) -> list[tuple[int, Dropped]]:
    return [(e.reading.at - START, e.reason) for e in events if isinstance(e, ReadingDropped)]


@settings(max_examples=200)
@given(
    stream=streams(machines=("press-1",)),
    made=manifests(),
    policy=stream_policies,
    alerting=alert_policies,
    health=health_policies,
)
def test_events_are_those_of_the_definition(
    stream: list[Reading], made: Manifest, policy: StreamPolicy, alerting: AlertPolicy, health: HealthPolicy
) -> None:
    events = pipeline(detector(made), stream=policy, alerts=alerting, health=health).on_readings(stream)
    model = Projection(made.window.length, made.width)
    expected = naive_pipeline.follow("press-1", stream, made, model, policy, alerting, health)
    assert_same([event for event in events if not isinstance(event, ReadingDropped)], expected)


@given(
    stream=streams(),
    made=manifests(),
    policy=stream_policies,
    alerting=alert_policies,
    health=health_policies,
)
def test_machines_do_not_touch_each_other(
    stream: list[Reading], made: Manifest, policy: StreamPolicy, alerting: AlertPolicy, health: HealthPolicy
) -> None:
    together = pipeline(detector(made), stream=policy, alerts=alerting, health=health).on_readings(stream)
    for name in {one.machine for one in stream}:
        alone = pipeline(detector(made), stream=policy, alerts=alerting, health=health)
        expected = alone.on_readings([one for one in stream if one.machine == name])
        assert_same([event for event in together if machine_of(event) == name], expected)


@given(stream=streams(), made=manifests(), policy=stream_policies, alerting=alert_policies)
def test_events_keep_their_promises(
    stream: list[Reading], made: Manifest, policy: StreamPolicy, alerting: AlertPolicy
) -> None:
    events = pipeline(detector(made), stream=policy, alerts=alerting).on_readings(stream)
    names = [(alert.id, alert.change, alert.at) for alert in alerts(events)]
    assert len(set(names)) == len(names)
    for event in events:
        if isinstance(event, Scored):
            assert math.isfinite(event.score)
            assert event.coverage >= made.window.min_coverage
            assert event.coverage > 0
            assert (event.coverage < 1) == bool(event.imputed)
            assert event.anomaly == (event.score > 1)
        if isinstance(event, AlertChanged):
            contributions = [sensor.contribution for sensor in event.sensors]
            assert sum(contributions) == pytest.approx(1)
            assert contributions == sorted(contributions, reverse=True)
            assert {sensor.sensor for sensor in event.sensors} == set(made.sensors)
            assert event.score is not None
            assert event.peak_score >= event.score or event.change is Change.CLOSED
    for machine in {machine_of(event) for event in events}:
        ends = [e.at for e in events if isinstance(e, Scored | NotScored) and e.machine == machine]
        assert all(before < after for before, after in pairwise(ends))


def test_a_window_with_too_little_coverage_has_no_score_and_the_machine_is_degraded() -> None:
    made = manifest(window=WindowSpec(length=2, min_coverage=0.5))
    nan = math.nan
    events = pipeline(detector(made)).on_readings(whole(made.sensors, [[1, 1], [nan, nan], [nan, 1], [1, 1]]))
    ends = [event for event in events if isinstance(event, Scored | NotScored)]
    assert [(type(e), e.at - START) for e in ends] == [
        (NotScored, 0),
        (Scored, SECOND),  # half is there, which is enough
        (NotScored, 2 * SECOND),
        (Scored, 3 * SECOND),
    ]
    assert ends[2] == NotScored("press-1", START + 2 * SECOND, NotScoredReason.LOW_COVERAGE)
    states = [event.state for event in events if isinstance(event, StateChanged)]
    assert states == [
        MachineState.WARMING_UP,
        MachineState.NORMAL,
        MachineState.DEGRADED,
        MachineState.NORMAL,
    ]


def test_a_window_without_any_value_has_no_score_even_where_no_coverage_is_asked_for() -> None:
    made = manifest(window=WindowSpec(length=1, min_coverage=0.0))
    events = pipeline(detector(made)).on_readings(whole(made.sensors, [[math.nan, math.nan]]))
    assert events[0] == NotScored("press-1", START, NotScoredReason.LOW_COVERAGE)


def test_an_alert_names_the_sensor_to_blame_first_and_says_none_for_a_missing_value() -> None:
    made = manifest(sensors=("flow", "load", "oil"), window=WindowSpec(length=2), error=ErrorSpec())
    rows = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [math.nan, 60.0, 0.0]]
    (alert,) = alerts(pipeline(detector(made), alerts=EAGER).on_readings(whole(made.sensors, rows)))
    assert alert.sensors[0].sensor == "load"
    assert {sensor.sensor: sensor.value for sensor in alert.sensors} == {"flow": None, "load": 60, "oil": 0}
    assert alert.imputed == ("flow",)
    assert alert.coverage == 5 / 6
    assert (alert.change, alert.model) == (Change.OPENED, "bundle-1")


def test_contributions_sum_to_1_even_where_there_is_no_error_at_all() -> None:
    made = manifest(window=WindowSpec(length=1), error=ErrorSpec())
    rows = [WILD, list(made.scaler.offset)]
    events = pipeline(detector(made), alerts=EAGER).on_readings(whole(made.sensors, rows))
    closed = alerts(events)[-1]
    assert (closed.change, closed.score) == (Change.CLOSED, 0)
    assert [sensor.contribution for sensor in closed.sensors] == [0.5, 0.5]


def test_each_reason_for_leaving_a_reading_out_is_named() -> None:
    target = pipeline(detector(), stream=StreamPolicy(max_machines=1))
    events = target.on_readings(
        [
            reading(0, flow=1, load=1),
            reading(5, flow=1, load=math.nan),
            reading(4, flow=1, load=1),
            reading(5, flow=2, load=math.nan),
            reading(5, load=7),
            reading(6, oil=1),
            reading(9_000, received_at=1, flow=1),
            reading(6, machine="press-2", flow=1, load=1),
        ]
    )
    assert dropped(events) == [
        (4_000, Dropped.LATE),
        (5_000, Dropped.DUPLICATE),
        (5_000, Dropped.LATE),  # it brings a value that was missing, so it is no repetition
        (6_000, Dropped.NO_KNOWN_SENSOR),
        (9_000_000, Dropped.FUTURE),
        (6_000, Dropped.TOO_MANY_MACHINES),
    ]
    assert [machine.name for machine in target.machines()] == ["press-1"]
    assert target.machine("press-2") is None


def test_a_machine_without_a_model_says_so_once() -> None:
    target = pipeline(Champions(own={"press-1": detector(manifest(machine="press-1"))}))
    events = target.on_readings([reading(at, machine="lathe", flow=1) for at in range(3)])
    assert events == [StateChanged("lathe", START, MachineState.NO_MODEL, START, None, None)]


def test_a_machines_own_detector_goes_before_the_shared_one() -> None:
    own = detector(manifest("own", window=WindowSpec(length=1)))
    target = pipeline(Champions(shared=detector(manifest("shared")), own={"press-1": own}))
    events = target.on_readings([reading(0, flow=1, load=1), reading(0, machine="lathe", flow=1, load=1)])
    assert [type(event) for event in events if not isinstance(event, StateChanged)] == [Scored, NotScored]


def test_a_clock_may_be_ahead_by_no_more_than_the_limit_unless_the_host_s_own_is_not_set() -> None:
    target = pipeline(detector())
    assert dropped(target.on_readings([reading(3_600, received_at=0, flow=1, load=1)])) == []
    events = target.on_readings([reading(3_602, received_at=1, flow=1, load=1)])
    assert dropped(events) == [(3_602_000, Dropped.FUTURE)]
    at_boot = msgspec.structs.replace(reading(3_603, flow=1, load=1), received_at=60_000)  # in 1970
    assert dropped(target.on_readings([at_boot])) == []


def test_a_machine_at_another_phase_than_the_bundle_s_loses_no_sample_to_jitter() -> None:
    made = manifest(window=WindowSpec(length=1))
    stream = [reading(i + 0.5 + 0.005 * (-1) ** i, flow=0, load=0) for i in range(50)]
    events = pipeline(detector(made)).on_readings(stream)
    assert [e.at - START for e in events if isinstance(e, Scored)] == [505 + SECOND * i for i in range(50)]


def test_a_machine_whose_readings_are_all_dropped_is_silent() -> None:
    target = pipeline(detector(), stream=StreamPolicy(silent_after=5_000))
    target.on_tick(START)
    for i in range(10):
        assert dropped(target.on_readings([reading(i, received_at=i, oil=1)]))
        events = target.on_tick(START + i * SECOND)
        assert [event.state for event in events if isinstance(event, StateChanged)] == (
            [MachineState.SILENT] if i == 6 else []
        )


def test_a_machine_is_not_silent_before_three_of_its_intervals_are_over() -> None:
    target = pipeline(detector(manifest()), stream=StreamPolicy(silent_after=100))
    target.on_readings([reading(0, received_at=0, flow=0, load=0)])
    assert target.on_tick(START) == []
    assert target.on_tick(START + 3 * SECOND) == []
    assert [
        event.state for event in target.on_tick(START + 3 * SECOND + 1) if isinstance(event, StateChanged)
    ] == [MachineState.SILENT]


def test_an_alert_that_is_updated_is_told_again_with_the_state() -> None:
    made = manifest(window=WindowSpec(length=1))
    policy = AlertPolicy(open_after=1, open_within=1, critical_score=3)
    events = pipeline(detector(made), alerts=policy).on_readings(whole(made.sensors, [[2, 0], [9, 0]]))
    states = [event for event in events if isinstance(event, StateChanged)]
    assert [state.state for state in states] == [MachineState.ALERT] * 2
    assert {state.since for state in states} == {START}
    severities = [state.alert.severity for state in states if isinstance(state.alert, OpenAlert)]
    assert severities == [Severity.WARNING, Severity.CRITICAL]


def test_a_machine_that_sends_nothing_is_silent_until_it_sends_again() -> None:
    made = manifest(window=WindowSpec(length=1))
    target = pipeline(detector(made), stream=StreamPolicy(silent_after=5_000))
    target.on_readings([reading(0, received_at=0, flow=0, load=0)])
    assert target.on_tick(START) == []
    assert target.on_tick(START + 5_000) == []
    silent_since = START + 5_001
    silent = StateChanged("press-1", silent_since, MachineState.SILENT, silent_since, made.id, None)
    assert target.on_tick(START + 5_001) == [silent]
    assert target.on_tick(START + 9_000) == []
    events = target.on_readings([reading(10, received_at=10, flow=0, load=0)])
    again = START + 10_000
    assert events[-1] == StateChanged("press-1", again, MachineState.NORMAL, again, made.id, None)


def test_a_reading_that_was_not_sent_just_now_ends_no_silence() -> None:
    made = manifest(window=WindowSpec(length=1))
    stream, alerts = StreamPolicy(silent_after=5_000), AlertPolicy(on_silence=True)
    target = pipeline(detector(made), stream=stream, alerts=alerts)
    target.on_readings([reading(0, received_at=0, flow=0, load=0)])
    target.on_tick(START)
    opened, state = target.on_tick(START + 5_001)
    assert (type(opened), machine_of(state)) == (SilenceChanged, "press-1")
    assert [type(event) for event in target.on_readings([reading(1, flow=0, load=0)])] == [Scored]
    assert target.on_tick(START + 6_000) == []
    events = target.on_readings([reading(10, received_at=10, flow=0, load=0)])
    assert [type(event) for event in events] == [SilenceChanged, StateChanged, Scored, StateChanged]


def test_silence_may_be_off() -> None:
    target = pipeline(detector())
    target.on_readings([reading(0, received_at=0, flow=0, load=0)])
    assert target.on_tick(START) == []
    assert target.on_tick(START + 10**10) == []
