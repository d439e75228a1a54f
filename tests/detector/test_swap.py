from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy, Change
from detector.events import AlertChanged, NotScored, ReadingDropped, Scored, StateChanged
from detector.manifest import ErrorSpec, Manifest, WindowSpec
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import (
    SECOND,
    Projection,
    assert_same,
    detector,
    manifest,
    manifests,
    pipeline,
    stream_policies,
    streams,
    whole,
)

EAGER = AlertPolicy(open_after=1, open_within=1, close_after=2)


def swapped(target: Pipeline, champions: Champions, accepted: list[Reading]) -> list[str]:
    return target.swap(champions, lambda name, _: [one for one in accepted if one.machine == name])


def test_a_swap_keeps_windows_and_the_open_alert_and_names_the_machines_it_changed() -> None:
    old, new = manifest("old", error=ErrorSpec()), manifest("new", error=ErrorSpec())
    own = {"lathe": detector(manifest("own"))}
    target = pipeline(Champions(shared=detector(old), own=own), alerts=EAGER)
    wild = whole(old.sensors, [[9, -9]] * 6)
    lathe = whole(old.sensors, [[0, 0]] * 4, "lathe")
    opened = [e for e in target.on_readings(wild[:4] + lathe) if isinstance(e, AlertChanged)]
    assert [alert.change for alert in opened] == [Change.OPENED]

    assert swapped(target, Champions(shared=detector(new), own=own), wild[:4] + lathe) == ["press-1"]
    events = target.on_readings(wild[4:])
    assert [type(event) for event in events] == [Scored, Scored]  # neither warming up nor alerted again

    calm = [
        msgspec.structs.replace(one, at=one.at + 6 * SECOND) for one in whole(old.sensors, [[0, 0.1]] * 5)
    ]
    closed = [e for e in target.on_readings(calm) if isinstance(e, AlertChanged)]
    assert [(e.id, e.change, e.model) for e in closed] == [(opened[0].id, Change.CLOSED, "new")]


def test_a_swap_to_what_serves_already_changes_nothing() -> None:
    target = pipeline(detector())
    stream = whole(("flow", "load"), [[0, 0]] * 4)
    target.on_readings(stream[:3])
    assert swapped(target, Champions(shared=detector()), []) == []
    assert [type(event) for event in target.on_readings(stream[3:])] == [Scored]


def test_a_machine_without_a_model_is_scored_at_once_when_it_gets_one() -> None:
    target = pipeline(Champions())
    stream = whole(("flow", "load"), [[0, 0]] * 4)
    target.on_readings(stream[:3])
    assert swapped(target, Champions(shared=detector()), stream[:3]) == ["press-1"]
    assert [type(event) for event in target.on_readings(stream[3:])] == [Scored, StateChanged]


def test_the_old_detectors_errors_are_not_averaged_into_the_new_ones() -> None:
    old, new = (manifest(name, window=WindowSpec(length=1), error=ErrorSpec(smoothing=0.9)) for name in "ab")
    stream = whole(old.sensors, [[9, -9], [0, 0.1]])
    target = pipeline(detector(old))
    target.on_readings(stream[:1])
    swapped(target, Champions(shared=detector(new)), stream[:1])
    assert_same(target.on_readings(stream[1:])[:1], pipeline(detector(new)).on_readings(stream[1:])[:1])


def test_a_slot_that_lacks_a_sensor_of_the_new_detector_is_in_its_window() -> None:
    class Recorder(Projection):
        seen: NDArray[np.float32]

        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            self.seen = windows[-1]
            return windows

    stream = whole(("flow", "load"), [[i, i] for i in range(6)])
    target = pipeline(detector(manifest("old", window=WindowSpec(length=2))))
    target.on_readings(stream[:4])
    new = manifest("new", sensors=("flow", "oil", "load"), window=WindowSpec(length=3))
    model = Recorder(3, 3)
    swapped(target, Champions(shared=detector(new, model)), stream[:4])
    target.on_readings(stream[4:])  # without oil, the slot before the newest is the last to be settled
    assert model.seen[:, 0].tolist() == [2, 3, 4]


def test_what_served_before_a_swap_is_let_go() -> None:
    target = pipeline(detector())
    stream = whole(("flow", "load"), [[0, 0]] * 9)
    for i in range(9):
        target.on_readings(stream[i : i + 1])
        swapped(target, Champions(shared=detector(manifest(f"bundle-{i}"))), stream[: i + 1])
    assert len(target._fleets) == 1


def test_a_swap_that_cannot_read_the_store_leaves_the_machine_as_it_was() -> None:
    target = pipeline(detector(manifest("old")))
    stream = whole(("flow", "load"), [[0, 0]] * 4)
    target.on_readings(stream[:3])

    def broken(_name: str, _detector: object) -> Iterator[Reading]:
        yield stream[0]
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        target.swap(Champions(shared=detector(manifest("new"))), broken)
    assert [type(event) for event in target.on_readings(stream[3:])] == [Scored]


@settings(max_examples=150)
@given(
    stream=streams(machines=("press-1",)),
    cut=st.integers(0, 40),
    old=manifests("old"),
    new=manifests("new"),
    policy=stream_policies,
)
def test_a_swap_to_any_other_detector_never_goes_back_in_time_nor_repeats_an_alert(
    stream: list[Reading], cut: int, old: Manifest, new: Manifest, policy: StreamPolicy
) -> None:
    target = pipeline(detector(old), stream=policy, alerts=EAGER)
    before = target.on_readings(stream[:cut])
    lost = {id(event.reading) for event in before if isinstance(event, ReadingDropped)}
    accepted = sorted((one for one in stream[:cut] if id(one) not in lost), key=lambda one: one.at)
    swapped(target, Champions(shared=detector(new)), accepted)
    after = target.on_readings(stream[cut:])
    alerts = [(e.id, e.change, e.at) for e in before + after if isinstance(e, AlertChanged)]
    assert len(set(alerts)) == len(alerts)
    last = max((e.at for e in before if isinstance(e, Scored | NotScored)), default=0)
    limit = last - new.grid.interval // 2  # grids differ: an instant may be another slot's centre
    assert all(e.at > limit for e in after if isinstance(e, Scored | NotScored))


@given(
    stream=streams(machines=("press-1",)),
    cut=st.integers(0, 40),
    made=manifests("old"),
    policy=stream_policies,
)
def test_a_swap_to_a_detector_that_differs_in_name_alone_scores_the_same_windows(
    stream: list[Reading], cut: int, made: Manifest, policy: StreamPolicy
) -> None:
    made = msgspec.structs.replace(made, error=ErrorSpec())
    one, other = (pipeline(detector(made), stream=policy, alerts=EAGER) for _ in range(2))
    before = one.on_readings(stream[:cut])
    other.on_readings(stream[:cut])
    lost = {id(event.reading) for event in before if isinstance(event, ReadingDropped)}
    accepted = sorted((r for r in stream[:cut] if id(r) not in lost), key=lambda r: r.at)
    swapped(other, Champions(shared=detector(msgspec.structs.replace(made, id="new"))), accepted)
    scores = [
        [e for e in target.on_readings(stream[cut:]) if isinstance(e, Scored | NotScored)]
        for target in (one, other)
    ]
    assert_same(scores[1], scores[0])
