from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.alerts import AlertPolicy
from detector.events import NotScored, NotScoredReason, ReadingDropped, Scored
from detector.health import HealthPolicy
from detector.machine import Snapshot
from detector.manifest import Manifest, WindowSpec
from detector.modes import OperationPolicy
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import (
    SECOND,
    START,
    alert_policies,
    assert_same,
    detector,
    health_policies,
    manifest,
    manifests,
    operation_policies,
    pipeline,
    stream_policies,
    streams,
    whole,
)


def stored(accepted: list[Reading], snapshot: Snapshot, made: Manifest) -> list[Reading]:
    """The accepted readings that a restart needs, by time, and by sensors where the time is the same."""
    window, grid, emitted = made.window, snapshot.grid or made.grid, snapshot.emitted
    return sorted(
        (
            one
            for one in accepted
            if emitted is None or grid.slot(one.at) > emitted - window.length - window.max_gap - 1
        ),
        key=lambda one: (one.at, one.sensors),
    )


def restarted(
    old: Pipeline,
    accepted: list[Reading],
    champions: Champions,
    stream: StreamPolicy,
    alerts: AlertPolicy,
    health: HealthPolicy | None = None,
    operation: OperationPolicy | None = None,
) -> Pipeline:
    """What a new process makes of what the old one wrote down."""
    fresh = pipeline(champions, stream=stream, alerts=alerts, health=health, operation=operation)
    for machine in old.machines():
        written = msgspec.msgpack.encode(machine.snapshot())
        snapshot = msgspec.msgpack.decode(written, type=Snapshot)
        served = champions.of(machine.name)
        its = [one for one in accepted if one.machine == machine.name]
        fresh.restore(machine.name, snapshot, stored(its, snapshot, served.manifest) if served else ())
    return fresh


@settings(max_examples=200)
@given(
    stream=streams(machines=("press-1", "lathe")),
    cuts=st.just(set(range(50))) | st.sets(st.integers(0, 50), min_size=1, max_size=4),
    shared=st.none() | manifests("shared"),
    own=manifests("own"),
    policy=stream_policies,
    alerting=alert_policies,
    health=health_policies,
    operation=operation_policies,
)
def test_a_restart_at_any_point_changes_nothing(
    stream: list[Reading],
    cuts: set[int],
    shared: Manifest | None,
    own: Manifest,
    policy: StreamPolicy,
    alerting: AlertPolicy,
    health: HealthPolicy,
    operation: OperationPolicy,
) -> None:
    champions = Champions(shared=detector(shared) if shared else None, own={"press-1": detector(own)})
    uninterrupted, current = (
        pipeline(champions, stream=policy, alerts=alerting, health=health, operation=operation)
        for _ in range(2)
    )
    accepted: list[Reading] = []
    for i, one in enumerate(stream):
        if i in cuts:
            current = restarted(current, accepted, champions, policy, alerting, health, operation)
        events = current.on_readings([one])
        if not any(isinstance(event, ReadingDropped) for event in events):
            accepted.append(one)
        assert_same(events, uninterrupted.on_readings([one]))


def test_a_snapshot_does_not_move_on_with_its_machine() -> None:
    eager = AlertPolicy(open_after=1, open_within=1)
    target = pipeline(detector(manifest(window=WindowSpec(length=1))), alerts=eager)
    stream = whole(("flow", "load"), [[6, -6], [9, -9], [0, 0]])
    target.on_readings(stream[:1])
    machine = target.machine("press-1")
    assert machine is not None
    snapshot = machine.snapshot()
    written = msgspec.msgpack.encode(snapshot)
    target.on_readings(stream[1:])
    assert msgspec.msgpack.encode(snapshot) == written
    for _ in range(2):
        target.restore("press-1", snapshot, stream[:1])
        target.on_readings(stream[1:])
        assert msgspec.msgpack.encode(snapshot) == written


def test_what_the_stored_readings_complete_is_not_scored_again() -> None:
    made = manifest(window=WindowSpec(length=2))
    stream = whole(made.sensors, [[0, 0]] * 5)
    target = pipeline(detector(made))
    target.on_readings(stream[:4])
    fresh = restarted(target, stream[:4], Champions(shared=detector(made)), StreamPolicy(), AlertPolicy())
    assert [(e.at, type(e)) for e in fresh.on_readings(stream[4:]) if not isinstance(e, ReadingDropped)] == [
        (START + 4 * SECOND, Scored)
    ]
    assert [type(event) for event in fresh.on_readings(stream)] == [ReadingDropped] * 5


def test_without_stored_readings_the_window_fills_anew_and_nothing_old_is_taken() -> None:
    made = manifest(window=WindowSpec(length=3, max_gap=9))
    stream = whole(made.sensors, [[0, 0]] * 10)
    target = pipeline(detector(made))
    target.on_readings(stream[:5])
    fresh = restarted(target, [], Champions(shared=detector(made)), StreamPolicy(), AlertPolicy())
    events = fresh.on_readings([stream[3], *stream[7:]])
    assert isinstance(events[0], ReadingDropped)
    assert [(e.at - START, e.reason) for e in events if isinstance(e, NotScored)] == [
        (7 * SECOND, NotScoredReason.WARMING_UP),
        (8 * SECOND, NotScoredReason.WARMING_UP),
    ]
