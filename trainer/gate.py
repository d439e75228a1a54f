"""Whether a challenger may replace the champion, by what both say about the same rows; no label is needed.

It must be worse in no criterion, beyond a margin, and better in one, by the same margin: else the
champion stays. Nothing here reads a clock, a file or a random number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from registry.turns import Criterion, Unit, Verdict
from trainer.wording import DAY, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from config.training import Gate

LEAST_SCORED = 0.5  # of the champion's time: a longer window misses a little at each hole, not half
LEAST_FAULTS = 9  # to compare by: with fewer, one is more than a tenth
LEAST_WINDOWS = 3  # that differ: fewer open no alert
STILL_BETTER = (
    0.5  # of the rate of a champion above the limit: one of half its false alarms is a step forward
)
BROKEN = 0.3  # of the newest stream in alarm, unless it was confirmed
STILL_FOUND = 0.5  # of what a broken champion finds
KNOWN_BY_HEART = 1e-3  # of the champion's error: what is below says nothing more


class Reason(StrEnum):
    """Why a challenger is promoted or not; also the log field and the metric label."""

    FIRST_MODEL = "first_model"
    PASSED = "passed"
    NO_BETTER = "no_better"
    # The criteria, the gravest first:
    NO_WINDOWS = "no_windows"
    NOT_FINITE = "not_finite"
    SENSORS = "sensors"
    INCIDENTS = "incidents"
    FAULTS = "faults"
    ALERT_RATE = "alert_rate"
    STREAM_ALERT_RATE = "stream_alert_rate"
    ALERTS = "alerts"
    STREAM_ALERTS = "stream_alerts"
    FAULT_DELAY = "fault_delay"
    ERROR_RATIO = "error_ratio"
    # Of one that has passed:
    PINNED = "pinned"
    MANUAL = "manual"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """What one detector says about rows.

    Attributes:
        windows: Windows that it scored.
        days: Time of one machine that they stand for.
        rate: Share of them with a score above 1; 0 without windows.
        alerts: Alerts that opened.
    """

    windows: int
    days: float
    rate: float
    alerts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What one detector finds of faults that were put into normal rows.

    Attributes:
        cases: How many there were.
        found: Share of them in which an alert opened that is not there without the fault.
        compared: How many of them are in rows in which the champion is calm without the fault.
        found_there: The share of these that is found.
        delay: Mean time until it was found there, as a share of the longest that counts; one that is not
            found took the longest.
    """

    cases: int
    found: float
    compared: int
    found_there: float
    delay: float


class Seen(StrEnum):
    """What one detector says about a past incident."""

    MISSED = "missed"
    IN_ALARM = "in_alarm"  # as it was before: nobody would have seen the difference
    FOUND = "found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one detector says about the rows that it is judged by.

    Attributes:
        held_back: About normal rows that the challenger was not fitted on.
        errors: Its mean squared error there, by sensor in the sensor's own unit, before smoothing;
            sensors that do not vary in these rows are left out, as every model is right about them.
        stream: About the newest stored readings; None: there are none.
        faults: None: none could be put into the rows.
        incidents: By name, what it says about those that were confirmed.
        lost: Sensors of the champion that vary in these rows and that it does not know.
    """

    held_back: Alarms
    errors: Mapping[str, float]
    stream: Alarms | None = None
    faults: Faults | None = None
    incidents: Mapping[str, Seen]
    lost: Sequence[str] = ()

    @property
    def scored_stream(self) -> Alarms | None:
        """The newest stream, where anything of it was scored: all of it may be left out, as a week off."""
        return self.stream if self.stream is not None and self.stream.windows else None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of `decide`.

    Attributes:
        promote: Whether the challenger is to serve.
        reason: Why, in a word.
        text: Why, in a sentence.
        criteria: Each respect in which it was looked at.
    """

    promote: bool
    reason: Reason
    text: str
    criteria: tuple[Criterion, ...] = ()


def decide(
    challenger: Figures,
    champion: Figures | None,
    settings: Gate,
    *,
    apart: bool = True,
    equal_will_do: bool = False,
) -> Decision:
    """Compares figures of the same rows.

    Args:
        challenger: What it says about the rows.
        champion: The same of the bundle that serves; None: there is none, and absolute limits alone count.
        settings: The margins.
        apart: Whether the challenger's threshold was learned from other rows.
        equal_will_do: Whether one that is as good as the champion replaces it: a person asked for it, or it
            has proved better before.
    """
    criteria = tuple(sorted(_criteria(challenger, champion, settings), key=_gravity))
    worse = [each for each in criteria if each.verdict is Verdict.WORSE]
    better = [each for each in criteria if each.verdict is Verdict.BETTER]
    if worse:
        return Decision(
            promote=False, reason=Reason(worse[0].name), text=_refusal(worse, apart=apart), criteria=criteria
        )
    if champion is None:
        text = f"the first model, with {_share_above(challenger.held_back, apart=apart)} above the threshold"
        return Decision(promote=True, reason=Reason.FIRST_MODEL, text=text, criteria=criteria)
    compared = [each for each in criteria if each.verdict is not Verdict.NOT_COMPARED]
    if better:
        text = f"better in {' and '.join(map(_compared, better))}, worse in none of {len(compared)} criteria"
        return Decision(promote=True, reason=Reason.PASSED, text=text, criteria=criteria)
    text = f"no better than the champion in any of {len(compared)} criteria, and worse in none"
    reason = Reason.PASSED if equal_will_do else Reason.NO_BETTER
    return Decision(
        promote=equal_will_do,
        reason=reason,
        text=text if equal_will_do else f"{text}; so the champion stays",
        criteria=criteria,
    )


def _criteria(own: Figures, champion: Figures | None, settings: Gate) -> Iterator[Criterion]:
    yield _windows(own.held_back, champion.held_back if champion else None)
    if not own.held_back.windows:
        return
    broken = [name for name, number in _numbers(own) if not math.isfinite(number)]
    yield _own(Reason.NOT_FINITE, "figures that are no numbers", len(broken), ", ".join(broken))
    yield _rate(own, champion, settings)
    if champion is None:
        return
    yield _own(
        Reason.SENSORS, "sensors of the champion that it does not know", len(own.lost), ", ".join(own.lost)
    )
    yield from _incidents(own.incidents, champion.incidents)
    yield from _faults(own.faults, champion.faults, settings, relieved=_relieved(own, champion))
    stream = champion.scored_stream
    if stream is None:  # for the reason see `_rate`
        yield _alerts(Reason.ALERTS, "held-back rows", own.held_back, champion.held_back, settings)
    else:
        yield _stream_rate(own.stream, stream, settings)
        if own.stream is not None:
            yield _alerts(Reason.STREAM_ALERTS, "newest stream", own.stream, stream, settings)
    yield _error(own, champion, settings)


def _windows(own: Alarms, champion: Alarms | None) -> Criterion:
    """Time that can be scored: none is worse, and some where the champion has none is better.

    A longer window scores a little less of the same rows; half of them means that something is missing.
    """
    allowed = champion.days * LEAST_SCORED if champion and champion.windows else None
    verdict = Verdict.AS_GOOD
    if not own.windows or (allowed is not None and own.days < allowed):
        verdict = Verdict.WORSE
    elif champion is not None and not champion.windows:
        verdict = Verdict.BETTER
    return Criterion(
        name=Reason.NO_WINDOWS,
        what="held-back time that can be scored",
        unit=Unit.DAYS,
        challenger=own.days,
        champion=champion.days if champion else None,
        allowed=allowed,
        verdict=verdict,
    )


def _rate(own: Figures, champion: Figures | None, settings: Gate) -> Criterion:
    """False alarms, as the rows are normal.

    Stored rows in which the champion was in alarm are not among them, so that it looks better than it
    is: it is compared by them only where there is no stream that holds all rows.
    """
    allowed = settings.max_alert_rate
    before = champion.held_back if champion and champion.held_back.windows else None
    margin = 0.0
    if champion and before:
        margin = _rate_margin(before, settings)
        # A champion that is broken must not stay because its successor is not perfect at once.
        allowed = max(allowed, before.rate * STILL_BETTER)
        if champion.scored_stream is None:
            allowed = min(allowed, before.rate + margin)
    return _lower(
        Reason.ALERT_RATE,
        "held-back normal windows above the threshold",
        Unit.SHARE,
        own.held_back.rate,
        before.rate if before else None,
        margin,
        allowed,
    )


def _stream_rate(own: Alarms | None, champion: Alarms, settings: Gate) -> Criterion:
    what = "windows of the newest stream above the threshold"
    if own is None or own.days < champion.days * LEAST_SCORED:
        note = "it can score too little of it"
        return _judged(Reason.STREAM_ALERT_RATE, what, Unit.SHARE, None, champion.rate, Verdict.WORSE, note)
    margin = _rate_margin(champion, settings)
    return _lower(Reason.STREAM_ALERT_RATE, what, Unit.SHARE, own.rate, champion.rate, margin)


def _rate_margin(champion: Alarms, settings: Gate) -> float:
    """Fewer windows than an alert needs say nothing."""
    return max(settings.alert_rate_margin, LEAST_WINDOWS / champion.windows)


def _alerts(reason: Reason, where: str, own: Alarms, champion: Alarms, settings: Gate) -> Criterion:
    """Alerts that would have opened: one more or less is chance.

    Many short ones are better than one that never ends.
    """
    what = f"would-be alerts in the {where}"
    if not champion.windows:
        return _judged(reason, what, Unit.NUMBER, own.alerts, None, Verdict.NOT_COMPARED)
    margin = 1 + settings.alerts_margin * champion.days
    found = _lower(reason, what, Unit.NUMBER, own.alerts, champion.alerts, margin)
    calmer = own.rate < champion.rate - _rate_margin(champion, settings)
    if found.verdict is Verdict.WORSE and calmer:
        note = "more of them, but less time in alarm"
        return Criterion(
            name=reason, what=what, unit=Unit.NUMBER, challenger=own.alerts, champion=champion.alerts,
            allowed=None, verdict=Verdict.AS_GOOD, note=note,
        )  # fmt: skip
    noisier = own.rate > champion.rate + _rate_margin(champion, settings)
    if found.verdict is Verdict.BETTER and noisier:
        note = "fewer of them, but more time in alarm"
        return _judged(reason, what, Unit.NUMBER, own.alerts, champion.alerts, Verdict.AS_GOOD, note)
    return found


def _relieved(own: Figures, champion: Figures) -> bool:
    """Whether the champion is broken, and its successor is not.

    Nobody lets a machine be in alarm for days: a real fault would be confirmed, and does not count.
    """
    if own.stream is None or champion.stream is None or not own.stream.windows:
        return False
    return champion.stream.rate > BROKEN and own.stream.rate <= champion.stream.rate * STILL_BETTER


def _faults(
    own: Faults | None, champion: Faults | None, settings: Gate, *, relieved: bool
) -> Iterator[Criterion]:
    """Faults in rows in which the champion is calm: where it is in alarm anyway it finds nothing.

    Who relieves a broken champion may find fewer, as it knows more ways to be normal, but not none.
    """
    if champion is None:
        return
    what = "synthetic faults found"
    late = "mean delay of synthetic faults, as a share of the longest"
    note = f"{counted(champion.compared, 'fault')} in rows in which the champion is calm"
    if own is None:
        yield _judged(Reason.FAULTS, what, Unit.SHARE, None, champion.found_there, Verdict.WORSE)
    elif champion.compared < LEAST_FAULTS:
        least = max(settings.faults_margin, champion.found * STILL_FOUND)
        verdict = Verdict.AS_GOOD if own.found > least else Verdict.WORSE
        note = f"{counted(champion.cases, 'fault')}, but the champion is mostly in alarm anyway"
        found = _judged(Reason.FAULTS, what, Unit.SHARE, own.found, champion.found, verdict, note)
        yield replace(found, allowed=least)
    else:
        margin = max(settings.faults_margin, 1 / champion.compared)
        allowed = max(0.0, champion.found_there - margin)
        if relieved:
            allowed *= STILL_FOUND
        verdict = Verdict.AS_GOOD
        if own.found_there < allowed:
            verdict = Verdict.WORSE
        elif own.found_there > champion.found_there + margin:
            verdict = Verdict.BETTER
        found = _judged(Reason.FAULTS, what, Unit.SHARE, own.found_there, champion.found_there, verdict, note)
        yield replace(found, allowed=allowed)
        if not relieved:
            margin = settings.delay_margin
            yield _lower(Reason.FAULT_DELAY, late, Unit.SHARE, own.delay, champion.delay, margin)


def _incidents(own: Mapping[str, Seen], champion: Mapping[str, Seen]) -> Iterator[Criterion]:
    """What the champion finds must not be missed."""
    if not champion:
        return
    found = [name for name, seen in champion.items() if seen is Seen.FOUND]
    lost = [name for name in found if own.get(name, Seen.MISSED) is Seen.MISSED]
    more = [name for name, seen in own.items() if seen is Seen.FOUND and champion.get(name) is Seen.MISSED]
    verdict = Verdict.WORSE if lost else Verdict.BETTER if more else Verdict.AS_GOOD
    note = f"missed: {', '.join(lost)}" if lost else counted(len(champion), "incident")
    yield Criterion(
        name=Reason.INCIDENTS,
        what="confirmed incidents found",
        unit=Unit.NUMBER,
        challenger=sum(own.get(name) is not Seen.MISSED for name in champion if name in own),
        champion=len(found),
        allowed=len(found),
        verdict=verdict,
        note=note,
    )


def _error(own: Figures, champion: Figures, settings: Gate) -> Criterion:
    what, ratio = "error on held-back normal rows, times the champion's", error_ratio(own, champion)
    if ratio is None:
        note = "they share no sensor that varies"
        return _judged(Reason.ERROR_RATIO, what, Unit.RATIO, None, None, Verdict.NOT_COMPARED, note)
    most = settings.max_error_ratio
    verdict = Verdict.WORSE if ratio > most else Verdict.BETTER if ratio < 1 / most else Verdict.AS_GOOD
    return Criterion(
        name=Reason.ERROR_RATIO, what=what, unit=Unit.RATIO, challenger=ratio, champion=1.0, allowed=most,
        verdict=verdict,
    )  # fmt: skip


def error_ratio(challenger: Figures, champion: Figures) -> float | None:
    """Geometric mean of the sensors' error ratios; None where nothing can be compared.

    Each detector scales in its own way, which cancels sensor by sensor in the sensor's own unit; the
    mean of ratios counts no sensor more than another. A sensor counts as known by heart, not better.
    """
    logs = [
        math.log(max(error / champion.errors[name], KNOWN_BY_HEART))
        for name, error in challenger.errors.items()
        if champion.errors.get(name, 0) > 0
    ]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def _lower(
    reason: Reason,
    what: str,
    unit: Unit,
    own: float,
    champion: float | None,
    margin: float,
    allowed: float | None = None,
) -> Criterion:
    """Of two figures the lower one is better; what differs by no more than the margin is as good."""
    if allowed is None:
        assert champion is not None
        allowed = champion + margin
    better = champion is not None and own < champion - margin
    verdict = Verdict.WORSE if own > allowed else Verdict.BETTER if better else Verdict.AS_GOOD
    return Criterion(
        name=reason, what=what, unit=unit, challenger=own, champion=champion, allowed=allowed, verdict=verdict
    )


def _judged(
    reason: Reason,
    what: str,
    unit: Unit,
    own: float | None,
    champion: float | None,
    verdict: Verdict,
    note: str = "",
) -> Criterion:
    """One that is no comparison of two numbers."""
    return Criterion(
        name=reason, what=what, unit=unit, challenger=own, champion=champion, allowed=None, verdict=verdict,
        note=note,
    )  # fmt: skip


def _own(reason: Reason, what: str, number: int, note: str) -> Criterion:
    """Of which there must be none, whatever the champion has."""
    verdict = Verdict.WORSE if number else Verdict.AS_GOOD
    return replace(_judged(reason, what, Unit.NUMBER, number, None, verdict, note), allowed=0)


def _numbers(figures: Figures) -> Iterator[tuple[str, float]]:
    """All of them, by a name."""
    for sensor, error in figures.errors.items():
        yield f"error of {sensor}", error
    for where, alarms in (("held-back rows", figures.held_back), ("newest stream", figures.stream)):
        if alarms is not None:
            yield f"alert rate in the {where}", alarms.rate
    if figures.faults is not None:
        yield "faults found", figures.faults.found
        yield "faults found of those compared", figures.faults.found_there
        yield "their delay", figures.faults.delay


ORDER = {reason: number for number, reason in enumerate(Reason)}


def _gravity(criterion: Criterion) -> int:
    return ORDER[Reason(criterion.name)]


# The option that says how much worse is too much; the others allow nothing.
OPTIONS = {
    Reason.ALERT_RATE: "max_alert_rate, alert_rate_margin",
    Reason.STREAM_ALERT_RATE: "alert_rate_margin",
    Reason.ALERTS: "alerts_margin",
    Reason.STREAM_ALERTS: "alerts_margin",
    Reason.FAULTS: "faults_margin",
    Reason.FAULT_DELAY: "delay_margin",
    Reason.ERROR_RATIO: "max_error_ratio",
}


def _refusal(worse: Sequence[Criterion], *, apart: bool) -> str:
    """The gravest, and how many others there are."""
    first, more = worse[0], len(worse) - 1
    text = f"{first.what}: {shown(first.challenger, first.unit)}"
    if first.name == Reason.ALERT_RATE and not apart:
        text += " (of windows from which the threshold was learned, as the history is short)"
    if first.champion is not None and first.unit is not Unit.RATIO:
        text += f", the champion's {shown(first.champion, first.unit)}"
    if first.allowed is not None:
        bound = "at least" if first.name in AT_LEAST else "at most"
        text += f"; must be {bound} {shown(first.allowed, first.unit)}"
    option = OPTIONS.get(Reason(first.name))
    if option:
        text += f" (retrain.gate.{option})"
    if first.note:
        text += f"; {first.note}"
    return f"{text}; {more} more not met" if more else text


AT_LEAST = {Reason.NO_WINDOWS, Reason.FAULTS, Reason.INCIDENTS}


def _share_above(alarms: Alarms, *, apart: bool) -> str:
    windows = f"{alarms.rate:.2%} of {alarms.windows} held-back normal windows"
    if not apart:
        windows += " (from which the threshold was learned, as the history is short)"
    return windows


def _compared(criterion: Criterion) -> str:
    """`synthetic faults found (75% against 50%)`."""
    own, champion = (shown(number, criterion.unit) for number in (criterion.challenger, criterion.champion))
    against = own if criterion.unit is Unit.RATIO else f"{own} against {champion}"
    return f"{criterion.what} ({against})"


def shown(number: float | None, unit: Unit) -> str:
    """A criterion's figure for people."""
    if number is None:
        return "none"
    match unit:
        case Unit.SHARE:
            return f"{number:.2%}"
        case Unit.DAYS:
            return duration(number * DAY) if number else "none"
        case Unit.RATIO:
            return f"{number:.2f}"
        case Unit.NUMBER:
            return f"{number:.3g}"
