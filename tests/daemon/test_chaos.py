"""Kills and broken connections in mid-stream lose and double nothing; `make chaos` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import chaos
from tests.real_broker import MOSQUITTO

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (run: make mosquitto)"),
]


def test_twenty_kills_at_a_thousand_messages_a_second_and_restarts_of_the_broker_lose_nothing(
    tmp_path: Path,
) -> None:
    outcome = chaos.daemon_kills(tmp_path, kills=20, restarts=3)
    assert outcome.faultless, outcome
    assert outcome.readings == 20_000
    assert outcome.alerts > 300


def test_resets_black_holes_and_half_open_connections_lose_nothing(tmp_path: Path) -> None:
    outcome = chaos.connection_cuts(tmp_path, cuts=15)
    assert outcome.faultless, outcome
    assert outcome.alerts > 10


def test_a_broker_that_is_killed_while_it_holds_readings_loses_nothing_that_it_has_saved(
    tmp_path: Path,
) -> None:
    outcome = chaos.broker_kills(tmp_path, kills=3, saved=True)
    assert outcome.faultless, outcome
    assert outcome.alerts > 10
