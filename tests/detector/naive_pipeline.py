"""A machine's events by definition: every window anew, the alert from the list of all scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from detector.alerts import AlertPolicy, Change, OpenAlert, Severity, alert_id
from detector.blame import NOTHING, SensorShare
from detector.categories import number_of
from detector.clock import ClockFault
from detector.events import (
    AlertChanged,
    ClockFailed,
    Event,
    MachineState,
    NotScored,
    NotScoredReason,
    Scored,
    SensorChanged,
    StateChanged,
    ValueIgnored,
)
from detector.grid import Grid
from detector.health import LIE, Health, HealthPolicy, SensorState
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
class Watching:
    """The health of one machine's sensors, worked out from the list of all samples after each one."""

    made: Manifest
    policy: HealthPolicy
    samples: list[tuple[int, Row]] = field(default_factory=list)
    health: list[list[Health]] = field(default_factory=list)  # what ails each sensor at each sample
    told: list[Health] = field(default_factory=list)  # of each sensor, after the newest sample
    begun: int = 0  # samples before the clock was set back

    def judge(self, slot: int, row: Row) -> list[tuple[Health, float, int, tuple[float | None, ...]]]:
        """Each sensor's health, its last value, its samples and the limit, after one more sample."""
        self.samples.append((slot, row))
        found = [self.sensor(i, name) for i, name in enumerate(self.made.sensors)]
        self.health.append([health for health, *_ in found])
        found = [
            one if one[0] != Health.OK else self.healthy_again(i, slot, one) for i, one in enumerate(found)
        ]
        self.told = [health for health, *_ in found]
        return found

    def healthy_again(
        self, i: int, slot: int, found: tuple[Health, float, int, tuple[float | None, ...]]
    ) -> tuple[Health, float, int, tuple[float | None, ...]]:
        """The same, but for the health that was told before while what ailed lies in the window."""
        ailing = self.in_window(i, slot, frozenset(Health) - {Health.OK})
        return (self.told[i], *found[1:]) if ailing else found

    def sensor(self, i: int, name: str) -> tuple[Health, float, int, tuple[float | None, ...]]:
        column = [row[i] for _, row in self.samples]
        shown = [value for value in column if not math.isnan(value)]
        value = shown[-1] if shown else math.nan
        same = len(list(takewhile(lambda one: one == value, reversed(shown))))
        absent = len(list(takewhile(math.isnan, reversed(column))))
        policy, kind = self.policy, self.made.channels.get(name)
        low, high = policy.limits.get(name, (-math.inf, math.inf))
        if name in policy.ignored:
            return Health.OK, value, same, ()
        if absent > (limit := self.samples_of(policy.silent_after)):
            return Health.SILENT, value, absent, (limit,)
        if (value < low or value > high) and (kind is None or kind.kind == "angle"):
            ends = tuple(None if math.isinf(end) else end for end in (low, high))
            return Health.OUT_OF_RANGE, value, same, ends
        if same > (limit := self.samples_of(policy.stuck_after)) and kind is None:
            return Health.STUCK, value, same, (limit,)
        return Health.OK, value, same, ()

    def samples_of(self, wished: object) -> float:
        if wished is None or wished == "auto":
            return math.inf  # nothing is learned here
        assert isinstance(wished, int)
        return math.ceil(wished / self.made.grid.interval)

    def left_out(self, end: int) -> list[bool]:
        """The sensors that were not healthy at any sample of the window that ends in a slot."""
        return [self.policy.leave_out and self.in_window(i, end, LIE) for i in range(len(self.made.sensors))]

    def in_window(self, i: int, end: int, healths: frozenset[Health]) -> bool:
        """Whether a sensor was so at any sample of the window that ends in a slot."""
        return any(
            health[i] in healths and end - self.made.window.length < slot <= end
            for (slot, _), health in list(zip(self.samples, self.health, strict=True))[self.begun :]
        )


@dataclass
class Following:
    """The events of one machine, but for the readings that were dropped."""

    machine: str
    made: Manifest
    grid: Grid
    model: Autoencoder
    alerting: Alerting
    watching: Watching
    events: list[Event] = field(default_factory=list)
    state: MachineState | None = None
    since: int = 0
    unhealthy: dict[str, SensorState] = field(default_factory=dict)

    def sense(self, at: int, slot: int, row: Row) -> None:
        """Says whose health has changed."""
        before = self.watching.told or [Health.OK] * len(row)
        changed = False
        for i, (health, value, count, limit) in enumerate(self.watching.judge(slot, row)):
            if health == before[i]:
                continue
            sensor, changed = self.made.sensors[i], True
            since = self.unhealthy[sensor].since if sensor in self.unhealthy else at
            self.unhealthy.pop(sensor, None)
            if health != Health.OK:
                self.unhealthy[sensor] = SensorState(sensor, health, since)
            said = self.value(value, sensor)
            self.events.append(
                SensorChanged(
                    self.machine, at, sensor, health, before[i], since, said, count, limit, self.made.id
                )
            )
        if changed and self.state is not None:
            self.present(at)

    def stretch(self, samples: Sequence[tuple[int, Row]]) -> None:
        """Judges all windows of samples without a hole."""
        smoothed: list[float] | None = None
        first = True
        for slot, row in samples:
            at = self.grid.interval * slot + self.grid.phase
            for sensor in strange(row, self.made):
                self.events.append(ValueIgnored(self.machine, at, sensor, Ignored.NEW_CATEGORY))
            self.sense(at, slot, row)
            rows = window(samples, slot, self.made.window.length)
            if rows is None:
                self.no_score(at, NotScoredReason.WARMING_UP, MachineState.WARMING_UP)
            elif slot % self.made.window.stride == 0:
                if first:
                    self.alerting.scores, first = [], False
                left_out = self.watching.left_out(slot)
                if smoothed is not None:
                    smoothed = [0.0 if out else part for part, out in zip(smoothed, left_out, strict=True)]
                kept = [
                    tuple(math.nan if out else value for value, out in zip(row, left_out, strict=True))
                    for row in rows
                ]
                smoothed = self.judge(at, kept, row, smoothed)

    def judge(
        self, at: int, rows: Sequence[Row], newest: Row, smoothed: list[float] | None
    ) -> list[float] | None:
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
                    self.value(newest[i], name),
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
        if channel and channel.kind == "category":
            return {number_of(text): text for text in channel.categories}.get(value)
        return None if math.isnan(value) else value

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
        sensors = tuple(one for _, one in sorted(self.unhealthy.items()))
        self.events.append(
            StateChanged(self.machine, at, self.state, self.since, self.made.id, alert, sensors)
        )


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
    health: HealthPolicy,
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
    following = Following(machine, made, made.grid, model, Alerting(machine, policy), Watching(made, health))
    for number, era in enumerate(eras(from_now, made, stream)):
        if number:
            following.events.append(ClockFailed(era.accepted[0], ClockFault.SET_BACK))
            following.watching.begun = len(following.watching.samples)
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
