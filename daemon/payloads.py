"""Events as the JSON that subscribers receive."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from detector.alerts import OpenAlert
from detector.events import SensorChanged, SilenceChanged
from detector.provisional import PREFIX

if TYPE_CHECKING:
    from daemon.progress import Progress
    from detector.alerts import Acknowledged, OpenSilence
    from detector.events import AlertChanged, Scored, StateChanged
    from detector.modes import Ordered
    from detector.pipeline import Champions
    from registry.drifts import Drift

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; with a time zone it would be written as +00:00


def iso(at: int) -> str:
    """Milliseconds since the epoch as `2026-01-04T10:00:00.000Z`."""
    return f"{(EPOCH + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')}Z"


def told(event: AlertChanged | SilenceChanged | SensorChanged) -> bytes:
    """One event that subscribers must hear of."""
    if isinstance(event, SensorChanged):
        return sensor(event)
    return silence(event) if isinstance(event, SilenceChanged) else alert(event)


def alert(event: AlertChanged) -> bytes:
    """One alert event."""
    return msgspec.json.encode(
        {
            "id": event.id,
            "machine": event.machine,
            "change": event.change,
            "severity": event.severity,
            "at": iso(event.at),
            "opened_at": iso(event.opened_at),
            "score": event.score,
            "peak_score": event.peak_score,
            "reconstruction_error": None
            if event.reconstruction_error is None
            else _digits(event.reconstruction_error),
            "threshold": None if event.threshold is None else _digits(event.threshold),
            "sensors": [
                {
                    "sensor": part.sensor,
                    "contribution": round(part.contribution, 6),
                    "value": part.value,
                    "expected": part.expected if isinstance(part.expected, str) else _digits(part.expected),
                }
                for part in event.sensors
            ],
            "coverage": None if event.coverage is None else round(event.coverage, 4),
            "imputed": event.imputed,
            "model": event.model,
            "reason": event.reason,
            **_provisional(event.model),
            "acknowledged": _acknowledged(event.acknowledged),
            "mode": event.mode,
        }
    )


def silence(event: SilenceChanged) -> bytes:
    """One event of an alert about silence: the fields of any alert, of which there is nothing to be said."""
    return msgspec.json.encode(
        {
            "id": event.id,
            "machine": event.machine,
            "change": event.change,
            "severity": "warning",
            "at": iso(event.at),
            "opened_at": iso(event.opened_at),
            "score": None,
            "peak_score": None,
            "reconstruction_error": None,
            "threshold": None,
            "sensors": [],
            "coverage": None,
            "imputed": [],
            "model": event.model,
            "reason": "silence",
            "acknowledged": _acknowledged(event.acknowledged),
        }
    )


def sensor(event: SensorChanged) -> bytes:
    """A sensor's health."""
    return msgspec.json.encode(
        {
            "machine": event.machine,
            "sensor": event.sensor,
            "health": event.health,
            "was": event.was,
            "at": iso(event.at),
            "since": iso(event.since),
            "value": event.value,
            "samples": event.samples,
            "limit": event.limit if len(event.limit) > 1 else next(iter(event.limit), None),
            "model": event.model,
        }
    )


def drift(found: Drift) -> bytes:
    """What was found of a machine's drift."""

    def digits(number: float | None) -> float | None:
        return None if number is None else _digits(number)

    return msgspec.json.encode(
        {
            "machine": found.machine,
            "kind": found.kind,
            "since": None if found.since is None else iso(found.since),
            "text": found.text,
            "score": digits(found.score),
            "usual": digits(found.usual),
            "rise": digits(found.rise),
            "sensors": [
                {
                    "sensor": part.sensor,
                    "size": digits(part.size),
                    "before": digits(part.before),
                    "now": digits(part.now),
                    "share": round(part.share, 4),
                }
                for part in found.sensors
            ],
            "until": None if found.until is None else iso(found.until),
            "measured_at": iso(found.measured_at),
            "model": found.model,
        }
    )


def score(event: Scored, *, threshold: float, model: str) -> bytes:
    """One score."""
    return msgspec.json.encode(
        {
            "machine": event.machine,
            "at": iso(event.at),
            "score": event.score,
            "anomaly": event.anomaly,
            "reconstruction_error": _digits(event.error),
            "threshold": _digits(threshold),
            "coverage": round(event.coverage, 4),
            "imputed": event.imputed,
            "model": model,
            **_provisional(model),
        }
    )


def state(event: StateChanged, learning: Progress | None = None) -> bytes:
    """A machine's present state, and how far it is on its way to a bundle."""
    return msgspec.json.encode(
        {
            "machine": event.machine,
            "state": event.state,
            "since": iso(event.since),
            "alert": _open(event.alert),
            "sensors": [
                {"sensor": one.sensor, "health": one.health, "since": iso(one.since)} for one in event.sensors
            ],
            "model": event.model,
            "shelved_until": None if event.shelf is None else iso(event.shelf.until),
            "mode": _ordered(event.ordered),
            **({} if learning is None else {"learning": learning}),
        }
    )


def status(word: str, *, version: str, at: int, champions: Champions, problem: str | None = None) -> bytes:
    """The daemon's own state: `online`, `degraded` with the problem, or `offline`."""
    content: dict[str, Any] = {
        "status": word,
        "at": iso(at),
        "version": version,
        "champions": {
            "shared": champions.shared.manifest.id if champions.shared else None,
            "machines": {name: detector.manifest.id for name, detector in champions.own.items()},
        },
    }
    if problem is not None:
        content["problem"] = problem
    return msgspec.json.encode(content)


def _open(alert: OpenAlert | OpenSilence | None) -> dict[str, Any] | None:
    if alert is None:
        return None
    return {
        "id": alert.id,
        "opened_at": iso(alert.opened_at),
        "severity": alert.severity if isinstance(alert, OpenAlert) else "warning",
        "peak_score": alert.peak_score if isinstance(alert, OpenAlert) else None,
        "reason": alert.reason if isinstance(alert, OpenAlert) else "silence",
        "acknowledged": _acknowledged(alert.acknowledged),
    }


def _acknowledged(by: Acknowledged | None) -> dict[str, Any] | None:
    return None if by is None else {"at": iso(by.at), "by": by.by, "note": by.note}


def _ordered(mode: Ordered | None) -> dict[str, Any] | None:
    """What somebody has ordered a machine to be; None: nothing."""
    if mode is None:
        return None
    until = None if mode.until is None else iso(mode.until)
    return {"mode": mode.mode, "at": iso(mode.at), "until": until, "by": mode.by, "note": mode.note}


def _provisional(model: str | None) -> dict[str, bool]:
    """Says that no bundle has found it, but what watches a machine until it has one."""
    return {"provisional": True} if model is not None and model.startswith(PREFIX) else {}


def _digits(number: float) -> float:
    """Six significant digits: what the measurement carries, the same live and in replay."""
    return float(f"{number:.6g}")
