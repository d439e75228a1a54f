from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy, Change
from detector.events import AlertChanged, NotScored, NotScoredReason, Scored
from detector.manifest import ErrorSpec, Manifest, WindowSpec
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.detector.examples import (
    SECOND,
    START,
    detector,
    manifest,
    manifests,
    pipeline,
    reading,
    stream_policies,
    whole,
)

EAGER = AlertPolicy(open_after=1, open_within=1, close_after=1)
CALM = [0.0, 0.1]
EXTREMES = st.sampled_from((0.0, -0.0, 1.0, 5e-324, 1e300, -1e300, 1.7e308, math.inf, -math.inf, math.nan))
INSTANTS = st.sampled_from((0, 1, 999, START, START + 1_000, START + 2_000, 4_294_967_295_000, -1, 2**62))


@given(
    steps=st.lists(st.tuples(INSTANTS, st.integers(0, 3), EXTREMES, EXTREMES, st.booleans()), max_size=30),
    made=manifests(),
    policy=stream_policies,
)
def test_no_sequence_of_readings_raises_and_none_gives_a_score_that_is_no_number(
    steps: list[tuple[int, int, float, float, bool]], made: Manifest, policy: StreamPolicy
) -> None:
    target = pipeline(detector(made), stream=policy, alerts=EAGER)
    for at, seconds, flow, load, arrives in steps:
        instant = at + seconds * SECOND
        one = Reading(
            "press-1", instant, ("flow", "load"), np.array([flow, load]), START if arrives else None
        )
        for event in target.on_readings([one]):
            if isinstance(event, Scored):
                assert math.isfinite(event.score)


def test_a_model_that_overflows_gives_no_score_and_spoils_none_after_it() -> None:
    class Fragile:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            rebuilt = windows * np.float32(0.5)
            rebuilt[windows > 1000] = np.nan
            return rebuilt

    made = manifest(window=WindowSpec(length=1), error=ErrorSpec(smoothing=0.9))
    target = pipeline(detector(made, Fragile()), alerts=EAGER)
    events = target.on_readings(whole(made.sensors, [CALM, [1e300, 0], CALM]))
    assert [event for event in events if isinstance(event, NotScored)] == [
        NotScored("press-1", START + SECOND, NotScoredReason.NOT_FINITE)
    ]
    assert [event.at - START for event in events if isinstance(event, Scored)] == [0, 2 * SECOND]


def changes(
    instants: list[int], wild: set[int], alerts: AlertPolicy, error: ErrorSpec
) -> list[tuple[int, Change]]:
    """Changes of the alert when the machine sends at the given seconds, and is wild at some of them."""
    made = manifest(window=WindowSpec(length=1, max_gap=0), error=error)
    stream = [reading(at, flow=9 * (at in wild), load=0.1 - 9 * (at in wild)) for at in instants]
    events = pipeline(detector(made), alerts=alerts).on_readings(stream)
    return [((e.at - START) // SECOND, e.change) for e in events if isinstance(e, AlertChanged)]


def test_what_was_before_a_hole_opens_no_alert_and_closes_none() -> None:
    policy = AlertPolicy(open_after=2, open_within=2, close_after=2)
    plain = ErrorSpec(smoothing=0.0)
    assert changes([0, 1, 2, 3], {0, 1}, policy, plain) == [(1, Change.OPENED), (3, Change.CLOSED)]
    assert changes([0, 5, 6], {0, 5, 6}, policy, plain) == [(6, Change.OPENED)]
    assert changes([0, 1, 2, 7, 8], {0, 1}, policy, plain) == [(1, Change.OPENED), (8, Change.CLOSED)]


def test_the_error_before_a_hole_is_not_averaged_into_the_one_after_it() -> None:
    heavy = ErrorSpec(smoothing=0.9)
    assert changes([0, 1], {0}, EAGER, heavy) == [(0, Change.OPENED)]
    assert changes([0, 5], {0}, EAGER, heavy) == [(0, Change.OPENED), (5, Change.CLOSED)]
