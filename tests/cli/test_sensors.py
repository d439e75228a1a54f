"""Replay says of sensors what the daemon would have said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from config import load
from tests import plant
from tests.cli.conftest import Ended


def test_replay_prints_the_health_of_sensors_among_the_alerts_if_it_is_asked_to(
    anomalyd: Callable[..., Ended], config: Path, tmp_path: Path
) -> None:
    plant.promote(tmp_path / "state")
    with config.open("a") as file:
        file.write("sensors: {stuck_after: 5s}\n")
    history = plant.history(300, faults=[range(100, 120)])
    history.values[50:70, 0] = history.values[50, 0]
    lines = [",".join(("timestamp", *history.sensors))]
    rows = zip(history.at.tolist(), history.values.tolist(), strict=True)
    lines += [",".join(map(repr, (at, *values))) for at, values in rows]
    (tmp_path / "press.csv").write_text("\n".join(lines) + "\n")
    settings = load(config, {})
    sensors = plant.expected_of_sensors(settings, [history])
    alerts = plant.expected(settings, [history])
    assert [event["health"] for event in sensors] == ["stuck", "ok"]

    asked = anomalyd("replay", "--sensors", tmp_path / "press.csv")
    assert [json.loads(line) for line in asked.out.splitlines()] == [*sensors, *alerts]
    assert "1 sensor stuck, 1 sensor ok" in asked.err
    unasked = anomalyd("replay", tmp_path / "press.csv")
    assert [json.loads(line) for line in unasked.out.splitlines()] == alerts
