"""Challenger and champion look at the same rows; the gate decides by what they say."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from config.policies import alert_policy, milliseconds
from detector.labels import LabelKind
from trainer.gate import Decision, Figures, Seen, decide
from trainer.measures import Course, courses, levelled, together, unit_errors, varying
from trainer.probes import EACH, LASTING, deviations, find, probes
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.settings import Settings
    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.labels import Label
    from detector.scoring import Detector
    from registry.incidents import Incident
    from trainer.leaving_out import Span
    from trainer.measures import Course
    from trainer.probes import Probe

MOST_STREAM = 50_000  # rows of all machines: what two detectors replay in some seconds
LEAST_STREAM = 500  # rows of a machine, so that its alerts can be counted
# Not the machine's doing, or an alert that is right: no detector is blamed for one there.
NOT_COUNTED = {LabelKind.CONFIRMED, LabelKind.EXCLUDED, LabelKind.OFF, LabelKind.MAINTENANCE}


@dataclass(frozen=True, slots=True, eq=False)
class Newest:
    """The newest stored readings of one machine, those in alert as well.

    Attributes:
        history: The rows.
        labels: What people said about them.
    """

    history: History
    labels: tuple[Label, ...] = ()

    @property
    def left_out(self) -> list[Span]:
        """Stretches in which alerts are nobody's fault."""
        return [(one.start, one.end) for one in self.labels if one.kind in NOT_COUNTED]


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """The rows by which both are judged.

    Attributes:
        normal: All normal rows of each machine.
        held_back: Those of them that the challenger was not fitted on.
        apart: Whether its threshold was learned from other rows.
        stream: The newest stored readings, of each machine.
        incidents: Those that were confirmed.
        notes: What people should know about the rows.
    """

    normal: tuple[History, ...]
    held_back: tuple[History, ...]
    apart: bool = True
    stream: tuple[Newest, ...] = ()
    incidents: tuple[Incident, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What came of it.

    Attributes:
        decision: Whether the challenger is to serve.
        grounds: The rows.
        challenger: What it said about the newest stream, by machine; empty without a champion.
        champion: The same of the champion.
        seconds: How long it took.
    """

    decision: Decision
    grounds: Grounds
    challenger: Mapping[str, Course]
    champion: Mapping[str, Course]
    seconds: float


def judge(
    challenger: Detector,
    champion: Detector | None,
    grounds: Grounds,
    settings: Settings,
    *,
    equal_will_do: bool = False,
    each: int = EACH,
) -> Judged:
    """Replays the rows through both detectors, and decides.

    Args:
        challenger: Is to serve.
        champion: Serves; None: nothing does.
        grounds: The rows.
        settings: Of which `alerts`, `retrain.gate` and `trainer.seed` are used.
        equal_will_do: See `decide`.
        each: See `probes`.
    """
    started = time.monotonic()
    alerts = alert_policy(settings)
    some: tuple[Probe, ...] = ()
    if champion is not None:
        both = (challenger, champion)
        may_fail = deviations(grounds.normal, both)
        some = probes(
            grounds.normal,
            grounds.held_back,
            both,
            alerts,
            deviations=may_fail,
            each=each,
            seed=settings.trainer.seed,
        )
    else:
        grounds = replace(grounds, stream=(), incidents=())
    own, seen = _figures(challenger, grounds, alerts)
    other, before = (None, {}) if champion is None else _figures(champion, grounds, alerts)
    if champion is not None and other is not None:
        if some:
            # The one whose threshold is lower finds more, and is no better for it.
            if settings.retrain.gate.equal_alarms:
                both = (
                    levelled(challenger, grounds.held_back, alerts),
                    levelled(champion, grounds.held_back, alerts),
                )
            found, known = (find(one, some, alerts) for one in both)
            own = replace(own, faults=found.among(known.calm))
            other = replace(other, faults=known.among(known.calm))
        rows = (*grounds.held_back, *(one.history for one in grounds.stream))
        moving = varying(rows)
        lost = [
            name
            for name in champion.manifest.sensors
            if name in moving and name not in challenger.manifest.sensors
        ]
        own = replace(own, lost=lost)
    decision = decide(own, other, settings.retrain.gate, apart=grounds.apart, equal_will_do=equal_will_do)
    return Judged(decision, grounds, seen, before, time.monotonic() - started)


def _figures(
    detector: Detector, grounds: Grounds, alerts: AlertPolicy
) -> tuple[Figures, Mapping[str, Course]]:
    """What a detector says about all rows but those with faults, and its course over the newest stream."""
    manifest = detector.manifest
    clean = courses(detector, grounds.held_back, alerts)
    seen = courses(detector, [one.history for one in grounds.stream], alerts)
    alarms = [seen[one.history.machine].alarms(manifest, one.left_out) for one in grounds.stream]
    figures = Figures(
        held_back=together(course.alarms(manifest) for course in clean.values()),
        errors=unit_errors(detector, grounds.held_back),
        stream=together(alarms) if alarms else None,
        incidents=_seen(detector, grounds.incidents, alerts),
    )
    return figures, seen


def _seen(detector: Detector, incidents: Sequence[Incident], alerts: AlertPolicy) -> dict[str, Seen]:
    """What a detector says about each incident, by its name.

    An alert may open a little before the first moment that somebody named, and a little after the last
    one. One that was open before that is no sign of the incident.
    """
    cases = [replace(one.history, machine=f"{number}") for number, one in enumerate(incidents)]
    found = courses(detector, cases, alerts)
    window, interval = detector.manifest.window, detector.manifest.grid.interval
    after = (window.length + window.stride * alerts.open_within) * interval
    seen = {}
    for number, one in enumerate(incidents):
        spans = found[f"{number}"].alerts
        if any(one.start - LASTING * interval <= start <= one.end + after for start, _ in spans):
            seen[one.name] = Seen.FOUND
        elif any(start < one.start and (end is None or end >= one.start) for start, end in spans):
            seen[one.name] = Seen.IN_ALARM
        else:
            seen[one.name] = Seen.MISSED
    return seen


def newest(
    stored: Sequence[Newest], settings: Settings, *, since: int | None = None
) -> tuple[tuple[Newest, ...], str]:
    """The newest rows of what is stored, as many as can be replayed in a few seconds.

    Args:
        stored: All of each machine.
        settings: Of which `retrain.gate.stream` is used.
        since: In place of that the first moment, in milliseconds since the epoch.

    Returns:
        The rows, and what they are, in words.
    """
    span = settings.retrain.gate.stream
    some = [one for one in stored if len(one.history)]
    if not some or (span is None and since is None):
        return (), ""
    if since is None:
        assert span is not None
        last = max(int(one.history.at[-1]) for one in some)
        since = last - milliseconds(span)
    some = [replace(one, history=one.history.rows(one.history.at >= since)) for one in some]
    some = sorted((one for one in some if len(one.history)), key=lambda one: -len(one.history))
    machines, rows = len(some), sum(len(one.history) for one in some)
    if not some:
        return (), ""
    some = some[: MOST_STREAM // LEAST_STREAM]
    most = MOST_STREAM // len(some)
    cut = tuple(replace(one, history=one.history.rows(slice(-most, None))) for one in some)
    looked_at = sum(len(one.history) for one in cut)
    text = f"newest stream: {counted(looked_at, 'row')} of {counted(len(cut), 'machine')}"
    if looked_at < rows:
        text += f", the newest of {rows:,} rows of {counted(machines, 'machine')}, as more take too long"
    if span is not None:
        text += f"; {duration(max(int(one.history.at[-1]) for one in cut) - since)} at most"
    return cut, text
