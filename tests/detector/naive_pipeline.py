"""A machine's events by definition: every window anew, the alert from the list of all scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.alerts import AlertPolicy, Change, OpenAlert, Severity, alert_id
from detector.blame import NOTHING, SensorShare
from detector.channels import number_of
from detector.clock import ClockFault
from detector.events import (
    AlertChanged,
    ClockFailed,
    Event,
    MachineState,
    NotScored,
    NotScoredReason,
    Scored,
    StateChanged,
    ValueIgnored,
)
from detector.grid import Grid
from detector.manifest import Manifest
from detector.reading import Dropped, Ignored, Reading
from detector.scoring import SCORE_DIGITS, Autoencoder
from detector.stream import StreamPolicy
from tests.detector.naive import Row, Sampling, counted, known, shares, strange, stretches, total, window


@dataclass
class Alerting:
    """One machine's alert, worked out from the list of its scores."""

    machine: str
    policy: AlertPolicy
    scores: list[float] = field(default_factory=list)  # since the last closing or the last hole
    alert: OpenAlert | None = None

    def observe(self, at: int, score: float) -> tuple[Change, OpenAlert] | None:
        self.scores.append(score)
        policy, alert = self.policy, self.alert
        severity = Severity.CRITICAL if score >= policy.critical_score else Severity.WARNING
        if alert is None:
            anomalies = sum(s > 1 for s in self.scores[-policy.open_within :])
            if score > 1 and anomalies >= policy.open_after:
                peak = max(self.scores[-policy.open_within :])
                severity = Severity.CRITICAL if peak >= policy.critical_score else Severity.WARNING
                self.alert = OpenAlert(alert_id(self.machine, at), at, peak, severity, at)
                return Change.OPENED, self.alert
            return None
        newest = self.scores[-policy.close_after :]
        if len(newest) == policy.close_after and all(s < policy.close_score for s in newest):
            self.alert, self.scores = None, []
            return Change.CLOSED, alert
        worse = alert.severity == Severity.WARNING and severity == Severity.CRITICAL
        due = policy.repeat_every is not None and at >= alert.published_at + policy.repeat_every
        self.alert = OpenAlert(
            alert.id,
            alert.opened_at,
            max(alert.peak_score, score),
            Severity.CRITICAL if worse else alert.severity,
            at if worse or due else alert.published_at,
        )
        return (Change.UPDATED, self.alert) if worse or due else None


@dataclass
class Following:
    """The events of one machine, but for the readings that were dropped."""

    machine: str
    made: Manifest
    grid: Grid
    model: Autoencoder
    alerting: Alerting
    events: list[Event] = field(default_factory=list)
    state: MachineState | None = None
    since: int = 0

    def stretch(self, samples: Sequence[tuple[int, Row]]) -> None:
        """Judges all windows of samples without a hole."""
        smoothed: list[float] | None = None
        first = True
        for slot, row in samples:
            at = self.grid.interval * slot + self.grid.phase
            for sensor in strange(row, self.made):
                self.events.append(ValueIgnored(self.machine, at, sensor, Ignored.NEW_CATEGORY))
            rows = window(samples, slot, self.made.window.length)
            if rows is None:
                self.no_score(at, NotScoredReason.WARMING_UP, MachineState.WARMING_UP)
            elif slot % self.made.window.stride == 0:
                if first:
                    self.alerting.scores, first = [], False
                smoothed = self.judge(at, rows, smoothed)

    def judge(self, at: int, rows: Sequence[Row], smoothed: list[float] | None) -> list[float] | None:
        """Judges one window; returns the smoothed shares for the next one."""
        made = self.made
        rows = [known(row, made) for row in rows]
        cells = [math.isnan(value) for row in rows for value in row]
        coverage = (len(cells) - sum(cells)) / len(cells)
        if coverage < made.window.min_coverage or all(cells):
            self.no_score(at, NotScoredReason.LOW_COVERAGE, MachineState.DEGRADED)
            return smoothed
        parts, expected = shares(rows, made, self.model)
        if smoothed is not None:
            w = made.error.smoothing
            parts = [w * old + (1 - w) * new for old, new in zip(smoothed, parts, strict=True)]
        error = total(parts, made.error.kind)
        score = round(error / made.threshold.value, SCORE_DIGITS)
        imputed = tuple(n for i, n in enumerate(made.sensors) if any(math.isnan(row[i]) for row in rows))
        self.events.append(Scored(self.machine, at, error, score, score > 1, coverage, imputed))
        changed = self.alerting.observe(at, score)
        if changed is not None:
            change, alert = changed
            sensors = [
                SensorShare(
                    name,
                    parts[i] / sum(parts) if sum(parts) > NOTHING else 1 / len(parts),
                    self.value(rows[-1][i], name),
                    expected[i],
                )
                for i, name in enumerate(made.sensors)
            ]
            self.events.append(
                AlertChanged(
                    id=alert.id,
                    machine=self.machine,
                    change=change,
                    severity=alert.severity,
                    at=at,
                    opened_at=alert.opened_at,
                    score=score,
                    peak_score=alert.peak_score,
                    reconstruction_error=error,
                    threshold=made.threshold.value,
                    sensors=tuple(sorted(sensors, key=lambda sensor: -sensor.contribution)),
                    coverage=coverage,
                    imputed=imputed,
                    model=made.id,
                )
            )
            if change is Change.UPDATED and self.state is MachineState.ALERT:
                self.present(at)
        self.enter(at, MachineState.NORMAL)
        return parts

    def value(self, value: float, sensor: str) -> float | str | None:
        channel = self.made.channels.get(sensor)
        texts = {number_of(text): text for text in channel.categories} if channel else {}
        return None if math.isnan(value) else texts.get(value, value)

    def no_score(self, at: int, reason: NotScoredReason, state: MachineState) -> None:
        self.events.append(NotScored(self.machine, at, reason))
        self.enter(at, state)

    def enter(self, at: int, state: MachineState) -> None:
        state = MachineState.ALERT if self.alerting.alert else state
        if state != self.state:
            self.state, self.since = state, at
            self.present(at)

    def present(self, at: int) -> None:
        assert self.state is not None
        alert = self.alerting.alert
        self.events.append(StateChanged(self.machine, at, self.state, self.since, self.made.id, alert))


def phase_of(made: Manifest, readings: Sequence[Reading]) -> Grid:
    """The bundle's grid, or one with the machine's phase where that is more than a quarter slot away."""
    first = next((r for r in readings if set(r.sensors) & set(made.sensors)), None)
    if first is None:
        return made.grid
    interval = made.grid.interval
    distance = min((first.at - made.grid.phase) % interval, (made.grid.phase - first.at) % interval)
    return made.grid if distance <= interval // 4 else Grid(interval, first.at % interval)


def follow(
    machine: str,
    readings: Sequence[Reading],
    made: Manifest,
    model: Autoencoder,
    stream: StreamPolicy,
    policy: AlertPolicy,
) -> list[Event]:
    """All events of one machine, but for the readings that were dropped."""
    from_now = [
        r
        for r in readings
        if r.received_at is None
        or (
            r.at - r.received_at <= stream.max_ahead
            and (stream.max_behind is None or r.received_at - r.at <= stream.max_behind)
        )
    ]
    following = Following(machine, made, made.grid, model, Alerting(machine, policy))
    for number, era in enumerate(eras(from_now, made, stream)):
        if number:
            following.events.append(ClockFailed(era.accepted[0], ClockFault.SET_BACK))
            following.alerting.machine = f"{machine}\0{number}"
        following.grid = era.grid
        for samples in stretches(counted(era.samples, made), made.window.max_gap):
            following.stretch(samples)
    return following.events


def eras(readings: Sequence[Reading], made: Manifest, stream: StreamPolicy) -> list[Sampling]:
    """The samples from one moment at which the clock was set back to the next."""
    found = [Sampling(made.sensors, phase_of(made, readings), stream.lateness)]
    wait = max(stream.clock_wait, 3 * made.grid.interval)
    late: list[tuple[int, int]] = []  # time and arrival of those that came too late, in a row
    for i, reading in enumerate(readings):
        outcome = found[-1].feed(reading)
        if not isinstance(outcome, Dropped):
            late = []
            continue
        if outcome is Dropped.NO_KNOWN_SENSOR or reading.received_at is None:
            continue
        late.append((reading.at, reading.received_at))
        own, arrival = (new - old for new, old in zip(late[-1], late[0], strict=True))
        if own < 0 or own > 1.1 * arrival + 5_000:
            late = [late[-1]]
        elif len(late) >= 10 and own >= wait:
            found.append(Sampling(made.sensors, phase_of(made, readings[i:]), stream.lateness))
            found[-1].feed(reading)
            late = []
    return found
