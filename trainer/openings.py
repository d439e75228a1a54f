"""The alerts that errors of normal windows would have opened at any threshold, without replaying them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaincinv

from detector.manifest import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy

CONFIDENCE = 0.95  # of each bound
CHUNK = 65_536  # windows looked at together: each takes `open_within` numbers for a moment


class Openings:
    """Counts the alerts that open at a threshold, by the rules of `AlertTracker`.

    Holes in the data are not looked at: what was before one counts for what is after it.
    """

    def __init__(self, errors: Sequence[NDArray[np.float64]], policy: AlertPolicy) -> None:
        """Prepares to count.

        Args:
            errors: Smoothed reconstruction errors of each machine, in order of time, shapes (N,).
            policy: When an alert opens and closes.
        """
        self._errors = errors
        self._levels = [_levels(each, policy) for each in errors]
        self._policy = policy

    @property
    def quiet(self) -> float:
        """The lowest threshold at which no alert opens; -inf where so few windows can open none."""
        return max((float(levels.max()) for levels in self._levels if len(levels)), default=-math.inf)

    def above(self, share: float) -> float:
        """The lowest threshold above which no more than this share of the windows would open an alert.

        -inf where there are too few windows.
        """
        levels = np.concatenate([*self._levels, np.empty(0)])
        return float(np.quantile(levels, 1 - share, method="higher")) if len(levels) else -math.inf

    def count(self, threshold: float) -> int:
        """Alerts that open at this threshold, > 0."""
        pairs = zip(self._errors, self._levels, strict=True)
        return sum(_count(errors, levels, threshold, self._policy) for errors, levels in pairs)

    def counts(self, floor: float) -> Iterator[tuple[float, int]]:
        """Thresholds from `quiet` down to `floor`, each with the most alerts that it or a higher one opens.

        A lower threshold may open fewer alerts, as two of them become one; it is no better for that.
        """
        levels = np.unique(np.concatenate([*self._levels, np.empty(0)]))[::-1]
        levels = levels[levels >= floor]
        rank, most = 0, 0
        while rank < len(levels):
            most = max(most, self.count(float(levels[rank])))
            yield float(levels[rank]), most
            rank += 1 + rank // 20  # one alert more or less matters where there are few


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """How many alerts go with a threshold, also with one that no normal window was seen to reach.

    From `openings.quiet` on the tail is taken to be exponential: a threshold that is higher by
    `scale` leaves 1 / e of the alerts (the return level with shape 0: Coles, An Introduction to
    Statistical Modeling of Extreme Values, 2001, section 3.3.3). With the errors' standard deviation
    as `scale`, that is exact for an exponential distribution and on the safe side for lighter ones.
    Tails fitted to the few independent peaks of a short calibration did worse on recorded machines.

    Attributes:
        openings: What was seen.
        floor: No threshold is below, > 0.
        scale: In units of the error, > 0.
    """

    openings: Openings
    floor: float
    scale: float

    @property
    def start(self) -> float:
        """Where what was seen ends."""
        return max(self.openings.quiet, self.floor)

    def expected(self, threshold: float) -> Rate:
        """Alerts in as much time as was seen; the bounds know nothing but what was seen."""
        seen = self.openings.count(threshold)
        beyond = max(0.0, threshold - self.start) / self.scale
        return Rate(median(seen) * math.exp(-beyond), at_least(seen), at_most(seen))

    def lowest(self, wanted: float) -> tuple[float, float, float]:
        """The lowest threshold that opens no more alerts in as much time, wanted > 0; and its bounds."""
        enough = list(takewhile(lambda pair: at_least(pair[1]) <= wanted, self.openings.counts(self.floor)))

        def lowest(mean: Callable[[int], float]) -> float:
            if mean(0) > wanted:
                return self.start + self.scale * math.log(mean(0) / wanted)
            return min((at for at, seen in enough if mean(seen) <= wanted), default=self.start)

        return lowest(median), lowest(at_least), lowest(at_most)


def median(count: int) -> float:
    """The mean of a Poisson distribution that is as likely too high as too low, once `count` was seen."""
    return float(gammaincinv(count + 1, 0.5))


def at_most(count: int) -> float:
    """Its upper bound (Garwood, Fiducial limits for the Poisson distribution, Biometrika 28, 1936)."""
    return float(gammaincinv(count + 1, CONFIDENCE))


def at_least(count: int) -> float:
    """Its lower bound."""
    return float(gammaincinv(count, 1 - CONFIDENCE)) if count else 0.0


def _levels(errors: NDArray[np.float64], policy: AlertPolicy) -> NDArray[np.float64]:
    """The lowest threshold at which each window cannot open an alert, shape (N,).

    It could if it were above, and `open_after` of the last `open_within` windows with it.
    """
    levels = np.empty_like(errors)
    before, nth = policy.open_within - 1, policy.open_within - policy.open_after
    padded = np.concatenate([np.full(before, -np.inf), errors])
    for start in range(0, len(errors), CHUNK):
        stop = min(start + CHUNK, len(errors))
        recent = np.lib.stride_tricks.sliding_window_view(padded[start : stop + before], policy.open_within)
        levels[start:stop] = np.partition(recent, nth, axis=1)[:, nth]
    return np.minimum(levels, errors)


def _count(
    errors: NDArray[np.float64], levels: NDArray[np.float64], threshold: float, policy: AlertPolicy
) -> int:
    opening = np.flatnonzero(levels > threshold)
    if not len(opening):
        return 0
    above = np.concatenate([[0], np.cumsum(errors > threshold)])
    closing = _ends_of_runs(errors < policy.close_score * threshold, policy.close_after)
    count, begin = 0, 0
    while True:
        at = int(np.searchsorted(opening, begin))
        # Once an alert has closed, the windows before do not count.
        while at < len(opening) and above[opening[at] + 1] - above[begin] < policy.open_after:
            at += 1
        if at == len(opening):
            return count
        count += 1
        closed = int(np.searchsorted(closing, opening[at]))
        if closed == len(closing):
            return count
        begin = int(closing[closed]) + 1


def _ends_of_runs(flags: NDArray[np.bool_], length: int) -> NDArray[np.intp]:
    """Where the last `length` flags are true."""
    true = np.concatenate([[0], np.cumsum(flags)])
    return np.flatnonzero(true[length:] - true[:-length] == length) + length - 1
