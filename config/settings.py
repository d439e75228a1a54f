"""All sections together, and the rules between them; `anomalyd.yaml` explains every option."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationInfo, field_validator

from config.connection import Mqtt
from config.problems import UnmetError, shown
from config.quantities import format_duration
from config.section import File, Section
from config.streams import Alerts, Log, Readings, Scores, State, Status, Store
from config.topics import may_meet
from config.training import History, Retrain, Trainer

_WithTopic = TypeVar("_WithTopic", Status, State, Scores, Alerts)


class Settings(Section):
    """The whole configuration, checked; made by `config.load`."""

    state_dir: File = Path("/var/lib/anomalyd")
    mqtt: Mqtt = Field(default_factory=Mqtt)
    readings: Readings = Field(default_factory=Readings)
    status: Status = Field(default_factory=Status)
    state: State = Field(default_factory=State)
    scores: Scores = Field(default_factory=Scores)
    alerts: Alerts = Field(default_factory=Alerts)
    store: Store = Field(default_factory=Store)
    history: History = Field(default_factory=History)
    trainer: Trainer = Field(default_factory=Trainer)
    retrain: Retrain = Field(default_factory=Retrain)
    log: Log = Field(default_factory=Log)

    @field_validator("status", "state", "scores", "alerts")
    @classmethod
    def _topics_stay_apart(cls, section: _WithTopic, info: ValidationInfo) -> _WithTopic:
        readings: Readings | None = info.data.get("readings")
        if readings is not None and may_meet(section.topic, readings.topic):
            raise UnmetError(
                "must not match readings.topic",
                hint="the daemon would read its own messages",
                at=("topic",),
                got=shown(section.topic),
            )
        for name in ("status", "state", "scores"):
            other = info.data.get(name)
            if other is not None and may_meet(section.topic, other.topic):
                raise UnmetError(f"must not match {name}.topic", at=("topic",), got=shown(section.topic))
        return section

    @field_validator("alerts")
    @classmethod
    def _silence_outlasts_the_interval(cls, alerts: Alerts, info: ValidationInfo) -> Alerts:
        readings: Readings | None = info.data.get("readings")
        interval = None if readings is None else readings.interval
        silent_after = alerts.silent_after
        if interval is not None and silent_after is not None and silent_after <= interval:
            raise UnmetError(
                f"must be longer than readings.interval ({format_duration(interval)})",
                at=("silent_after",),
                got=format_duration(silent_after),
            )
        return alerts
