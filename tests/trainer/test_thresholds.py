from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as st_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from config.training import Threshold as Settings
from detector.alerts import AlertPolicy
from detector.manifest import Candidate, Threshold
from trainer.problems import Unusable
from trainer.thresholds import MOST_RAISED, MOST_RAISED_LATELY, HeldBack, threshold

Method = Literal["mean_std", "quantile", "pot", "calibrated"]
METHODS: tuple[Method, ...] = ("mean_std", "quantile", "pot", "calibrated")
MINUTE = 1 / 1440  # days


def held_back(*machines: NDArray[np.float64], interval: float = MINUTE) -> HeldBack:
    return HeldBack(machines, interval * sum(map(len, machines)), AlertPolicy())


def smooth(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Errors that follow one another, as smoothed ones do."""
    noise = np.random.default_rng(seed).exponential(size=count + 20)
    return np.convolve(noise, 0.7 ** np.arange(21), "valid")


def chosen(found: Threshold) -> Candidate:
    assert found.evidence is not None
    return found.evidence.of(found.method)


@pytest.mark.parametrize(
    ("errors", "got"),
    [
        ([], "no scored window"),
        ([0.25] * 85, "85 windows of the same error 0.25"),
        ([0.1], "1 window of the same error 0.1"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_errors_that_do_not_vary_give_no_threshold(errors: list[float], got: str, method: Method) -> None:
    with pytest.raises(Unusable) as caught:
        threshold(held_back(np.array(errors)), Settings(method=method))
    assert str(caught.value) == (
        f"history: must vary in its last rows, from which the threshold is learned, got {got}; "
        "is it a recording of a machine that stood still?"
    )


def test_a_threshold_of_nothing_is_refused_with_a_method_that_has_one() -> None:
    errors = np.r_[np.zeros(90), np.ones(10)]
    with pytest.raises(Unusable) as caught:
        threshold(held_back(errors), Settings(method="quantile", q=0.5))
    assert str(caught.value) == (
        "trainer.threshold: must be above 0, got 0 by quantile (q 0.5), as so many held-back windows have no "
        "error at all; pot (false_alarm_rate 0.0001) gives 6.908"
    )


def test_a_threshold_is_the_mean_and_k_standard_deviations() -> None:
    found = threshold(held_back(np.array([1.0, 2.0, 3.0, 6.0])), Settings(method="mean_std", k=1.0))
    assert (found.mean, found.windows, found.above, found.k) == (3.0, 4, 0.25, 1.0)
    assert found.std == pytest.approx(np.sqrt((4 + 1 + 0 + 9) / 4))
    assert found.value == pytest.approx(3 + found.std)


def test_a_threshold_is_the_error_that_a_share_stays_below() -> None:
    errors = smooth(1000)
    found = threshold(held_back(errors), Settings(method="quantile", q=0.97))
    assert found.value == pytest.approx(np.quantile(errors, 0.97))
    assert found.above == pytest.approx(0.03)
    assert found.k is None


@pytest.mark.parametrize("rate", [1e-2, 1e-3, 1e-4])
def test_peaks_over_threshold_find_the_quantiles_of_known_tails(rate: float) -> None:
    random = np.random.default_rng(1)
    settings = Settings(method="pot", false_alarm_rate=rate)
    exponential = threshold(held_back(random.exponential(size=20_000)), settings).value
    assert exponential == pytest.approx(-np.log(rate), rel=0.15)
    pareto = threshold(held_back(1 + random.pareto(4, size=20_000)), settings).value
    assert pareto == pytest.approx(rate**-0.25, rel=0.15)


def test_the_calibrated_threshold_opens_as_many_alerts_on_other_rows_as_were_wanted() -> None:
    long, other = smooth(40_000), smooth(400_000, seed=1)
    for wanted in (1.0, 4.0):
        found = threshold(held_back(long), Settings(method="calibrated", false_alerts_per_day=wanted))
        again = held_back(other)
        assert again.alerts.openings.count(found.value) / again.days == pytest.approx(wanted, rel=0.3)
        rate = chosen(found).alerts_per_day
        assert rate.low < wanted < rate.high
        assert rate.expected == pytest.approx(wanted, rel=0.1)


def test_a_short_calibration_is_extrapolated_and_its_uncertainty_told() -> None:
    days = 100 * MINUTE
    found = threshold(held_back(smooth(100)), Settings(method="calibrated", false_alerts_per_day=0.3))
    candidate = chosen(found)
    assert candidate.alerts_per_day.expected == pytest.approx(0.3)
    assert candidate.alerts_per_day.low == 0
    assert candidate.alerts_per_day.high == pytest.approx(-np.log(0.05) / days)
    assert found.evidence is not None
    assert found.value == pytest.approx(found.evidence.quiet + found.std * np.log(np.log(2) / days / 0.3))
    assert candidate.low == found.evidence.quiet
    highest = found.evidence.quiet + found.std * np.log(-np.log(0.05) / days / 0.3)
    assert candidate.high == pytest.approx(highest)


def test_the_more_is_recorded_the_narrower_are_the_bounds() -> None:
    widths = []
    for count in (100, 1_000, 10_000, 100_000):
        candidate = chosen(
            threshold(held_back(smooth(count)), Settings(method="calibrated", false_alerts_per_day=2))
        )
        assert candidate.low is not None
        assert candidate.high is not None
        assert candidate.low <= candidate.value <= candidate.high
        widths.append(candidate.high - candidate.low)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("rate", [0.05, 0.005])
def test_a_share_of_windows_can_be_wanted_instead_of_alerts(rate: float) -> None:
    settings = Settings(method="calibrated", false_alarm_rate=rate)
    assert threshold(held_back(smooth(40_000)), settings).above == pytest.approx(rate, rel=0.3)
    few = threshold(held_back(smooth(60)), Settings(method="calibrated", false_alarm_rate=1e-6))
    assert few.value > smooth(60).max()


@pytest.mark.parametrize("method", METHODS)
def test_a_largest_error_that_many_windows_share_gives_a_threshold(method: Method) -> None:
    rate = 0.01 if method in {"pot", "calibrated"} else None
    errors = np.repeat([1.0, 2.0], 50)
    found = threshold(held_back(errors), Settings(method=method, false_alarm_rate=rate))
    assert np.isfinite(found.value)
    assert found.value >= 1.9


def with_fitted(held: NDArray[np.float64], fitted: NDArray[np.float64]) -> HeldBack:
    return dataclasses.replace(held_back(held), fitted=held_back(fitted))


CALIBRATED = (
    Settings(method="calibrated", false_alerts_per_day=0.3),
    Settings(method="calibrated", false_alarm_rate=1e-3),
)


@pytest.mark.parametrize("settings", CALIBRATED)
def test_rows_that_were_fitted_on_raise_a_calibrated_threshold(settings: Settings) -> None:
    calm, rough = smooth(500), 3 * smooth(5000, seed=1)
    found, alone = threshold(with_fitted(calm, rough), settings), threshold(held_back(rough), settings)
    before = threshold(held_back(calm), settings).value
    assert found.value == min(alone.value, MOST_RAISED * before) > before
    assert chosen(found).alerts_per_day.expected >= chosen(alone).alerts_per_day.expected
    assert found.windows == 500


@pytest.mark.parametrize("settings", CALIBRATED)
@pytest.mark.parametrize("fitted", [0.3 * smooth(5000, seed=1), np.full(5000, 0.25), np.empty(0)])
def test_rows_that_are_known_too_well_lower_no_threshold(
    settings: Settings, fitted: NDArray[np.float64]
) -> None:
    assert threshold(with_fitted(smooth(500), fitted), settings) == threshold(
        held_back(smooth(500)), settings
    )


@pytest.mark.parametrize("method", ["mean_std", "quantile", "pot"])
def test_thresholds_that_are_not_calibrated_are_those_of_the_held_back_rows(method: Method) -> None:
    calm, rough = smooth(500), 3 * smooth(5000, seed=1)
    found, alone = (
        threshold(rows, Settings(method=method)) for rows in (with_fitted(calm, rough), held_back(calm))
    )
    assert found.value == alone.value
    assert chosen(found).alerts_per_day.expected > chosen(alone).alerts_per_day.expected


WISHES = st.floats(1e-3, 1e3)
ERRORS = st.lists(st.floats(2**-10, 2**10), min_size=2, max_size=300).map(np.array).filter(np.ptp)


@given(errors=ERRORS, wishes=st.tuples(WISHES, WISHES))
def test_who_wants_more_alerts_gets_no_higher_threshold(
    errors: NDArray[np.float64], wishes: tuple[float, float]
) -> None:
    alerts = held_back(errors).alerts
    fewer, more = map(alerts.lowest, sorted(wishes))
    for one, other in zip(fewer, more, strict=True):
        assert one >= other
    for value, low, high in (fewer, more):
        assert low <= value <= high


# A search for the generalised Pareto distribution takes as long as it takes.
slow = st_settings(deadline=None, max_examples=30)


@slow
@given(errors=ERRORS, factor=st.integers(-8, 8).map(lambda power: 2.0**power))
def test_every_method_scales_with_the_errors(errors: NDArray[np.float64], factor: float) -> None:
    before, after = (threshold(held_back(each), Settings()).evidence for each in (errors, errors * factor))
    assert before is not None
    assert after is not None
    for one, other in zip(before.candidates, after.candidates, strict=True):
        assert other.value == pytest.approx(one.value * factor, rel=1e-6)
        assert other.above == one.above
        assert other.alerts_per_day == one.alerts_per_day


@slow
@given(errors=ERRORS)
def test_every_method_gives_a_threshold_above_zero(errors: NDArray[np.float64]) -> None:
    evidence = threshold(held_back(errors, errors[:1]), Settings()).evidence
    assert evidence is not None
    assert [each.method for each in evidence.candidates] == list(METHODS)
    for each in evidence.candidates:
        assert np.isfinite(each.value)
        assert each.value > 0
        assert 0 <= each.alerts_per_day.low <= each.alerts_per_day.high


def test_each_machine_s_windows_count_on_their_own() -> None:
    quiet, loud = np.full(50, 1.0), np.r_[np.full(40, 1.0), np.full(10, 9.0)]
    found = held_back(quiet, loud)
    assert found.alerts.openings.count(5.0) == 1
    assert held_back(loud, loud).alerts.openings.count(5.0) == 2


@pytest.mark.parametrize("method", METHODS)
def test_no_threshold_is_so_low_that_rows_somebody_calls_normal_open_an_alert(method: Method) -> None:
    rows = held_back(smooth(500))
    before = threshold(rows, Settings(method=method))
    higher = dataclasses.replace(rows, least=2 * before.value)
    assert threshold(higher, Settings(method=method)).value == 2 * before.value
    lower = dataclasses.replace(rows, least=before.value / 2)
    assert threshold(lower, Settings(method=method)).value == before.value


def test_a_calibrated_threshold_rises_over_what_was_not_in_alert_of_late_but_not_without_bounds() -> None:
    rows = held_back(smooth(500))
    before = threshold(rows, Settings()).value
    for lately, expected in ((0.5, 1.0), (2.0, 2.0), (100.0, MOST_RAISED_LATELY)):
        raised = dataclasses.replace(rows, lately=lately * before)
        assert threshold(raised, Settings()).value == pytest.approx(expected * before)
        other = Settings(method="quantile")
        assert threshold(raised, other).value == threshold(rows, other).value
