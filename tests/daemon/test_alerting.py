"""Readings through a real Mosquitto into a real process, alerts out, as the contract has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

ALERTS = "anomalyd/press/alert"


def test_an_alert_opens_is_updated_and_closes_exactly_as_in_replay(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    plant.promote(setup.state)
    setup.write(alerts={"repeat_every": "10s"})
    readings = plant.history(150, faults=[range(50, 80)])
    expected = plant.expected(setup.settings, [readings])
    assert [event["change"] for event in expected] == ["opened", "updated", "updated", "updated", "closed"]
    ready()
    for topic, payload in plant.messages(readings):
        client.publish(topic, payload)
    wait_until(lambda: len(client.messages(ALERTS)) >= len(expected), "all alert events")
    for event, twin in zip(client.messages(ALERTS), expected, strict=True):
        assert event == _close_to(twin)
        assert event["sensors"][0]["sensor"] == "pressure"


def _close_to(value: object) -> object:
    """Numbers of LiteRT may differ in the last digit by the size of a batch."""
    if isinstance(value, dict):
        return {key: _close_to(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_close_to(each) for each in value]
    return pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value
