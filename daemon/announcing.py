"""What subscribers and the log are told of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from daemon import payloads
from daemon.clock import now
from daemon.publisher import Outgoing
from detector.alerts import Change
from detector.events import (
    AlertChanged,
    ClockFailed,
    ModeOrdered,
    NotScored,
    ReadingDropped,
    Scored,
    SensorChanged,
    SilenceChanged,
    StateChanged,
    ValueIgnored,
)
from detector.health import Health
from detector.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from config import Settings
    from daemon.progress import Progress
    from daemon.publisher import Publisher
    from daemon.tally import Tally
    from detector.events import Event
    from detector.pipeline import Champions, Pipeline

ALERT_EVENTS = {change: f"alert_{change}" for change in Change}


class Announcer:
    """Puts events into words and hands them to the publisher; topics are the settings'."""

    def __init__(self, settings: Settings, publisher: Publisher, tally: Tally, *, version: str) -> None:
        self.settings = settings
        self.problems: dict[str, str] = {}  # what keeps the daemon from its work, by the part concerned
        self.progress: Callable[[str], Progress | None] = lambda _: None  # of a machine without a bundle
        self._drifts: dict[str, bytes] = {}  # by machine what was found last
        self._publisher = publisher
        self._tally = tally
        self._version = version

    def outgoing(self, event: AlertChanged | SilenceChanged | SensorChanged) -> tuple[str, bytes]:
        """Topic and payload of what must reach subscribers, for the outbox."""
        settings = self.settings
        topic = settings.sensors.topic if isinstance(event, SensorChanged) else settings.alerts.topic
        return _topic(topic, event.machine), payloads.told(event)

    def events(self, events: Iterable[Event], outgoing: Iterable[Outgoing], pipeline: Pipeline) -> None:
        """Tells of what a step has stored; `outgoing` is what of it went into the outbox, and answers."""
        log = structlog.get_logger()
        scores, figures = self.settings.scores.publish, self._tally.figures
        for each in outgoing:
            self._publisher.offer(each)
        for event in events:
            if isinstance(event, Scored):
                figures.scored += 1
                if scores:
                    self._score(event, pipeline)
            elif isinstance(event, ReadingDropped | ValueIgnored | ClockFailed):
                self._count(event)
            elif isinstance(event, SensorChanged):
                self._sensor(event)
            elif isinstance(event, NotScored):
                figures.not_scored[event.reason] += 1
                log.debug("window_not_scored", machine=event.machine, reason=event.reason)
            elif isinstance(event, StateChanged):
                self._changed(event)
            elif isinstance(event, ModeOrdered):
                self._mode(event)
            else:
                self._alert(event)

    def _changed(self, event: StateChanged) -> None:
        self.state(event)
        if event.at == event.since:
            at = payloads.iso(event.at)
            structlog.get_logger().info("state_changed", machine=event.machine, state=event.state, at=at)

    def _mode(self, event: ModeOrdered) -> None:
        ordered, at = event.begun, payloads.iso(event.at)
        mode, by = (Mode.RUNNING, "") if ordered is None else (ordered.mode, ordered.by)
        structlog.get_logger().info("mode_ordered", machine=event.machine, mode=mode, at=at, by=by)

    def _alert(self, event: AlertChanged | SilenceChanged) -> None:
        """Logs an alert event."""
        self._tally.figures.alerts[event.change] += 1
        about: dict[str, object] = {"reason": "silence"}
        if isinstance(event, AlertChanged):
            sensor = event.sensors[0].sensor if event.sensors else None
            about = {
                "reason": event.reason,
                "severity": event.severity,
                "score": event.score,
                "sensor": sensor,
            }
        if event.hidden:
            about["shelved"] = True
        structlog.get_logger().warning(
            ALERT_EVENTS[event.change],
            machine=event.machine,
            id=event.id,
            at=payloads.iso(event.at),
            **about,
        )

    def _sensor(self, event: SensorChanged) -> None:
        """Counts what ails a sensor, or logs that nothing does any more."""
        machine, sensor, at = event.machine, event.sensor, payloads.iso(event.at)
        if event.health is Health.OK:
            structlog.get_logger().info(
                "sensor_recovered", machine=machine, sensor=sensor, was=event.was, at=at
            )
        else:
            self._tally.count("sensor_unhealthy", event.health, machine=machine, sensor=sensor, at=at)

    def _count(self, event: ReadingDropped | ValueIgnored | ClockFailed) -> None:
        if isinstance(event, ReadingDropped):
            self._tally.count("reading_dropped", event.reason, machine=event.reading.machine)
        elif isinstance(event, ValueIgnored):
            self._tally.count("value_ignored", event.reason, machine=event.machine, sensor=event.sensor)
        else:
            at = payloads.iso(event.at)
            self._tally.count("clock_failed", event.reason, machine=event.machine, at=at)

    def state(self, event: StateChanged) -> None:
        """Tells of a machine's present state."""
        topic = _topic(self.settings.state.topic, event.machine)
        self._publisher.offer(
            Outgoing(topic, payloads.state(event, self.progress(event.machine)), retain=True)
        )

    def withdrawal(self, machine: str) -> tuple[str, bytes]:
        """What takes a machine's retained state away from the broker, for the outbox: an empty message."""
        return _topic(self.settings.state.topic, machine), b""

    def states(self, pipeline: Pipeline, names: Iterable[str] | None = None) -> None:
        """Tells of the present state of all machines, or of some."""
        for machine in pipeline.machines():
            if machine.state is not None and (names is None or machine.name in names):
                self.state(machine.present(machine.since))
        for name, payload in self._drifts.items():
            if names is None:
                self._drift(name, payload)

    def drift(self, machine: str, payload: bytes) -> None:
        """Tells of what was found of a machine's drift; an empty message takes it away."""
        self._drifts[machine] = payload
        self._drift(machine, payload)
        if not payload:
            del self._drifts[machine]

    def _drift(self, machine: str, payload: bytes) -> None:
        self._publisher.offer(Outgoing(_topic(self.settings.drift.topic, machine), payload, retain=True))

    def status(self, champions: Champions) -> None:
        """Tells of the daemon itself: `online`, or `degraded` with the problem."""
        word = "degraded" if self.problems else "online"
        self._publisher.offer(self._status(word, champions))

    def goodbye(self, champions: Champions) -> None:
        """Tells that the daemon goes, ahead of all that waits."""
        self._publisher.end(self._status("offline", champions))

    def _status(self, word: str, champions: Champions) -> Outgoing:
        problem = "; ".join(self.problems.values()) or None
        payload = payloads.status(word, version=self._version, at=now(), champions=champions, problem=problem)
        return Outgoing(self.settings.status.topic, payload, retain=True)

    def _score(self, event: Scored, pipeline: Pipeline) -> None:
        machine = pipeline.machine(event.machine)
        if machine is not None and machine.detector is not None:
            manifest = machine.detector.manifest
            payload = payloads.score(event, threshold=manifest.threshold.value, model=manifest.id)
            self._publisher.publish_once(_topic(self.settings.scores.topic, event.machine), payload)


def _topic(template: str, machine: str) -> str:
    return template.replace("{machine}", machine)
