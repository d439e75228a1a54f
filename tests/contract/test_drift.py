"""A machine that drifts: said to subscribers, asked to be learned, unless it may be a fault."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from cli.gathering import gather
from config import load
from daemon import drifting
from detector.composition import LeftOut
from detector.history import History
from registry import drifts
from registry.drifts import Kind
from tests import plant
from tests.conftest import Setup
from tests.contract.test_retraining import stored
from tests.daemon.inside import running
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until
from trainer.composition import compose

QUICK = {"block": "10s", "settled_after": "5min"}
KNOWN, COUNT = 800, 1400  # readings as the machine was, and all of them


def season() -> History:
    """All sensors have moved together."""
    return changed(np.array([3.0, 3.0, 3.0]) * (np.arange(COUNT) >= KNOWN)[:, None])


def wear() -> History:
    """The pressure leaves the others, more and more, and no alert opens yet."""
    rising = ((np.arange(COUNT) - KNOWN) / (COUNT - KNOWN)).clip(0, 1)
    return changed(rising[:, None] * np.array([0.0, 0.9, 0.0]))


def changed(change: np.ndarray[Any, np.dtype[np.float64]]) -> History:
    history = plant.history(COUNT)
    return dataclasses.replace(history, values=history.values + np.array(plant.SCALE) * change)


@pytest.fixture
def measured(
    setup: Setup, client: Client, ready: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch
) -> Callable[[History], list[dict[str, Any]]]:
    """What the daemon logs once it has measured a machine of which this is stored."""

    def measure(history: History) -> list[dict[str, Any]]:
        monkeypatch.setattr(drifting, "SETTLING", 0)
        retrain = {"on_drift": True, "by": "request", "min_readings": 100}
        setup.write(drift={**QUICK, "every": "off"}, retrain=retrain)
        plant.promote(setup.state)
        daemon = ready()
        client.stream(plant.messages(history)).join()
        wait_until(lambda: stored(setup) == COUNT, "the readings in the store")
        daemon.end()
        setup.write(drift=QUICK, retrain=retrain)
        with capture_logs() as logs, running(setup.file):
            wait_until(lambda: any(line["event"] == "drift_measured" for line in logs), "the measurement")
            wait_until(lambda: client.last("anomalyd/press/drift"), "what is published")
        return [dict(line) for line in logs]

    return measure


def test_a_season_is_published_as_drift_and_asks_for_a_retraining_that_names_the_sensors(
    measured: Callable[[History], list[dict[str, Any]]], setup: Setup, client: Client
) -> None:
    logs = measured(season())
    told = client.last("anomalyd/press/drift")
    assert told["kind"] == "drift"
    assert {part["sensor"] for part in told["sensors"]} == {*plant.SENSORS}
    assert abs(plant.milliseconds(told["since"]) - (plant.START + 1000 * KNOWN)) <= 60_000
    (asked,) = (
        line for line in logs if line["event"] == "retraining_requested" and line.get("by") == "drift"
    )
    assert "pressure" in asked["reason"]
    assert asked["machines"] == ("press",)
    assert any(line["event"] == "drift_changed" and line["machine"] == "press" for line in logs)
    assert not left_out(setup).get(LeftOut.SUSPECTED)


def test_wear_is_published_as_developing_and_neither_learned_nor_asked_to_be(
    measured: Callable[[History], list[dict[str, Any]]], setup: Setup, client: Client
) -> None:
    logs = measured(wear())
    told = client.last("anomalyd/press/drift")
    assert told["kind"] == "developing"
    assert told["sensors"][0]["sensor"] == "pressure"
    assert told["score"] < 1
    assert not client.messages("anomalyd/press/alert"), "no alert is open yet"
    assert not any(line.get("by") == "drift" for line in logs)
    assert drifts.read(setup.state)["press"].kind is Kind.DEVELOPING
    since = (plant.milliseconds(told["since"]) - plant.START) // 1000
    assert left_out(setup)[LeftOut.SUSPECTED] == COUNT - since


def left_out(setup: Setup) -> dict[LeftOut, int]:
    """What a retraining would leave out now."""
    settings = load(setup.file, {})
    (gathered,) = gather(settings)
    learned = compose(gathered.stored, gathered.champion, settings, gathered.remembered)
    return dict(learned.composition.left_out)


def test_the_command_says_the_same_and_draws_it(
    measured: Callable[[History], list[dict[str, Any]]], setup: Setup
) -> None:
    measured(wear())

    def said(*options: str) -> str:
        command = [sys.executable, "-m", "cli", "drift", "--config", str(setup.file), *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    page = setup.file.parent / "drift.html"
    table = said("--html", str(page))
    assert "developing" in table
    assert "is not level yet" in table
    assert "<svg" in page.read_text()
    (one,) = json.loads(said("--json"))
    assert one["kind"] == "developing"
    assert json.loads(said("--json", "--machine", "another")) == []
    assert [*drifts.read(setup.state)] == ["press"], "a look at one machine forgets no other"
