from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.events import Event
from detector.fleet import SPARE
from detector.health import HealthPolicy
from detector.litert import LiteRTModel
from detector.manifest import Manifest, WindowSpec
from detector.modes import OperationPolicy
from detector.pipeline import MAX_BATCH, Champions
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import (
    SECOND,
    START,
    Projection,
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
    tflite,
    whole,
)


def grouped(
    stream: list[Reading],
    cuts: set[int],
    champions: Champions,
    policy: StreamPolicy,
    alerting: AlertPolicy,
    health: HealthPolicy | None = None,
    operation: OperationPolicy | None = None,
) -> list[Event]:
    """The events when the stream is handed over in pieces."""
    target = pipeline(champions, stream=policy, alerts=alerting, health=health, operation=operation)
    ends = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    return [e for i, end in enumerate(ends[1:]) for e in target.on_readings(stream[ends[i] : end])]


@settings(max_examples=150)
@given(
    stream=streams(),
    cuts=st.sets(st.integers(1, 50)),
    shared=st.none() | manifests("shared"),
    own=manifests("own"),
    policy=stream_policies,
    alerting=alert_policies,
    health=health_policies,
    operation=operation_policies,
)
def test_grouping_changes_nothing(
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
    at_once = grouped(stream, set(), champions, policy, alerting, health, operation)
    for each in (cuts, set(range(len(stream)))):
        assert_same(grouped(stream, each, champions, policy, alerting, health, operation), at_once)


@pytest.mark.parametrize("size", [1, MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 1, 1_000])
def test_a_group_larger_than_a_batch_changes_nothing(size: int) -> None:
    champions = Champions(shared=detector())
    rows = [[i % 7, -(i % 3)] for i in range(300)]
    stream = [
        one
        for pair in zip(whole(("flow", "load"), rows), whole(("flow", "load"), rows, "lathe"), strict=True)
        for one in pair
    ]
    policies = StreamPolicy(), AlertPolicy()
    at_once = grouped(stream, set(), champions, *policies)
    assert_same(grouped(stream, set(range(0, 600, size)), champions, *policies), at_once)


def test_no_batch_is_larger_than_the_limit() -> None:
    sizes = []

    class Counter(Projection):
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            sizes.append(len(windows))
            return super().reconstruct(windows)

    pipeline(detector(model=Counter(3, 2))).on_readings(whole(("flow", "load"), [[0, 0]] * 300))
    assert max(sizes) == SPARE


@settings(max_examples=25)
@given(stream=streams(), cuts=st.sets(st.integers(1, 50)), alerting=alert_policies)
def test_grouping_changes_nothing_with_a_real_model(
    stream: list[Reading], cuts: set[int], alerting: AlertPolicy
) -> None:
    champions = Champions(shared=detector(manifest(), LiteRTModel(tflite(), length=3, width=2)))
    at_once = grouped(stream, set(), champions, StreamPolicy(), alerting)
    assert_same(grouped(stream, cuts, champions, StreamPolicy(), alerting), at_once)


@pytest.mark.parametrize("max_gap", [0, 7, 100])
@pytest.mark.parametrize("length", [1, 5, 2 * SPARE])
def test_rings_that_wrap_and_holes_of_all_sizes_change_nothing(length: int, max_gap: int) -> None:
    made = manifest(window=WindowSpec(length=length, max_gap=max_gap, min_coverage=0.0))
    champions = Champions(shared=detector(made))
    random = np.random.default_rng(length * 1000 + max_gap)
    slots = np.cumsum(random.choice([1] * 40 + [2, 3, 8, 9, 50, 101, 102], size=1_500)).tolist()
    stream = [
        Reading("press-1", START + slot * SECOND, ("flow", "load"), random.choice([0.0, 1.0, np.nan], size=2))
        for slot in slots
    ]
    policies = StreamPolicy(), AlertPolicy(), HealthPolicy(stuck_after=3_000, silent_after=2_000)
    one_by_one = grouped(stream, set(range(len(stream))), champions, *policies)
    assert_same(grouped(stream, set(), champions, *policies), one_by_one)
