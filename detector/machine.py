"""One machine's part of the pipeline: its sampler, its window, its alert and its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.alerts import (
    Acknowledged,
    AlertPolicy,
    AlertTracker,
    Change,
    OpenAlert,
    OpenSilence,
    Reason,
    Shelf,
)
from detector.blame import SensorShare, blame
from detector.clock import ClockFault, Overtaken
from detector.events import (
    AlertChanged,
    Event,
    MachineState,
    ModeOrdered,
    NotScored,
    NotScoredReason,
    Scored,
    SensorChanged,
    SilenceChanged,
    StateChanged,
)
from detector.grid import Grid
from detector.health import Health, Noted, SensorState
from detector.modes import Mode, Operation, OperationPolicy, Ordered
from detector.reading import Dropped, Reading
from detector.sampler import Sample, Sampler
from detector.scoring import Detector
from detector.silence import Silence
from detector.stream import StreamPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from detector.fleet import Fleet, Window
    from detector.health import Change as HealthChange
    from detector.scoring import Scores


CLOCK_INTERVALS = 3  # that a clock must go on for after it was set back, where they are long
MARGIN = 4  # slots: times are rounded to slots, twice
SILENT_INTERVALS = 3  # readings in a row that fail to come before a machine is called silent


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What stored readings do not tell about a machine, to go on after a restart.

    Attributes:
        model: Id of the bundle that scored; None without one.
        grid: The machine's grid, in which `emitted` is counted; None before the first sample.
        emitted: The newest settled slot.
        smoothed: Each sensor's smoothed part of the error; None when the next window starts anew.
        alerts: The alert and what leads to the next one.
        state: The present state.
        since: Since when, in milliseconds since the epoch.
        era: How often the machine's clock was set back.
        overtaken: The readings since the last one that was not too late.
        silence: The alert about the machine's silence.
        unhealthy: Sensors that are not healthy, by name.
        stretches: How long each sensor has shown the same value or none; see `Watch.stretches`.
        noted: What another bundle must know of some sensors.
        operation: Whether the machine is watched.
        shelf: For how long its alerts are shelved.
        newest: Time of its newest reading; 0: not known.
    """

    model: str | None
    grid: Grid | None
    emitted: int | None
    smoothed: tuple[float, ...] | None
    alerts: AlertTracker
    state: MachineState | None
    since: int
    era: int = 0
    overtaken: Overtaken | None = None
    silence: OpenSilence | None = None
    unhealthy: dict[str, SensorState] = {}
    stretches: bytes = b""
    noted: dict[str, Noted] = {}
    operation: Operation | None = None
    shelf: Shelf | None = None
    newest: int = 0


class Machine:
    """Follows one machine: `take` leads to samples, which go into its fleet's windows, `judge` to events.

    Between the two the fleet scores the windows of many machines at once.
    """

    def __init__(
        self, name: str, stream: StreamPolicy, policy: AlertPolicy, operation: OperationPolicy
    ) -> None:
        self.name = name
        self.alerts = AlertTracker()
        self.state: MachineState | None = None  # until the first reading
        self.since = 0
        self.newest = 0  # time of the newest reading that was taken, by the machine's clock
        self.era = 0
        self.overtaken: Overtaken | None = None
        self.silence = Silence(name)
        self.operation = Operation()
        self.shelf: Shelf | None = None
        self.unhealthy: dict[str, SensorState] = {}
        self.detector: Detector | None = None
        self.window: Window | None = None
        self._stream = stream
        self._policy = policy
        self._operation = operation
        self.operation.judge_by(operation.running_when)

    def serve(self, fleet: Fleet | None) -> None:
        """Starts anew in this fleet: the window is empty, an open alert stays open."""
        if self.window is not None:
            self.window.leave()
        self.detector = None if fleet is None else fleet.detector
        self.window = None if fleet is None else fleet.join()
        self.grid: Grid | None = None  # until the first reading tells the machine's phase

    def take(self, reading: Reading) -> list[Sample] | Dropped:
        """Takes a reading; returns the samples that it completes, or why it was dropped."""
        received_at = reading.received_at
        if received_at is not None:
            misplaced = self._stream.misplaced(reading.at, received_at)
            if misplaced is not None:
                return misplaced
        taken = [] if self.detector is None else self._sample(reading, self.detector)
        if isinstance(taken, Dropped):
            return taken
        if reading.at > self.newest:  # noqa: PLR1730 - `max` takes a tenth of a microsecond more
            self.newest = reading.at
        if received_at is not None:
            self.overtaken, self.silence.heard = None, True
        return taken

    def judge_clock(self, reading: Reading, reason: Dropped) -> ClockFault | None:
        """What a reading that was dropped proves, with those before it, about the machine's clock."""
        if reading.received_at is None or reason not in {Dropped.LATE, Dropped.DUPLICATE}:
            return None
        if self.overtaken is None:
            self.overtaken = Overtaken(reading.at, reading.received_at)
            return None
        assert self.detector is not None
        wait = max(self._stream.clock_wait, CLOCK_INTERVALS * self.detector.manifest.grid.interval)
        self.overtaken, fault = self.overtaken.then(reading.at, reading.received_at, wait=wait)
        return fault

    def begin_again(self, fleet: Fleet | None, at: int) -> list[Event]:
        """Starts anew, at a time of the machine's, with times that may come a second time."""
        window, before, ended = self.window, self.operation.ordered, self.newest
        stretches = b"" if window is None else window.fleet.watch.stretches(window.place)
        self.serve(fleet)
        self._restore_health(stretches, {})
        self.operation.begin_again()
        self.newest = 0
        self.era += 1
        if before is None:
            return []
        # What was ordered holds on, in the other time: the present one says nothing about it.
        self.operation.ordered = msgspec.structs.replace(before, start=at)
        return [ModeOrdered(self.name, ended or before.start, before, self.operation.ordered)]

    def _sample(self, reading: Reading, detector: Detector) -> list[Sample] | Dropped:
        first = self.grid is None
        if first:
            self._begin(detector.manifest.grid.of_machine(reading.at))
        samples = self._sampler.feed(reading)
        if isinstance(samples, Dropped):
            if first:
                self.grid = None
            if samples is Dropped.NO_KNOWN_SENSOR:
                return self._of_condition(reading)
            if not first and samples is Dropped.LATE and self._holds(reading):
                return Dropped.DUPLICATE
        return samples

    def _of_condition(self, reading: Reading) -> list[Sample] | Dropped:
        """Takes a reading of which the bundle knows no sensor, but the condition does."""
        condition = self._operation.running_when
        if condition is None or condition.sensors.isdisjoint(reading.sensors):
            return Dropped.NO_KNOWN_SENSOR
        return [] if self.operation.news(reading, condition) else Dropped.DUPLICATE

    def _begin(self, grid: Grid) -> None:
        assert self.detector is not None
        manifest = self.detector.manifest
        self.grid = grid
        self._sampler = Sampler(
            manifest.sensors,
            grid,
            max_gap=manifest.window.max_gap,
            lateness=self._stream.lateness,
            counters=self.detector.columns.counters,
        )

    def _holds(self, reading: Reading) -> bool:
        """Whether the window has a value for all that the reading brings."""
        assert self.grid is not None
        assert self.window is not None
        assert self.detector is not None
        starts = self.detector.columns.starts
        row = self.window.row(self.grid.slot(reading.at))
        if row is None:
            return False
        return not any(
            np.isnan(row[starts[column]]) and not np.isnan(reading.values[source])
            for column, source in self._sampler.layout(reading.sensors).columns
        )

    def outlived(self, at: int) -> bool:
        """Whether a time is so old that nothing of it is needed to rebuild the window after a restart."""
        if self.detector is None or self.grid is None or self._sampler.emitted is None:
            return True
        window = self.detector.manifest.window
        slots = window.length + window.max_gap + MARGIN
        oldest = self.grid.time(self._sampler.emitted - slots) - self._stream.lateness
        return at < oldest

    def wait(self, at: int, *, learning: bool) -> list[Event]:
        """Says that a reading came, without a model."""
        return self._enter(MachineState.LEARNING if learning else MachineState.NO_MODEL, at)

    def turns(self, reading: Reading) -> bool:
        """Whether `turn` is due with a reading that was taken; nothing may wait to be judged then."""
        condition, operation = self._operation.running_when, self.operation
        if condition is not None and operation.note(reading, condition):
            return operation.turns() or operation.held(condition) is not operation.holds
        return operation.turns()

    def turn(self, reading: Reading) -> list[Event]:
        """Begins or ends a rest with a reading."""
        condition, operation = self._operation.running_when, self.operation
        if condition is not None:
            operation.holds = operation.held(condition)
        if not operation.turns():  # what was ordered goes before the condition
            return []
        operation.turn(
            reading.at if self.grid is None else self.grid.time(self.grid.slot(reading.at)),
            self._operation.settle,
        )
        return self._rest(reading.at) if operation.mode is not Mode.RUNNING else []

    def _rest(self, at: int) -> list[Event]:
        """What is said when the machine is watched no longer: an open alert closes."""
        alert = self.alerts.close()
        closed = [] if alert is None else [self._closed(alert, at)]
        return [*closed, *self._enter(MachineState.OFF, at)]

    def order(self, mode: Mode, *, now: int, by: str, note: str, until: int | None) -> list[Event]:
        """Puts the machine in a mode, from after its newest reading on."""
        before, at = self.operation.ordered, self.newest or now
        known = before is not None and (before.mode, before.until, before.by, before.note) == (
            mode,
            until,
            by,
            note,
        )
        if known or (before is None and mode is Mode.RUNNING):
            return []
        begun = None if mode is Mode.RUNNING else Ordered(mode, at, now, until, by, note)
        self.operation.ordered = begun
        events: list[Event] = [ModeOrdered(self.name, at, before, begun)]
        if begun is not None:
            self.operation.rest(at + 1)
            if self.silence.alert is not None:
                events.append(self._silence(Change.CLOSED, self.silence.end(), now))
            events += self._rest(at)
        if not isinstance(events[-1], StateChanged) and self.state is not None:
            events.append(self.present(at))
        return events

    def rest(self, at: int) -> list[Event]:
        """Says that a sample came while the machine was not watched, or had not settled."""
        running = self.operation.mode is Mode.RUNNING
        reason = NotScoredReason.WARMING_UP if running else NotScoredReason.OFF
        return self._not_scored(at, reason, MachineState.WARMING_UP)

    def acknowledge(self, acknowledged: Acknowledged) -> list[Event]:
        """Notes that somebody has seen what is open."""
        if self.alerts.alert is not None:
            self.alerts.alert = msgspec.structs.replace(self.alerts.alert, acknowledged=acknowledged)
        elif self.silence.alert is not None:
            self.silence.alert = msgspec.structs.replace(self.silence.alert, acknowledged=acknowledged)
        else:
            return []
        return self._presented(acknowledged.at)

    def put_on_shelf(self, shelf: Shelf | None, now: int) -> list[Event]:
        """Shelves the machine's alerts, or (None) does so no longer."""
        if shelf == self.shelf:
            return []
        self.shelf = shelf
        return self._presented(now)

    def _presented(self, at: int) -> list[Event]:
        return [] if self.state is None else [self.present(at)]

    def warm_up(self, at: int) -> list[Event]:
        """Says that a sample came, without a full window."""
        return self._not_scored(at, NotScoredReason.WARMING_UP, MachineState.WARMING_UP)

    def sense(self, at: int, changes: Iterable[HealthChange]) -> list[Event]:
        """Says that a sample has shown sensors not to be as healthy as they were, or to be so again."""
        assert self.detector is not None
        assert self.window is not None
        manifest, events = self.detector.manifest, []
        unhealthy = dict(self.unhealthy)
        for change in changes:
            sensor, health = manifest.sensors[change.column], change.health
            before = unhealthy.pop(sensor, None)
            since = at if before is None else before.since
            if health is not Health.OK:
                unhealthy[sensor] = SensorState(sensor, health, since)
            events.append(
                SensorChanged(
                    machine=self.name,
                    at=at,
                    sensor=sensor,
                    health=health,
                    was=change.was,
                    since=since,
                    value=self.detector.columns.say_one(change.column, change.value),
                    samples=change.samples,
                    limit=self.window.fleet.watch.limit(change.column, health),
                    model=manifest.id,
                )
            )
        self.unhealthy = dict(sorted(unhealthy.items()))
        return [*events, *([self.present(at)] if self.state is not None else [])]

    def judge(self, at: int, values: NDArray[np.float64], scores: Scores, row: int) -> list[Event]:
        """Judges a scored window.

        Args:
            at: When it ended.
            values: Its newest sample, shape (F,); NaN where missing.
            scores: Those of many windows.
            row: Its row there.
        """
        assert self.detector is not None
        manifest = self.detector.manifest
        if scores.fresh[row]:
            self.alerts.forget_recent()
        if not scores.usable[row]:
            enough = manifest.window.scorable(scores.coverage[row])
            reason = NotScoredReason.NOT_FINITE if enough else NotScoredReason.LOW_COVERAGE
            return self._not_scored(at, reason, MachineState.DEGRADED)
        score = scores.score[row]
        scored = Scored(
            self.name, at, scores.error[row], score, score > 1, scores.coverage[row], scores.imputed(row)
        )
        events: list[Event] = [scored]
        operation = self.operation
        if operation.rests_from is not None and operation.mode is not Mode.RUNNING:
            return events  # a sample from before, which was settled late
        # Of two alerts of one instant, before a clock was set back and after, each has a name of its own.
        source = f"{self.name}\0{self.era}" if self.era else self.name
        shelved = self.shelf is not None
        changed = self.alerts.observe(source, at, score, self._policy, shelved=shelved)
        if changed is not None:
            said = self.detector.columns.say(values)
            expected = self.detector.expected(scores.errors.last[row])
            changed = self._reasoned(*changed, self.detector.reason(scores.errors.last[row]))
            events.append(
                self._alert(*changed, scored, blame(manifest.sensors, scores.share[row], said, expected))
            )
            if changed[0] is Change.UPDATED and self.state is MachineState.ALERT:
                events.append(self.present(at))
        events += self._enter(MachineState.NORMAL, at)
        return events

    def _reasoned(self, change: Change, alert: OpenAlert, reason: Reason) -> tuple[Change, OpenAlert]:
        """The same with the reason, where it just opened."""
        if change is Change.OPENED and reason is not alert.reason:
            self.alerts.alert = alert = msgspec.structs.replace(alert, reason=reason)
        return change, alert

    def present(self, at: int) -> StateChanged:
        """The state, once there is one, for who asks at the time `at`."""
        assert self.state is not None
        model = self.detector.manifest.id if self.detector else None
        alert = self.alerts.alert or self.silence.alert
        sensors, ordered = tuple(self.unhealthy.values()), self.operation.ordered
        return StateChanged(self.name, at, self.state, self.since, model, alert, sensors, self.shelf, ordered)

    def shift_clock(self, step: int) -> bool:
        """Takes into account that our clock was set; returns whether that changes the snapshot."""
        changed = self.silence.shift_clock(step)
        if self.overtaken is not None:
            received_at = self.overtaken.received_at + step
            self.overtaken = msgspec.structs.replace(self.overtaken, received_at=received_at)
        if self.shelf is not None:
            self.shelf = msgspec.structs.replace(self.shelf, until=self.shelf.until + step)
        ordered = self.operation.ordered
        if ordered is not None and ordered.until is not None:
            self.operation.ordered = msgspec.structs.replace(ordered, until=ordered.until + step)
        return changed or any(each is not None for each in (self.overtaken, self.shelf, ordered))

    def tick(self, now: int) -> list[Event]:
        """Looks at the clock: the machine may be silent, and what was ordered for a time may end."""
        events: list[Event] = []
        if self.shelf is not None and now >= self.shelf.until:
            events += self.put_on_shelf(None, now)
        ordered = self.operation.ordered
        if ordered is not None and ordered.until is not None and now >= ordered.until:
            events += self.order(Mode.RUNNING, now=now, by="", note="", until=None)
        return events + self._look_for_silence(now)

    def _look_for_silence(self, now: int) -> list[Event]:
        """Makes the machine silent if nothing usable has come for too long, counted from the first call."""
        if self.operation.ordered is not None:
            self.silence.heard = True  # nobody waits for it
        silent = self.silence.look(now, self._silent_after()) and self.operation.mode is Mode.RUNNING
        changed = silent and self.state is not MachineState.SILENT
        if changed:
            self.state, self.since = MachineState.SILENT, now
        told = self.silence.tell(now, self._policy, silent=silent, shelved=self.shelf is not None)
        events: list[Event] = [] if told is None else [self._silence(*told, now)]
        return [*events, self.present(now)] if changed or events else []

    def end_silence(self, now: int) -> list[Event]:
        """Closes the alert about the machine's silence, which must be open."""
        return [self._silence(Change.CLOSED, self.silence.end(), now), self.present(now)]

    def _silence(self, change: Change, silence: OpenSilence, now: int) -> SilenceChanged:
        model = self.detector.manifest.id if self.detector else None
        hidden = silence.hidden or (self.shelf is not None and change is not Change.CLOSED)
        return SilenceChanged(
            silence.id, self.name, change, now, silence.opened_at, model, silence.acknowledged, hidden
        )

    def _silent_after(self) -> int | None:
        """Milliseconds without a reading after which the machine is silent; None: it never is."""
        limit = self._stream.silent_after
        if limit is None or self.detector is None:
            return limit
        # A machine that reports once an hour is not silent in between.
        return max(limit, SILENT_INTERVALS * self.detector.manifest.grid.interval)

    def snapshot(self) -> Snapshot:
        """The state to store together with the readings taken so far."""
        before = None if self.window is None else self.window.smoothed
        return Snapshot(
            model=self.detector.manifest.id if self.detector else None,
            grid=self.grid,
            emitted=self._sampler.emitted if self.grid else None,
            smoothed=None if before is None else tuple(before.tolist()),
            alerts=msgspec.structs.replace(self.alerts),
            state=self.state,
            since=self.since,
            era=self.era,
            overtaken=self.overtaken,
            silence=self.silence.alert,
            unhealthy=self.unhealthy,
            stretches=b"" if self.window is None else self.window.fleet.watch.stretches(self.window.place),
            noted={} if self.window is None else self._noted(self.window),
            operation=msgspec.structs.replace(self.operation),
            shelf=self.shelf,
            newest=self.newest,
        )

    def _noted(self, window: Window) -> dict[str, Noted]:
        noted = window.fleet.watch.noted(window.place)
        if not noted:
            return {}
        assert self.detector is not None
        return {self.detector.manifest.sensors[column]: one for column, one in noted.items()}

    def restore(self, snapshot: Snapshot, readings: Iterable[Reading]) -> None:
        """Takes up a snapshot and rebuilds the window from readings in order of time.

        They must reach back by a window and a bridged hole. What they complete is not scored again.
        """
        self.alerts = msgspec.structs.replace(snapshot.alerts)
        self.state, self.since = snapshot.state, snapshot.since
        self.era, self.overtaken = snapshot.era, snapshot.overtaken
        self.silence.alert, self.unhealthy = snapshot.silence, {}
        self.shelf, self.newest = snapshot.shelf, snapshot.newest
        self.operation = msgspec.structs.replace(snapshot.operation or Operation())
        self.operation.judge_by(self._operation.running_when)
        if self.detector is None or self.window is None:
            return
        manifest, known = self.detector.manifest, set(self.detector.manifest.sensors)
        if snapshot.grid is not None and snapshot.grid.interval == manifest.grid.interval:
            self._begin(snapshot.grid)
        for reading in readings:
            if self.grid is None:
                if not known.intersection(reading.sensors):
                    continue  # it was taken for the condition alone
                self._begin(manifest.grid.of_machine(reading.at))
            self._sampler.recall(reading)
        samples: list[Sample] = []
        if snapshot.emitted is not None and snapshot.grid is not None:
            newest = snapshot.grid.time(snapshot.emitted)
            if self.grid is None:
                self._begin(manifest.grid.of_machine(newest))
            assert self.grid is not None
            samples = self._sampler.settle(self.grid.slot(newest))
        elif self.grid is not None:
            samples = self._sampler.complete()
        samples = self.operation.recalled(samples)
        self.window.recall(samples, snapshot.smoothed if snapshot.model == manifest.id else None)
        self.unhealthy = snapshot.unhealthy
        noted = {name: self._moved(one, snapshot.grid) for name, one in snapshot.noted.items()}
        self._restore_health(snapshot.stretches if snapshot.model == manifest.id else b"", noted)

    def _restore_health(self, stretches: bytes, noted: Mapping[str, Noted]) -> None:
        """Takes up what is known of sensors; see `Watch.restore`."""
        if self.window is None or self.detector is None or not self.window.fleet.watch.watches:
            self.unhealthy = {}
            return
        places = {sensor: column for column, sensor in enumerate(self.detector.manifest.sensors)}
        self.unhealthy = {name: one for name, one in self.unhealthy.items() if name in places}
        self.window.fleet.watch.restore(
            self.window.place,
            stretches,
            {places[name]: one for name, one in noted.items() if name in places},
            {places[name]: one.health for name, one in self.unhealthy.items()},
        )

    def _moved(self, noted: Noted, grid: Grid | None) -> Noted:
        """The same with its slots on this machine's present grid."""
        if grid is None or self.grid is None:
            return noted
        left_out, ailed = (
            None if slot is None else self.grid.slot(grid.time(slot))
            for slot in (noted.left_out, noted.ailed)
        )
        return msgspec.structs.replace(noted, left_out=left_out, ailed=ailed)

    def _not_scored(self, at: int, reason: NotScoredReason, state: MachineState) -> list[Event]:
        return [NotScored(self.name, at, reason), *self._enter(state, at)]

    def _enter(self, state: MachineState, at: int) -> list[Event]:
        operation = self.operation
        if operation.rests_from is not None and operation.mode is not Mode.RUNNING:
            state = MachineState(operation.mode.value)
        elif self.state is MachineState.SILENT and not self.silence.heard:
            return []  # what was read from elsewhere ends no silence
        elif self.alerts.alert is not None:
            state = MachineState.ALERT
        elif self.detector is not None and self.detector.provisional:
            state = MachineState.LEARNING
        return [] if state is self.state else self._change(state, at)

    def _change(self, state: MachineState, at: int) -> list[Event]:
        self.state, self.since = state, at
        return [self.present(at)]

    def _alert(
        self, change: Change, alert: OpenAlert, scored: Scored, sensors: tuple[SensorShare, ...]
    ) -> AlertChanged:
        assert self.detector is not None
        manifest = self.detector.manifest
        return AlertChanged(
            id=alert.id,
            machine=self.name,
            change=change,
            severity=alert.severity,
            at=scored.at,
            opened_at=alert.opened_at,
            score=scored.score,
            peak_score=alert.peak_score,
            reconstruction_error=scored.error,
            threshold=manifest.threshold.value,
            sensors=sensors,
            coverage=scored.coverage,
            imputed=scored.imputed,
            model=manifest.id,
            acknowledged=alert.acknowledged,
            hidden=alert.hidden,
            reason=alert.reason,
        )

    def _closed(self, alert: OpenAlert, at: int) -> AlertChanged:
        """Says that an alert closes since the machine is not watched any more."""
        manifest = None if self.detector is None else self.detector.manifest
        return AlertChanged(
            id=alert.id,
            machine=self.name,
            change=Change.CLOSED,
            severity=alert.severity,
            at=at,
            opened_at=alert.opened_at,
            score=None,
            peak_score=alert.peak_score,
            reconstruction_error=None,
            threshold=None if manifest is None else manifest.threshold.value,
            sensors=(),
            coverage=None,
            imputed=(),
            model=None if manifest is None else manifest.id,
            acknowledged=alert.acknowledged,
            hidden=alert.hidden,
            mode=self.operation.mode,
            reason=alert.reason,
        )
