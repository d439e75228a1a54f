"""All sections together, and the rules between them; `anomalyd.yaml` explains every option."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.commanding import Commands
from config.connection import Mqtt
from config.drifting import Drift
from config.learning import Learning
from config.problems import UnmetError, shown
from config.quantities import format_duration
from config.section import File, Section, rule
from config.streams import Alerts, Log, Metrics, Operation, Readings, Scores, Sensors, State, Status, Store
from config.topics import may_meet
from config.training import Bundles, History, Retrain, Trainer


class Settings(Section, frozen=True):
    """The whole configuration, checked; made by `config.load`."""

    state_dir: File = Path("/var/lib/anomalyd")
    mqtt: Mqtt = Mqtt()
    readings: Readings = Readings()
    status: Status = Status()
    state: State = State()
    scores: Scores = Scores()
    alerts: Alerts = Alerts()
    sensors: Sensors = Sensors()
    commands: Commands = Commands()
    operation: Operation = Operation()
    store: Store = Store()
    history: History = History()
    trainer: Trainer = Trainer()
    bundles: Bundles = Bundles()
    retrain: Retrain = Retrain()
    learning: Learning = Learning()
    drift: Drift = Drift()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @rule("status", "state", "scores", "alerts", "sensors")
    @staticmethod
    def _topics_stay_apart(
        section: Status | State | Scores | Alerts | Sensors, before: Mapping[str, Any]
    ) -> None:
        readings: Readings | None = before.get("readings")
        if readings is not None and may_meet(section.topic, readings.topic):
            raise UnmetError(
                "must not match readings.topic",
                hint="the daemon would read its own messages",
                at=("topic",),
                got=shown(section.topic),
            )
        for name in ("status", "state", "scores", "alerts"):
            other = before.get(name)
            if other is not None and may_meet(section.topic, other.topic):
                raise UnmetError(f"must not match {name}.topic", at=("topic",), got=shown(section.topic))

    @rule("commands")
    @staticmethod
    def _commands_have_topics_of_their_own(commands: Commands, before: Mapping[str, Any]) -> None:
        if not commands.enabled:
            return
        sections = ("readings", "status", "state", "scores", "alerts", "sensors")
        taken = [(f"{name}.topic", before[name].topic) for name in sections if name in before]
        for option, topic in commands.topics.items():
            for other, known in taken:
                if may_meet(topic, known):
                    raise UnmetError(f"must not match {other}", at=(option,), got=shown(topic))
            taken.append((f"commands.{option}", topic))

    @rule("drift")
    @staticmethod
    def _drift_has_a_topic_of_its_own(drift: Drift, before: Mapping[str, Any]) -> None:
        sections = ("readings", "status", "state", "scores", "alerts", "sensors")
        taken = {f"{name}.topic": before[name].topic for name in sections if name in before}
        commands: Commands | None = before.get("commands")
        if commands is not None and commands.enabled:
            taken |= {f"commands.{option}": topic for option, topic in commands.topics.items()}
        for other, known in taken.items():
            if may_meet(drift.topic, known):
                raise UnmetError(f"must not match {other}", at=("topic",), got=shown(drift.topic))

    @rule("alerts")
    @staticmethod
    def _silence_outlasts_the_interval(alerts: Alerts, before: Mapping[str, Any]) -> None:
        readings: Readings | None = before.get("readings")
        interval = None if readings is None else readings.interval
        silent_after = alerts.silent_after
        if interval is not None and silent_after is not None and silent_after <= interval:
            raise UnmetError(
                f"must be longer than readings.interval ({format_duration(interval)})",
                at=("silent_after",),
                got=format_duration(silent_after),
            )
