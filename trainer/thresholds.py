"""The threshold, and what each method would give for it, from the errors of held-back normal windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import genpareto

from detector.alerts import AlertPolicy
from detector.manifest import Candidate, Evidence, Rate, Threshold
from trainer.openings import Forecast, Openings
from trainer.problems import Unusable
from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from config.training import Threshold as ThresholdSettings
    from detector.manifest import ThresholdMethod

# An alert that is open as long as windows are above the threshold: each is one run of them.
RUNS = AlertPolicy(open_after=1, open_within=1, close_after=1, close_score=1.0)
MOST_RAISED = 1.5  # times the threshold of the held-back rows
MOST_RAISED_LATELY = 4.0  # times, as a fault that the champion has missed of late would hide the next one
PEAKS = 0.02  # share of the errors that are peaks over the threshold of Siffer et al.,
FEWEST_PEAKS = 20  # or so many, as two parameters are fitted to them


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Errors of normal windows that nothing was fitted on.

    Attributes:
        machines: Smoothed reconstruction errors of each machine in order of time, shapes (N,), no NaN.
        days: Normal time that all windows together stand for.
        policy: When an alert opens and closes.
        fitted: The same of the rows that were fitted on, which may raise a calibrated threshold.
        least: No threshold is below: at it, no alert opens in the rows that somebody called normal.
        lately: No calibrated threshold is below, as far as it may be raised: at it, the newest rows are in
            alert as much as they were with the champion.
    """

    machines: Sequence[NDArray[np.float64]]
    days: float
    policy: AlertPolicy
    fitted: HeldBack | None = None
    least: float = 0.0
    lately: float = 0.0

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """All of them, shape (N,)."""
        return np.concatenate([*self.machines, np.empty(0)])

    @cached_property
    def alerts(self) -> Forecast:
        """Alerts at any threshold."""
        return self._forecast(self.policy)

    @cached_property
    def runs(self) -> Forecast:
        """Runs of windows above any threshold."""
        return self._forecast(RUNS)

    @property
    def all_rows(self) -> tuple[HeldBack, ...]:
        """These rows, and those that were fitted on where the model does not know them all by heart."""
        return (self,) if self.fitted is None or not self.fitted.varies else (self, self.fitted)

    @property
    def varies(self) -> bool:
        """Whether there are different errors."""
        return len(self.errors) > 0 and bool(self.errors.min() < self.errors.max())

    @cached_property
    def windows_per_run(self) -> float:
        """Windows in a run above a high threshold, on average."""
        high = float(np.quantile(self.errors, 0.95))
        # Where many windows have the largest error of all, none is above it.
        return max(1.0, float((self.errors > high).sum()) / max(1, self.runs.openings.count(high)))

    def alerts_per_day(self, threshold: float) -> Rate:
        """Alerts to be expected on a day of these rows."""
        rate = self.alerts.expected(threshold)
        return Rate(rate.expected / self.days, rate.low / self.days, rate.high / self.days)

    def _forecast(self, policy: AlertPolicy) -> Forecast:
        return Forecast(Openings(self.machines, policy), float(self.errors.mean()), float(self.errors.std()))


@dataclass(frozen=True, slots=True)
class Found:
    """A threshold, with its bounds where the method has some."""

    value: float
    low: float | None = None
    high: float | None = None


def threshold(held_back: HeldBack, settings: ThresholdSettings) -> Threshold:
    """The threshold by the chosen method, with what the others give.

    Raises:
        Unusable: The errors say nothing about how much is normal.
    """
    errors = held_back.errors
    if not held_back.varies:
        got = (
            f"{counted(len(errors), 'window')} of the same error {errors[0]:.4g}"
            if len(errors)
            else "no scored window"
        )
        raise Unusable(
            f"history: must vary in its last rows, from which the threshold is learned, got {got}; "
            "is it a recording of a machine that stood still?"
        )
    evidence = Evidence(
        days=held_back.days,
        quiet=max(rows.alerts.start for rows in held_back.all_rows),
        candidates=tuple(_candidate(held_back, method, settings.options(method)) for method in METHODS),
    )
    chosen = evidence.of(settings.method)
    if not chosen.value > 0:
        better = max(evidence.candidates, key=lambda one: one.value)
        raise Unusable(
            f"trainer.threshold: must be above 0, got {chosen.value:g} by {chosen.label}, as so many "
            f"held-back windows have no error at all; {better.label} gives {better.value:.4g}"
        )
    return Threshold(
        value=chosen.value,
        method=settings.method,
        k=chosen.options.get("k"),
        mean=float(errors.mean()),
        std=float(errors.std()),
        windows=len(errors),
        above=chosen.above,
        evidence=evidence,
    )


def _candidate(held_back: HeldBack, method: ThresholdMethod, options: dict[str, float]) -> Candidate:
    found = METHODS[method](held_back, **options)
    if found.value < held_back.least:
        found = Found(held_back.least)
    rates = [rows.alerts_per_day(found.value) for rows in held_back.all_rows]
    return Candidate(
        method=method,
        options=options,
        value=found.value,
        above=float((held_back.errors > found.value).mean()),
        alerts_per_day=Rate(
            max(rate.expected for rate in rates),
            max(rate.low for rate in rates),
            max(rate.high for rate in rates),
        ),
        low=found.low,
        high=found.high,
    )


def _mean_std(held_back: HeldBack, *, k: float) -> Found:
    return Found(float(held_back.errors.mean() + k * held_back.errors.std()))


def _quantile(held_back: HeldBack, *, q: float) -> Found:
    return Found(float(np.quantile(held_back.errors, q)))


def _pot(held_back: HeldBack, *, false_alarm_rate: float) -> Found:
    """Peaks over threshold (Siffer et al., Anomaly Detection in Streams with Extreme Value Theory, 2017).

    A generalised Pareto distribution is fitted to the errors above a high one.
    """
    errors = held_back.errors
    share = min(0.5, max(PEAKS, FEWEST_PEAKS / len(errors)))
    high = float(np.quantile(errors, 1 - share))
    peaks = errors[errors > high] - high
    share = len(peaks) / len(errors)
    if false_alarm_rate >= share:
        return Found(float(np.quantile(errors, 1 - false_alarm_rate)))
    unit = float(peaks.mean())
    shape, scale = 0.0, 1.0  # an exponential distribution, where there are too few peaks to tell
    if len(peaks) >= FEWEST_PEAKS // 2 and peaks.min() < peaks.max():
        with np.errstate(all="ignore"):  # the search tries distributions that cannot be
            shape, _, scale = genpareto.fit(peaks / unit, floc=0)
    return Found(high + unit * float(genpareto.isf(false_alarm_rate / share, shape, scale=scale)))


def _calibrated(
    held_back: HeldBack,
    *,
    false_alerts_per_day: float | None = None,
    false_alarm_rate: float | None = None,
) -> Found:
    """The lowest threshold that is expected to open no more alerts, or have no more windows above it.

    Neither on the held-back rows nor on those that were fitted on: to lower it these are too well known,
    but an alert in them, which are the most, is as false as any other. It is raised by no more than
    `MOST_RAISED` times, as a fault among them that nobody has labelled would hide the next one. What was
    left out as it was in alert is missing from both, so that each model would be stricter than the one
    before; the newest rows, in alert or not, see to that.
    """

    def lowest(rows: HeldBack) -> tuple[float, float, float]:
        if false_alerts_per_day is not None:
            return rows.alerts.lowest(false_alerts_per_day * rows.days)
        assert false_alarm_rate is not None
        windows = false_alarm_rate * len(rows.errors)
        return rows.runs.lowest(windows / rows.windows_per_run)

    found = zip(*map(lowest, held_back.all_rows), strict=True)
    value, low, high = (min(max(each), MOST_RAISED * each[0]) for each in found)
    raised = min(max(value, held_back.lately), MOST_RAISED_LATELY * value)
    return (
        Found(raised, low * raised / value, high * raised / value) if value > 0 else Found(value, low, high)
    )


METHODS: dict[ThresholdMethod, Callable[..., Found]] = {
    "mean_std": _mean_std,
    "quantile": _quantile,
    "pot": _pot,
    "calibrated": _calibrated,
}
