"""What a sensor may do is learned from the history, or told; who may do what."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import pytest

from detector.channels import Channel
from detector.events import Event, Scored, SensorChanged, StateChanged
from detector.health import CHANGES, LEAST, MARGIN, NEVER, Bounds, Health, HealthPolicy
from detector.machine import Snapshot
from detector.manifest import ErrorSpec, Manifest, StretchSpec, WindowSpec
from detector.pipeline import Champions
from detector.reading import Reading
from tests.detector.examples import SECOND, START, assert_same, detector, manifest, pipeline, whole

SENSORS = ("flow", "load", "mode", "open", "angle", "energy")
KINDS = {
    "mode": Channel("category", categories=("run", "stop")),
    "open": Channel("binary"),
    "angle": Channel("angle"),
    "energy": Channel("counter"),
}


def learned(same: int = 4, absent: int = 0, changes: int = CHANGES) -> Manifest:
    """A bundle whose sensors all did the same in the history."""
    made = manifest(sensors=SENSORS, channels=KINDS)
    spec = StretchSpec((same,) * 6, (absent,) * 6, (changes,) * 6)
    return msgspec.structs.replace(made, stretches=spec)


def of_sensors(events: Iterable[Event]) -> list[tuple[int, str, Health]]:
    return [
        ((event.at - START) // SECOND, event.sensor, event.health)
        for event in events
        if isinstance(event, SensorChanged)
    ]


def test_measurements_alone_are_stuck_and_all_sensors_are_silent() -> None:
    bounds = Bounds(learned(same=4, absent=7), HealthPolicy())
    assert bounds.same.tolist() == [4 * MARGIN, 4 * MARGIN, NEVER, NEVER, NEVER, NEVER]
    assert bounds.absent.tolist() == [7 * MARGIN] * 6
    assert bounds.watches


def test_what_is_learned_is_at_least_some_samples() -> None:
    bounds = Bounds(learned(same=1, absent=0), HealthPolicy())
    assert bounds.same[0] == bounds.absent[0] == LEAST


@pytest.mark.parametrize("stuck_after", ["auto", 5000])
def test_a_sensor_that_hardly_changed_in_the_history_is_never_stuck(stuck_after: int) -> None:
    bounds = Bounds(learned(changes=CHANGES - 1), HealthPolicy(stuck_after=stuck_after))
    assert (bounds.same == NEVER).all()


def test_durations_are_samples_of_the_bundles_interval_rounded_up() -> None:
    bounds = Bounds(learned(), HealthPolicy(stuck_after=2500, silent_after=3000))
    assert (bounds.same[0], bounds.absent[0]) == (3, 3)


def test_a_sensor_that_is_ignored_is_never_anything() -> None:
    policy = HealthPolicy(limits={"flow": (0, 1), "load": (0, 1)}, ignored=frozenset({"flow"}))
    bounds = Bounds(learned(), policy)
    assert (bounds.same[0], bounds.absent[0], bounds.low[0]) == (NEVER, NEVER, -math.inf)
    assert (bounds.same[1], bounds.absent[1], bounds.low[1]) != (NEVER, NEVER, -math.inf)


def test_ranges_are_for_measurements_and_angles() -> None:
    bounds = Bounds(learned(), HealthPolicy(limits=dict.fromkeys(SENSORS, (-1.0, 1.0))))
    assert bounds.low.tolist() == [-1, -1, -math.inf, -math.inf, -1, -math.inf]


def test_a_bundle_of_an_older_version_watches_ranges_and_what_it_is_told_alone() -> None:
    made = manifest()
    assert made.stretches is None
    assert not Bounds(made, HealthPolicy()).watches
    assert not Bounds(learned(), HealthPolicy(stuck_after=None, silent_after=None)).watches
    assert Bounds(made, HealthPolicy(limits={"load": (0, math.inf)})).watches
    assert Bounds(made, HealthPolicy(stuck_after=1000)).same.tolist() == [1, 1]


def test_stretches_of_another_number_of_sensors_are_refused() -> None:
    with pytest.raises(ValueError, match="stretches: must hold 6 numbers each, one per sensor"):
        msgspec.structs.replace(learned(), stretches=StretchSpec((1,), (1,), (1,)))


def test_the_window_forgets_a_sensor_that_lied_once_the_lie_has_left_it() -> None:
    made = manifest(window=WindowSpec(length=3))
    rows = [[0.1 * i, 99.0 if i == 5 else 0.2 * i] for i in range(12)]
    target = pipeline(detector(made), health=HealthPolicy(limits={"load": (0, 10)}))
    events = target.on_readings(whole(made.sensors, rows))
    assert of_sensors(events) == [(5, "load", Health.OUT_OF_RANGE), (8, "load", Health.OK)]
    left_out = [(e.at - START) // SECOND for e in events if isinstance(e, Scored) and e.imputed]
    assert left_out == [5, 6, 7]
    assert {e.coverage for e in events if isinstance(e, Scored) and e.imputed} == {0.5}


@pytest.mark.parametrize("leave_out", [True, False])
def test_a_sensor_that_crosses_its_limit_all_the_time_is_told_once(*, leave_out: bool) -> None:
    made = manifest(window=WindowSpec(length=3))
    rows = [[0.1 * i, 99.0 if 5 <= i < 50 and i % 2 else 0.2 * i] for i in range(60)]
    target = pipeline(detector(made), health=HealthPolicy(limits={"load": (0, 20)}, leave_out=leave_out))
    events = [event for one in whole(made.sensors, rows) for event in target.on_readings([one])]
    assert of_sensors(events) == [(5, "load", Health.OUT_OF_RANGE), (52, "load", Health.OK)]
    assert [event.since for event in events if isinstance(event, SensorChanged)] == [START + 5 * SECOND] * 2


def test_a_hole_in_the_data_is_no_standing_still() -> None:
    made = manifest(window=WindowSpec(length=3, max_gap=2))
    stream = whole(made.sensors, [[i % 2, 5.0 if i >= 3 else i] for i in range(60)])
    target = pipeline(detector(made), health=HealthPolicy(stuck_after=10_000))
    events = target.on_readings([one for i, one in enumerate(stream) if not 8 <= i < 50])
    assert of_sensors(events) == [(55, "load", Health.STUCK)]  # the 11th sample of the same value


def test_a_stuck_sensor_stays_stuck_under_the_next_bundle_and_is_told_once() -> None:
    made = manifest("old")
    rows = [[i % 2, min(i, 3)] for i in range(30)]
    stream = whole(made.sensors, rows)
    target = pipeline(detector(made), health=HealthPolicy(stuck_after=5_000))
    events = target.on_readings(stream[:15])
    assert of_sensors(events) == [(8, "load", Health.STUCK)]
    other = detector(manifest("new", sensors=("load", "flow")))
    target.swap(Champions(shared=other), lambda _, __: stream[10:15])
    machine = target.machine("press-1")
    assert machine is not None
    assert [one.sensor for one in machine.present(0).sensors] == ["load"]
    events = target.on_readings(stream[15:])
    assert of_sensors(events) == []
    assert {event.imputed for event in events if isinstance(event, Scored)} == {("load",)}
    length = made.window.length
    recovered = target.on_readings(whole(made.sensors, [*rows, *([0, i] for i in range(length))])[30:])
    assert of_sensors(recovered) == [(29 + length, "load", Health.OK)]


def test_a_sensor_that_is_no_longer_watched_is_healthy_for_the_next_process() -> None:
    made = manifest()
    stream = whole(made.sensors, [[i % 2, 3.0] for i in range(20)])
    target = pipeline(detector(made), health=HealthPolicy(stuck_after=5_000))
    target.on_readings(stream[:10])
    machine = target.machine("press-1")
    assert machine is not None
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(machine.snapshot()), type=Snapshot)
    for policy, told in (
        (HealthPolicy(stuck_after=None), []),
        (HealthPolicy(stuck_after=60_000), [(9 + made.window.length, "load", Health.OK)]),
        (HealthPolicy(stuck_after=5_000), []),
    ):
        fresh = pipeline(detector(made), health=policy)
        fresh.restore("press-1", written, stream[:10])
        events = fresh.on_readings(stream[10:])
        assert of_sensors(events) == told
        sensors = [event.sensors for event in events if isinstance(event, StateChanged)]
        assert all(one == () for one in sensors)


def test_a_snapshot_of_an_older_version_is_taken_up() -> None:
    made = manifest()
    stream = whole(made.sensors, [[i % 2, 3.0] for i in range(20)])
    target = pipeline(detector(made))
    target.on_readings(stream[:10])
    machine = target.machine("press-1")
    assert machine is not None
    content = msgspec.msgpack.decode(msgspec.msgpack.encode(machine.snapshot()))
    for name in ("silence", "unhealthy", "stretches", "noted"):
        content.pop(name)
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(content), type=Snapshot)
    fresh = pipeline(detector(made), health=HealthPolicy(stuck_after=5_000))
    fresh.restore("press-1", written, stream[:10])
    assert of_sensors(fresh.on_readings(stream[10:])) == [(15, "load", Health.STUCK)]


def lying(count: int = 40) -> list[Reading]:
    """Readings of which the load is far too large now and then."""
    made = manifest(window=WindowSpec(length=3))
    return whole(made.sensors, [[math.sin(i), 99.0 if i % 9 == 5 else math.cos(i)] for i in range(count)])


LIMITED = HealthPolicy(limits={"load": (-10, 10)})
SMOOTH = ErrorSpec(kind="mse", smoothing=0.9)


def test_a_lie_in_the_middle_of_a_batch_is_left_out_as_it_is_alone() -> None:
    made = manifest(window=WindowSpec(length=3), error=SMOOTH)
    at_once = pipeline(detector(made), health=LIMITED).on_readings(lying())
    target = pipeline(detector(made), health=LIMITED)
    assert_same([event for one in lying() for event in target.on_readings([one])], at_once)
    assert {e.coverage for e in at_once if isinstance(e, Scored)} == {0.5, 1.0}


def test_a_restart_knows_of_a_lie_as_long_as_it_lies_in_the_window() -> None:
    made = manifest(window=WindowSpec(length=3), error=SMOOTH)
    at_once = pipeline(detector(made), health=LIMITED).on_readings(lying())
    target, events = pipeline(detector(made), health=LIMITED), []
    for i, one in enumerate(lying()):
        events += target.on_readings([one])
        machine = target.machine("press-1")
        assert machine is not None
        written = msgspec.msgpack.encode(machine.snapshot())
        target = pipeline(detector(made), health=LIMITED)
        snapshot = msgspec.msgpack.decode(written, type=Snapshot)
        target.restore("press-1", snapshot, lying()[max(0, i - 6) : i + 1])
    assert_same(events, at_once)
