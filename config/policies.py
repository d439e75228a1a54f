"""The part of the settings that the detector's pipeline is run with."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from detector.alerts import AlertPolicy
from detector.health import HealthPolicy
from detector.modes import OperationPolicy
from detector.stream import StreamPolicy

if TYPE_CHECKING:
    from config.settings import Settings


def milliseconds(duration: timedelta) -> int:
    """A duration as the whole milliseconds in which the detector counts."""
    return duration // timedelta(milliseconds=1)


def stream_policy(settings: Settings) -> StreamPolicy:
    """How the stream of readings is treated."""
    silent, behind = settings.alerts.silent_after, settings.readings.max_behind
    return StreamPolicy(
        lateness=milliseconds(settings.readings.lateness),
        max_ahead=milliseconds(settings.readings.max_ahead),
        max_behind=None if behind is None else milliseconds(behind),
        silent_after=None if silent is None else milliseconds(silent),
        max_machines=settings.readings.max_machines,
    )


def alert_policy(settings: Settings) -> AlertPolicy:
    """When an alert opens, updates and closes."""
    alerts = settings.alerts
    return AlertPolicy(
        open_after=alerts.open_after,
        open_within=alerts.open_within,
        close_after=alerts.close_after,
        close_score=alerts.close_score,
        critical_score=alerts.critical_score,
        repeat_every=None if alerts.repeat_every is None else milliseconds(alerts.repeat_every),
        on_silence=alerts.on_silence,
    )


def health_policy(settings: Settings) -> HealthPolicy:
    """When a sensor is not healthy."""
    sensors = settings.sensors

    def wished(after: timedelta | Literal["auto"] | None) -> int | Literal["auto"] | None:
        return milliseconds(after) if isinstance(after, timedelta) else after

    return HealthPolicy(
        stuck_after=wished(sensors.stuck_after),
        silent_after=wished(sensors.silent_after),
        limits={name: (limits.low, limits.high) for name, limits in sensors.limits.items()},
        ignored=frozenset(sensors.ignore),
        leave_out=sensors.leave_out,
    )


def operation_policy(settings: Settings) -> OperationPolicy:
    """When machines run."""
    operation = settings.operation
    return OperationPolicy(running_when=operation.running_when, settle=milliseconds(operation.settle))
