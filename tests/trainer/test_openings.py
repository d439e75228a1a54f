from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy, AlertTracker, Change
from trainer.openings import Forecast, Openings, at_least, at_most, median

ERRORS = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(lambda each: np.array(each) / 8)


@st.composite
def policies(draw: st.DrawFn) -> AlertPolicy:
    within = draw(st.integers(1, 7))
    return AlertPolicy(
        open_after=draw(st.integers(1, within)),
        open_within=within,
        close_after=draw(st.integers(1, 4)),
        close_score=draw(st.sampled_from([0.5, 0.8, 1.0])),
    )


def tracked(errors: NDArray[np.float64], threshold: float, policy: AlertPolicy) -> int:
    """What the daemon's own tracker opens."""
    tracker, opened = AlertTracker(), 0
    for at, error in enumerate(errors.tolist()):
        changed = tracker.observe("press-1", at, error / threshold, policy)
        opened += changed is not None and changed[0] is Change.OPENED
    return opened


@given(machines=st.lists(ERRORS, max_size=3), policy=policies(), threshold=st.integers(1, 40))
def test_alerts_are_counted_as_the_tracker_opens_them(
    machines: list[NDArray[np.float64]], policy: AlertPolicy, threshold: int
) -> None:
    counted = Openings(machines, policy).count(threshold / 8)
    assert counted == sum(tracked(errors, threshold / 8, policy) for errors in machines)


@given(errors=ERRORS, policy=policies())
def test_from_the_quiet_threshold_on_nothing_opens_and_below_something_does(
    errors: NDArray[np.float64], policy: AlertPolicy
) -> None:
    quiet = Openings([errors], policy).quiet
    if np.isfinite(quiet):
        assert tracked(errors, quiet, policy) == 0
        assert tracked(errors, quiet * 0.999, policy) >= 1
    else:
        assert tracked(errors, 0.01, policy) == 0


def test_where_two_alerts_become_one_a_lower_threshold_is_no_better() -> None:
    errors = np.array([5.0, 5, 5, 1, 1, 1, 1, 1, 4, 4, 4, 1, 1, 1, 1, 1, 2, 2, 2])
    openings = Openings([errors], AlertPolicy())
    assert openings.count(1) == 1, "1 is not below the closing score"
    assert list(openings.counts(1)) == [(5.0, 0), (4.0, 1), (2.0, 2), (1.0, 2)]


def test_a_bound_holds_with_its_confidence() -> None:
    random = np.random.default_rng(0)
    for mean in (0.5, 3.0, 20.0):
        counts = random.poisson(mean, 4000).tolist()
        assert np.mean([at_most(count) >= mean for count in counts]) >= 0.94
        assert np.mean([at_least(count) <= mean for count in counts]) >= 0.94
    assert at_least(0) == 0
    assert at_most(0) == pytest.approx(-np.log(0.05)), "no alert in 1 day: at most 3 a day"
    assert median(0) == pytest.approx(np.log(2))


def test_beyond_what_was_seen_a_scale_more_leaves_one_in_e() -> None:
    forecast = Forecast(Openings([np.array([1.0, 2, 3, 4, 5])], AlertPolicy()), floor=3.0, scale=0.5)
    assert forecast.start == 3.0
    rates = [forecast.expected(at) for at in (3.0, 3.5, 4.0)]
    assert [rate.expected for rate in rates] == pytest.approx(np.log(2) * np.exp([0, -1, -2]))
    assert {(rate.low, rate.high) for rate in rates} == {(0.0, at_most(0))}
    assert forecast.lowest(np.log(2) / np.e)[0] == pytest.approx(3.5)


def test_above_a_threshold_of_a_share_no_more_windows_would_open_an_alert() -> None:
    policy = AlertPolicy()
    errors = np.random.default_rng(0).exponential(size=1000)
    openings = Openings([errors[:400], errors[400:]], policy)
    assert openings.above(0.0) == openings.quiet
    for share in (0.01, 0.1, 0.5):
        level = openings.above(share)
        opening = sum(
            int(errors[i] > level and (errors[max(start, i - 4) : i + 1] > level).sum() >= 3)
            for start, stop in ((0, 400), (400, 1000))
            for i in range(start, stop)
        )
        assert share * 1000 - 5 <= opening <= share * 1000
    assert Openings([], policy).above(0.1) == -np.inf
