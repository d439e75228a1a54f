"""Readings in, events out: the same object serves the live daemon, replay, evaluation and the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.alerts import Acknowledged, AlertTracker, OpenAlert, Shelf
from detector.clock import ClockFault
from detector.events import ClockFailed, Event, MachineState, ReadingDropped, ValueIgnored
from detector.fleet import Fleet
from detector.health import HealthPolicy
from detector.machine import Machine, Snapshot
from detector.modes import Mode, OperationPolicy
from detector.reading import Dropped, Ignored, Reading
from detector.stream import StreamPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy, OpenSilence
    from detector.fleet import Window
    from detector.sampler import Sample
    from detector.scoring import Detector


class Champions(msgspec.Struct, frozen=True, eq=False):
    """The detectors in service: a machine's own, else the shared one, else a provisional one, else none.

    Attributes:
        shared: That of a bundle that serves all without one of their own.
        own: Those of bundles that serve one machine each.
        provisional: Those that serve machines until there is a bundle.
        learning: Whether there will be a bundle for who has none.
    """

    shared: Detector | None = None
    own: dict[str, Detector] = {}
    provisional: dict[str, Detector] = {}
    learning: bool = False

    def of(self, machine: str) -> Detector | None:
        """The detector that serves a machine."""
        return self.fitted(machine) or self.provisional.get(machine)

    def fitted(self, machine: str) -> Detector | None:
        """That of the bundle that serves a machine."""
        return self.own.get(machine, self.shared)

    def all(self) -> list[Detector]:
        """The detector of every bundle in service, once."""
        return [*([self.shared] if self.shared else []), *self.own.values()]


MAX_BATCH = 256  # turns before they are scored: more gain nothing
MAX_CELLS = 2**18  # numbers in all their windows: 1 MiB, so that they stay in the processor's cache


class _Turn(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A sample that waits for the scoring of the window that ends at it.

    Attributes:
        number: Its number among those of its fleet.
        row: The row of the window's score; None where no window ends at it.
        full: Whether the window is; None where the machine was not watched, and the window does not move.
    """

    machine: Machine
    fleet: Fleet
    at: int
    values: NDArray[np.float64]
    number: int
    row: int | None
    full: bool | None


class Pipeline:
    """Follows many machines; nothing here knows a clock, a broker or a file.

    Grouping changes nothing: `on_readings(a + b)` returns the events of `on_readings(a)` followed
    by those of `on_readings(b)`.
    """

    def __init__(
        self,
        champions: Champions,
        *,
        stream: StreamPolicy,
        alerts: AlertPolicy,
        health: HealthPolicy | None = None,
        operation: OperationPolicy | None = None,
    ) -> None:
        self.champions = champions
        self._stream = stream
        self._policy = alerts
        self._health = health or HealthPolicy()
        self._operation = operation or OperationPolicy()
        self._conditional = self._operation.running_when is not None
        self._machines: dict[str, Machine] = {}
        self._fleets: dict[Detector, Fleet] = {}
        self._busy: set[Fleet] = set()  # those that took anything since the last scoring
        self._turns: list[_Turn | list[Event]] = []  # in order of arrival: what waits, or has happened
        self._cells = 0
        self._scratch = np.empty(0, dtype=np.float32)

    def on_readings(self, readings: Iterable[Reading]) -> list[Event]:
        """Takes readings in order of arrival; returns what happened, in order.

        A reading is either accepted or named by one `ReadingDropped`.
        """
        events: list[Event] = []
        for reading in readings:
            self._take(reading, events)
        self._flush(events)
        return events

    def misplaced(self, reading: Reading) -> Dropped | None:
        """Whether a reading's time is too far from that of its arrival for `on_readings` to take it."""
        return (
            None if reading.received_at is None else self._stream.misplaced(reading.at, reading.received_at)
        )

    def shift_clock(self, step: int) -> list[str]:
        """Takes into account that our clock was set forward by so many milliseconds (or back, below 0).

        Returns:
            The machines whose snapshot has changed.
        """
        return [name for name, machine in self._machines.items() if machine.shift_clock(step)]

    def on_tick(self, now: int) -> list[Event]:
        """Looks at the clock (milliseconds since the epoch); may declare machines silent, scores nothing."""
        return [event for machine in self._machines.values() for event in machine.tick(now)]

    def acknowledge(self, name: str, *, now: int, by: str = "", note: str = "") -> list[Event]:
        """Notes that somebody has seen the machine's open alert; nothing, if none is open."""
        return self._machines[name].acknowledge(Acknowledged(now, by, note))

    def shelve(self, name: str, *, until: int, now: int, by: str = "") -> list[Event]:
        """Hides a machine's alerts until a time of this host's clock, which ticks look at."""
        return self._machines[name].put_on_shelf(Shelf(until, now, by), now)

    def unshelve(self, name: str, *, now: int) -> list[Event]:
        """Hides a machine's alerts no longer; one that is open is said with the next score."""
        return self._machines[name].put_on_shelf(None, now)

    def set_mode(
        self, name: str, mode: Mode, *, now: int, by: str = "", note: str = "", until: int | None = None
    ) -> list[Event]:
        """Puts a machine in a mode, from its newest reading on, and until a time of this host's clock."""
        return self._machines[name].order(mode, now=now, by=by, note=note, until=until)

    def machine(self, name: str) -> Machine | None:
        """The machine of that name, once it has been heard."""
        return self._machines.get(name)

    def machines(self) -> Sequence[Machine]:
        """All machines that are followed."""
        return tuple(self._machines.values())

    def restore(self, name: str, snapshot: Snapshot, readings: Iterable[Reading]) -> None:
        """Takes up a machine where `snapshot` left it; see `Machine.restore`."""
        machine = Machine(name, self._stream, self._policy, self._operation)
        machine.serve(self._fleet(self.champions.of(name)))
        machine.restore(snapshot, readings)
        self._machines[name] = machine

    def adopt(self, name: str, alert: OpenAlert | OpenSilence) -> Machine | None:
        """Takes up a machine of which nothing but an open alert is known; None: there is no room for it."""
        if len(self._machines) >= self._stream.max_machines:
            return None
        since, silence = alert.opened_at, None
        tracker, state = AlertTracker(), MachineState.SILENT
        if isinstance(alert, OpenAlert):
            tracker, state = AlertTracker(alert=alert), MachineState.ALERT
        else:
            silence = alert
        self.restore(name, Snapshot(None, None, None, None, tracker, state, since, silence=silence), ())
        return self._machines[name]

    def forget(self, name: str, now: int) -> list[Event]:
        """Forgets a machine, whose next reading is its first; an alert about its silence closes."""
        machine = self._machines.pop(name, None)
        if machine is None:
            return []
        machine.serve(None)
        return [] if machine.silence.alert is None else machine.end_silence(now)[:1]

    def swap(self, champions: Champions, recent: Callable[[str, Detector], Iterable[Reading]]) -> list[str]:
        """Puts other detectors into service, between two steps.

        Args:
            champions: Loaded and tried by the caller.
            recent: Stored readings of a machine, in order of time, that fill a window of the detector.

        Returns:
            The machines whose detector changed; their windows carry over, open alerts too.
        """
        turns = []
        for name, machine in self._machines.items():
            detector, before = champions.of(name), machine.detector
            if (detector and detector.manifest.id) != (before and before.manifest.id):
                # All is read before anything is touched.
                turns.append((machine, detector, tuple(recent(name, detector)) if detector else ()))
        self.champions = champions
        for machine, detector, readings in turns:
            snapshot = machine.snapshot()
            machine.serve(self._fleet(detector))
            machine.restore(snapshot, readings)
        serving = {*champions.all(), *champions.provisional.values()}
        self._fleets = {each: fleet for each, fleet in self._fleets.items() if each in serving}
        return [machine.name for machine, _, _ in turns]

    def _fleet(self, detector: Detector | None) -> Fleet | None:
        if detector is None:
            return None
        if detector not in self._fleets:
            self._fleets[detector] = Fleet(detector, self._health)
        return self._fleets[detector]

    def _take(self, reading: Reading, events: list[Event]) -> None:
        machine = self._machines.get(reading.machine) or self._begin(reading.machine)
        if machine is None:
            self._turns.append([ReadingDropped(reading, Dropped.TOO_MANY_MACHINES)])
            return
        samples = self._sample(machine, reading, events)
        if isinstance(samples, Dropped):
            self._turns.append([ReadingDropped(reading, samples)])
            return
        if machine.silence.alert is not None and reading.received_at is not None:
            self._turns.append(machine.end_silence(reading.received_at))
        rests = machine.operation.rests_from is not None
        if (rests or self._conditional) and machine.turns(reading):
            self._flush(events)  # an alert may close, which what waits may still change
            self._turns.append(machine.turn(reading))
            rests = True
        if machine.window is None:
            self._turns.append(machine.wait(reading.at, learning=self.champions.learning))
            return
        for sample in samples:
            watched = machine.operation.admit(sample) if rests else sample
            if watched is None:
                fleet = machine.window.fleet
                self._turns.append(_Turn(machine, fleet, sample.at, sample.values, -1, None, None))
            else:
                self._push(machine, machine.window, watched, events)

    def _begin(self, name: str) -> Machine | None:
        """A machine that is heard for the first time; None: there is no room for it."""
        if len(self._machines) >= self._stream.max_machines:
            return None
        machine = self._machines[name] = Machine(name, self._stream, self._policy, self._operation)
        machine.serve(self._fleet(self.champions.of(name)))
        return machine

    def _push(self, machine: Machine, window: Window, sample: Sample, events: list[Event]) -> None:
        """Moves a machine's window on."""
        if len(self._turns) >= MAX_BATCH or self._cells >= MAX_CELLS or not window.has_room(sample):
            self._flush(events)
        fleet = window.fleet
        self._busy.add(fleet)
        columns = fleet.detector.columns
        if columns.known and (strange := columns.strange(sample.values)):
            reason = Ignored.NEW_CATEGORY
            self._turns.append([ValueIgnored(machine.name, sample.at, each, reason) for each in strange])
        row = window.push(sample)
        if row is not None:
            self._cells += fleet.cells
        number = fleet.followed + len(fleet.slots) - 1
        self._turns.append(_Turn(machine, fleet, sample.at, sample.values, number, row, window.full()))

    def _sample(self, machine: Machine, reading: Reading, events: list[Event]) -> list[Sample] | Dropped:
        """What the machine makes of it; if it proves that the clock was set back, from a new start."""
        samples = machine.take(reading)
        fault = machine.judge_clock(reading, samples) if isinstance(samples, Dropped) else None
        if fault is None:
            return samples
        self._turns.append([ClockFailed(reading, fault)])
        if fault is ClockFault.STANDS_STILL:
            return samples
        self._flush(events)  # its window takes another place
        self._turns.append(machine.begin_again(self._fleet(self.champions.of(machine.name)), reading.at))
        return machine.take(reading)

    def _flush(self, events: list[Event]) -> None:
        """Scores the windows that are due; adds what has happened, in order of arrival."""
        if self._scratch.size < self._cells:
            self._scratch = np.empty(self._cells, dtype=np.float32)
        for fleet in self._busy:
            fleet.score(self._scratch)
        for turn in self._turns:
            if isinstance(turn, list):
                events += turn
                continue
            changes = turn.fleet.watch.changes
            if changes and turn.number in changes:
                events += turn.machine.sense(turn.at, changes[turn.number])
            if turn.row is not None:
                assert turn.fleet.scores is not None
                events += turn.machine.judge(turn.at, turn.values, turn.fleet.scores, turn.row)
            elif turn.full is None:
                events += turn.machine.rest(turn.at)
            elif not turn.full:
                events += turn.machine.warm_up(turn.at)
        for fleet in self._busy:
            fleet.forget()
        self._busy.clear()
        self._turns.clear()
        self._cells = 0
