"""Readings in, events out: the same object serves the live daemon, replay, evaluation and the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.events import Event, ReadingDropped
from detector.machine import Machine, Snapshot
from detector.reading import Dropped, Reading
from detector.stream import StreamPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy
    from detector.scoring import Detector, Errors


class Champions(msgspec.Struct, frozen=True, eq=False):
    """The detectors in service: a machine's own, else the shared one, else none."""

    shared: Detector | None = None
    own: dict[str, Detector] = {}

    def of(self, machine: str) -> Detector | None:
        """The detector that serves a machine."""
        return self.own.get(machine, self.shared)

    def all(self) -> list[Detector]:
        """Every detector in service, once."""
        return [*([self.shared] if self.shared else []), *self.own.values()]


class _Batch:
    """Windows of one detector that are scored together."""

    __slots__ = ("count", "detector", "windows")

    def __init__(self, detector: Detector) -> None:
        spec = detector.manifest.window
        self.detector = detector
        self.windows = np.empty((1, spec.length, len(detector.manifest.sensors)))
        self.count = 0

    def add(self, window: NDArray[np.float64]) -> int:
        """Copies a window in; returns its row."""
        if self.count == len(self.windows):
            self.windows = np.concatenate([self.windows, np.empty_like(self.windows)])
        self.windows[self.count] = window
        self.count += 1
        return self.count - 1

    def score(self) -> Errors:
        """Scores what is in it and starts anew; the windows stay readable until the next `add`."""
        count, self.count = self.count, 0
        return self.detector.errors(self.windows[:count])


class _Due(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A sample whose window waits in a batch, or is not full yet (no batch)."""

    machine: Machine
    at: int
    batch: _Batch | None = None
    row: int = 0
    restarted: bool = False


MAX_BATCH = 64  # LiteRT gains nothing beyond; a larger batch only takes memory


class Pipeline:
    """Follows many machines; nothing here knows a clock, a broker or a file.

    Grouping changes nothing: `on_readings(a + b)` returns the events of `on_readings(a)` followed
    by those of `on_readings(b)`.
    """

    def __init__(self, champions: Champions, *, stream: StreamPolicy, alerts: AlertPolicy) -> None:
        self.champions = champions
        self._stream = stream
        self._policy = alerts
        self._machines: dict[str, Machine] = {}
        self._batches: dict[int, _Batch] = {}  # by the detector's identity
        self._pending: list[ReadingDropped | _Due] = []

    def on_readings(self, readings: Iterable[Reading]) -> list[Event]:
        """Takes readings in order of arrival; returns what happened, in order.

        A reading is either accepted or named by one `ReadingDropped`.
        """
        events: list[Event] = []
        for reading in readings:
            self._take(reading)
            if len(self._pending) >= MAX_BATCH:
                events += self._flush()
        events += self._flush()
        return events

    def on_tick(self, now: int) -> list[Event]:
        """Takes the time in milliseconds since the epoch; may declare machines silent, and scores nothing."""
        return [event for machine in self._machines.values() for event in machine.declare_silence(now)]

    def machine(self, name: str) -> Machine | None:
        """The machine of that name, once it has been heard."""
        return self._machines.get(name)

    def machines(self) -> Sequence[Machine]:
        """All machines that are followed."""
        return tuple(self._machines.values())

    def restore(self, name: str, snapshot: Snapshot, readings: Iterable[Reading]) -> None:
        """Takes up a machine where `snapshot` left it; see `Machine.restore`."""
        machine = Machine(name, self._stream, self._policy)
        machine.serve(self.champions.of(name))
        machine.restore(snapshot, readings)
        self._machines[name] = machine

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
        self._batches.clear()
        for machine, detector, readings in turns:
            snapshot = machine.snapshot()
            machine.serve(detector)
            machine.restore(snapshot, readings)
        return [machine.name for machine, _, _ in turns]

    def _take(self, reading: Reading) -> None:
        machine = self._machines.get(reading.machine)
        if machine is None:
            if len(self._machines) >= self._stream.max_machines:
                self._pending.append(ReadingDropped(reading, Dropped.TOO_MANY_MACHINES))
                return
            machine = self._machines[reading.machine] = Machine(reading.machine, self._stream, self._policy)
            machine.serve(self.champions.of(reading.machine))
        samples = machine.take(reading)
        if isinstance(samples, Dropped):
            self._pending.append(ReadingDropped(reading, samples))
            return
        detector = machine.detector
        if detector is None:
            self._pending.append(_Due(machine, reading.at))
            return
        assert machine.grid is not None
        for sample in samples:
            at = machine.grid.time(sample.slot)
            window = machine.advance(sample)
            if window is not None:
                batch = self._batch(detector)
                self._pending.append(_Due(machine, at, batch, batch.add(window), machine.take_restarted()))
            elif machine.warming_up():
                self._pending.append(_Due(machine, at))

    def _batch(self, detector: Detector) -> _Batch:
        batch = self._batches.get(id(detector))
        if batch is None:
            batch = self._batches[id(detector)] = _Batch(detector)
        return batch

    def _flush(self) -> list[Event]:
        """Scores what is pending, then judges it in the order in which it came."""
        errors = {
            batch: batch.score() for batch in {d.batch for d in self._pending if isinstance(d, _Due)} if batch
        }
        events: list[Event] = []
        for due in self._pending:
            if isinstance(due, ReadingDropped):
                events.append(due)
            elif due.batch is None:
                events += due.machine.wait(due.at)
            else:
                window = due.batch.windows[due.row]
                events += due.machine.judge(
                    due.at, window, errors[due.batch], due.row, restarted=due.restarted
                )
        self._pending.clear()
        return events
