from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from demo.seen import Seen

ALERT = {
    "id": "9f0c",
    "machine": "pump-1",
    "change": "opened",
    "severity": "warning",
    "at": "2026-01-04T10:00:00.000Z",
    "opened_at": "2026-01-04T10:00:00.000Z",
    "score": 2.31,
    "peak_score": 2.31,
    "reconstruction_error": 0.0123,
    "threshold": 0.0053,
    "sensors": [{"sensor": "pressure", "contribution": 0.62, "value": None, "expected": 2.4}],
    "coverage": 1.0,
    "imputed": [],
    "model": "2026-01-03T22-00-00Z-3f9c",
}


def take(seen: Seen, topic: str, message: object) -> object:
    return seen.take(topic, json.dumps(message).encode())


def test_an_alert_is_read_as_the_contract_writes_it() -> None:
    seen = Seen("pump-1")
    event = take(seen, "anomalyd/pump-1/alert", ALERT)
    assert seen.alerts == [event]
    assert seen.alerts[0].at == datetime(2026, 1, 4, 10, tzinfo=UTC)
    assert seen.alerts[0].sensors[0].sensor == "pressure"


def test_an_alert_is_open_until_it_is_closed() -> None:
    seen = Seen("pump-1")
    shown = []
    for change, score in (("opened", 2.0), ("updated", 5.0), ("closed", 0.5)):
        take(seen, "anomalyd/pump-1/alert", ALERT | {"change": change, "score": score})
        shown.append(seen.open_alert and seen.open_alert.score)
    assert shown == [2.0, 5.0, None]


def test_the_events_of_an_alert_are_kept_together() -> None:
    seen = Seen("pump-1")
    for name, change in (("a", "opened"), ("a", "closed"), ("b", "opened")):
        take(seen, "anomalyd/pump-1/alert", ALERT | {"id": name, "change": change})
    assert [[event.change for event in events] for events in seen.histories()] == [
        ["opened", "closed"],
        ["opened"],
    ]


def test_the_daemon_is_online_when_its_status_says_so() -> None:
    seen = Seen("pump-1")
    for word, online in (("offline", False), ("online", True), ("offline", False)):
        take(seen, "anomalyd/status", {"status": word, "version": "1"})
        assert seen.online is online


def test_only_the_machines_own_messages_count() -> None:
    seen = Seen("pump-1")
    take(seen, "anomalyd/other/alert", ALERT)
    take(seen, "anomalyd/other/state", {"state": "silent"})
    assert seen.alerts == []
    assert seen.state == "unknown"


def test_a_window_without_a_score_is_no_score_of_0() -> None:
    seen = Seen("pump-1")
    take(seen, "anomalyd/pump-1/score", {"at": "2026-01-04T10:00:00.000Z", "score": None})
    assert seen.scores == []


def test_a_broken_promise_is_told() -> None:
    with pytest.raises(msgspec.DecodeError):
        take(Seen("pump-1"), "anomalyd/pump-1/alert", {"id": "9f0c"})
