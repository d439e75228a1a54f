from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertPolicy, AlertTracker, Change, OpenAlert, Severity, alert_id
from tests.detector.naive_pipeline import Alerting

SCORES = st.lists(
    st.one_of(st.sampled_from((0.0, 0.5, 0.79, 0.8, 0.99, 1.0, 1.01, 2.0, 3.0)), st.floats(0, 9))
)


@st.composite
def policies(draw: st.DrawFn) -> AlertPolicy:
    within = draw(st.integers(1, 6))
    return AlertPolicy(
        open_after=draw(st.integers(1, within)),
        open_within=within,
        close_after=draw(st.integers(1, 4)),
        close_score=draw(st.sampled_from((0.5, 0.8, 1.0))),
        critical_score=draw(st.sampled_from((1.5, 3.0))),
        repeat_every=draw(st.sampled_from((None, 1, 3))),
    )


def changes(scores: str, policy: AlertPolicy) -> str:
    """One letter per score of `scores` in tenths: opened, updated, closed, or a dot for nothing."""
    tracker = AlertTracker()
    letters = ""
    for at, tenths in enumerate(scores.split()):
        changed = tracker.observe("press-1", at, int(tenths) / 10, policy)
        letters += "." if changed is None else changed[0][0]
    return letters


@given(scores=SCORES, policy=policies(), holes=st.sets(st.integers(0, 30)))
def test_changes_are_those_of_the_definition(
    scores: list[float], policy: AlertPolicy, holes: set[int]
) -> None:
    real, slow = AlertTracker(), Alerting("press-1", policy)
    for at, score in enumerate(scores):
        if at in holes:
            real.forget_recent()
            slow.scores = []
        assert real.observe("press-1", at, score, policy) == slow.observe(at, score)
        assert real.alert == slow.alert


@given(scores=SCORES, policy=policies(), cut=st.integers(0, 30))
def test_a_tracker_goes_on_where_it_was_written_down(
    scores: list[float], policy: AlertPolicy, cut: int
) -> None:
    kept = written = AlertTracker()
    for at, score in enumerate(scores):
        if at == cut:
            written = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=AlertTracker)
        expected = kept.observe("press-1", at, score, policy)
        if at >= cut:
            assert written.observe("press-1", at, score, policy) == expected


@given(scores=SCORES, policy=policies())
def test_an_alert_opens_before_it_changes_and_its_peak_never_falls(
    scores: list[float], policy: AlertPolicy
) -> None:
    tracker = AlertTracker()
    peak: float | None = None
    for at, score in enumerate(scores):
        changed = tracker.observe("press-1", at, score, policy)
        if changed is None:
            continue
        change, alert = changed
        assert (peak is None) == (change is Change.OPENED)
        assert alert.peak_score >= (peak or 0)
        peak = None if change is Change.CLOSED else alert.peak_score


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ("20 20 20", "..o"),
        ("20 5 20 5 20", "....o"),  # three of the last five
        ("20 5 20 5 5 20", "......"),  # three of six are too few
        ("10 10 10 10", "...."),  # the threshold itself is no anomaly
        ("20 20 5 5 11", "....o"),
        ("20 20 20 5 5 5 5 5", "..o....c"),
        ("20 20 20 5 5 5 5 9 5 5 5 5 5", "..o.........c"),  # one above the deadband starts the count anew
        ("20 20 20 8 8 8 8 8 8", "..o......"),  # the closing score itself does not close
        ("20 20 20 5 5 5 5 5 20 20 20", "..o....c..o"),  # what was before a closing opens nothing
        ("20 20 20 30 40 20 30", "..ou..."),  # critical once
        ("30 20 20 30", "..o."),  # the severity is that of the worst window that led to it
    ],
)
def test_the_default_policy_opens_and_closes_by_the_drawn_table(scores: str, expected: str) -> None:
    assert changes(scores, AlertPolicy()) == expected


def test_an_open_alert_is_repeated_when_it_is_due_and_not_before() -> None:
    assert changes("20 20 20 20 20 20 20 20 20", AlertPolicy(repeat_every=3)) == "..o..u..u"


def test_a_closed_alert_is_critical_if_its_peak_was() -> None:
    tracker = AlertTracker()
    policy = AlertPolicy(open_after=1, open_within=1, close_after=1)
    tracker.observe("press-1", 5, 2.0, policy)
    tracker.observe("press-1", 6, 4.0, policy)
    assert tracker.observe("press-1", 7, 0.1, policy) == (
        Change.CLOSED,
        OpenAlert(alert_id("press-1", 5), 5, 4.0, Severity.CRITICAL, 6),
    )


def test_what_was_before_a_closing_does_not_open_the_next_alert() -> None:
    policy = AlertPolicy(open_after=2, open_within=6, close_after=1)
    assert changes("20 20 5 20 5 20", policy) == ".oc..o"


def test_a_looser_policy_opens_no_alert_for_anomalies_that_are_over() -> None:
    tracker = AlertTracker()
    tracker.observe("press-1", 0, 2.0, AlertPolicy())
    eager = AlertPolicy(open_after=1)
    assert tracker.observe("press-1", 1, 0.5, eager) is None
    assert tracker.observe("press-1", 2, 2.0, eager) is not None


def test_a_hole_forgets_what_led_to_an_alert_but_not_the_alert() -> None:
    policy = AlertPolicy(open_after=2, open_within=3, close_after=2)
    tracker = AlertTracker()
    tracker.observe("press-1", 0, 2.0, policy)
    tracker.forget_recent()
    assert tracker.observe("press-1", 1, 2.0, policy) is None
    assert tracker.observe("press-1", 2, 2.0, policy) is not None
    tracker.observe("press-1", 3, 0.1, policy)
    tracker.forget_recent()
    assert tracker.observe("press-1", 4, 0.1, policy) is None
    assert tracker.alert is not None


def test_an_alerts_id_depends_on_its_machine_and_its_opening_alone() -> None:
    ids = [alert_id("press-1", 5), alert_id("press-1", 6), alert_id("press-2", 5)]
    assert len(set(ids)) == 3
    assert alert_id("press-1", 5) == ids[0]
    assert alert_id("press-", 15) != alert_id("press-1", 5)
    assert all(len(one) == 32 for one in ids)


@pytest.mark.parametrize(("after", "within"), [(0, 5), (6, 5), (1, 65)])
def test_a_policy_that_could_never_open_is_refused(after: int, within: int) -> None:
    message = rf"^alerts: must be 1 <= open_after <= open_within <= 64, got {after} and {within}$"
    with pytest.raises(ValueError, match=message):
        AlertPolicy(open_after=after, open_within=within)
