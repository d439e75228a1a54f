"""A dead sensor is told apart from a failing machine, and a machine that sends nothing from both."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Callable
from typing import Any

import pytest

from detector.history import History
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

ALERTS, STATE, SENSORS = "anomalyd/press/alert", "anomalyd/press/state", "anomalyd/press/sensor"
ILL = range(100, 250)  # the readings in which a sensor is not healthy
WATCHED: dict[str, Any] = {"stuck_after": "5s", "silent_after": "5s", "limits": {"pressure": [0, 10]}}
Ready = Callable[[], Daemon]


def ailing(sensor: str, shown: float | None, rows: range = ILL, *, fault: range = range(0)) -> History:
    """The plant's readings, with a sensor that shows one value (None: its last), NaN for no value.

    Within a fault the temperature is six deviations off.
    """
    history = plant.history(300)
    values = history.values.copy()
    column = plant.SENSORS.index(sensor)
    values[rows, column] = values[rows[0], column] if shown is None else shown
    values[fault, 2] += 6 * plant.SCALE[2]
    return dataclasses.replace(history, values=values)


def messages(history: History) -> list[tuple[str, bytes]]:
    """As the plant sends them: null where there is no value."""
    return [(topic, payload.replace(b"NaN", b"null")) for topic, payload in plant.messages(history)]


def at(reading: int) -> str:
    """The time of a reading, as it is published."""
    return f"2025-01-01T10:{reading // 60:02}:{reading % 60:02}.000Z"


def send_all(client: Client, history: History) -> None:
    """Sends the history, then waits until all of it was judged: the last reading opens an alert."""
    for topic, payload in messages(history):
        client.publish(topic, payload)
    end = plant.START + 1000 * len(history)
    mark = {"ts": end, **dict.fromkeys(plant.SENSORS, 5.0)}
    client.publish("plant/mark/readings", json.dumps(mark).encode())
    wait_until(lambda: client.last("anomalyd/mark/state"), "the last reading's state")


@pytest.mark.parametrize(
    ("health", "shown", "found", "value", "limit", "samples"),
    [
        ("stuck", None, 105, "last", 5, 6),
        ("silent", math.nan, 105, "last", 5, 6),
        ("out_of_range", -999.0, 100, -999.0, [0, 10], 1),
    ],
)
def test_a_dead_sensor_is_told_and_opens_no_alert(
    setup: Setup,
    client: Client,
    ready: Ready,
    health: str,
    shown: float | None,
    found: int,
    value: object,
    limit: object,
    samples: int,
) -> None:
    bundle = plant.promote(setup.state, threshold=0.3).name
    setup.write(sensors=WATCHED)
    readings = ailing("pressure", shown)
    daemon = ready()
    send_all(client, readings)
    lost, again = client.messages(SENSORS)
    last = readings.values[100 if health == "stuck" else 99, 1]
    assert lost == {
        "machine": "press",
        "sensor": "pressure",
        "health": health,
        "was": "ok",
        "at": at(found),
        "since": at(found),
        "value": last if value == "last" else value,
        "samples": samples,
        "limit": limit,
        "model": bundle,
    }
    over = at(249 + plant.LENGTH)  # nothing has ailed it for a whole window
    assert (again["health"], again["was"], again["at"], again["since"]) == ("ok", health, over, at(found))
    assert client.messages(ALERTS) == []
    states = client.messages(STATE)
    assert [state["sensors"] for state in states if state["sensors"]] == [
        [{"sensor": "pressure", "health": health, "since": at(found)}]
    ]
    assert states[-1]["sensors"] == []
    daemon.wait("sensor_unhealthy", reason=health, machine="press", sensor="pressure", at=at(found))
    daemon.wait("sensor_recovered", machine="press", sensor="pressure", was=health, at=over)


def test_sensors_that_no_bundle_has_are_named_when_bundles_or_options_change(
    setup: Setup, ready: Ready
) -> None:
    setup.write(sensors={"limits": {"presure": [0, 1]}, "ignore": ["flow"]})
    daemon = ready()
    assert daemon.said("sensors_unknown") == [], "without a bundle nobody knows"
    plant.promote(setup.state)
    daemon.wait("sensors_unknown", sensors=["presure"])
    setup.write(sensors={"limits": {"pressure": [0, 1]}, "ignore": ["folw"]})
    daemon.send(signal.SIGHUP)
    daemon.wait("sensors_unknown", sensors=["folw"])
    daemon.end()
    ready().wait("sensors_unknown", sensors=["folw"])


@pytest.mark.parametrize("shown", [None, -999.0])
def test_values_that_are_not_left_out_open_an_alert(
    setup: Setup, client: Client, ready: Ready, shown: float | None
) -> None:
    plant.promote(setup.state, threshold=0.3)
    setup.write(sensors={**WATCHED, "leave_out": False})
    ready()
    send_all(client, ailing("pressure", shown))
    assert client.messages(ALERTS)[0]["change"] == "opened"
    assert len(client.messages(SENSORS)) == 2


@pytest.mark.parametrize("shown", [None, math.nan, -999.0])
def test_a_machine_that_fails_beside_a_dead_sensor_still_opens_an_alert(
    setup: Setup, client: Client, ready: Ready, shown: float | None
) -> None:
    plant.promote(setup.state, threshold=0.3)
    setup.write(sensors=WATCHED)
    ready()
    send_all(client, ailing("pressure", shown, fault=range(150, 200)))
    opened, *_, closed = client.messages(ALERTS)
    assert (opened["change"], closed["change"]) == ("opened", "closed")
    assert at(150) < opened["at"] < at(160)
    assert opened["sensors"][0]["sensor"] == "temperature"
    assert (opened["imputed"], opened["coverage"]) == (["pressure"], 0.6667)
    assert [event["health"] == "ok" for event in client.messages(SENSORS)] == [False, True]


def test_without_enough_healthy_sensors_a_machine_is_degraded_and_not_in_alert(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, threshold=0.3)
    setup.write(sensors=WATCHED)
    both = ailing("pressure", -999.0)
    values = both.values.copy()
    values[ILL, 0] = values[ILL[0], 0]
    ready()
    send_all(client, dataclasses.replace(both, values=values))
    assert [state["state"] for state in client.messages(STATE) if not state["sensors"]][-1] == "normal"
    degraded = [state for state in client.messages(STATE) if state["state"] == "degraded"]
    assert [one["sensor"] for one in degraded[0]["sensors"]] == ["flow", "pressure"]
    assert client.messages(ALERTS) == []


@pytest.mark.slow
def test_kills_in_mid_stream_neither_lose_nor_change_what_is_told_of_sensors(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, threshold=0.3)
    setup.write(sensors=WATCHED)
    readings = plant.history(1500, faults=[range(n, n + 20) for n in range(150, 1500, 100)])
    values = readings.values.copy()
    for start in range(40, 1500, 100):
        values[start : start + 30, 1] = values[start, 1]
        values[start + 20 : start + 45, 0] = math.nan
        values[start + 40 : start + 60, 1] = 11.0
    readings = dataclasses.replace(readings, values=values)
    expected = plant.expected_of_sensors(setup.settings, [readings])
    alerts = plant.expected(setup.settings, [readings])
    assert {event["health"] for event in expected} == {"ok", "stuck", "silent", "out_of_range"}
    assert len(expected) > 80
    daemon = ready()
    stream = client.stream(messages(readings))
    for confirmed in range(200, 1400, 200):
        wait_until(lambda confirmed=confirmed: client.confirmed >= confirmed, "the stream")  # type: ignore[misc]
        daemon.kill()
        daemon = ready()
    stream.join()

    def unique(topic: str) -> list[dict[str, Any]]:
        seen: dict[tuple[str, ...], dict[str, Any]] = {}
        for event in client.messages(topic):
            key = (event["at"], event.get("sensor", ""), event.get("change", ""))
            assert seen.setdefault(key, event) == event, "what comes again is the same"
        return list(seen.values())

    wait_until(lambda: len(unique(SENSORS)) >= len(expected), "all that is to be told")
    wait_until(lambda: len(unique(ALERTS)) >= len(alerts), "all alerts")
    assert unique(SENSORS) == expected
    assert [(event["id"], event["change"], event["at"]) for event in unique(ALERTS)] == [
        (event["id"], event["change"], event["at"]) for event in alerts
    ]


def reading(number: int, *, pressure: float = plant.OFFSET[1]) -> tuple[str, bytes]:
    """The plant at rest."""
    values = dict(zip(plant.SENSORS, plant.OFFSET, strict=True)) | {"pressure": pressure}
    content = {"ts": plant.START + 1000 * number, **values}
    return "plant/press/readings", json.dumps(content).encode()


QUIET = {"on_silence": True, "silent_after": "1s"}  # three intervals, which are longer, count


def test_a_silent_machine_opens_an_alert_that_a_kill_does_not_double_and_the_next_reading_closes(
    setup: Setup, client: Client, ready: Ready
) -> None:
    bundle = plant.promote(setup.state).name
    setup.write(alerts=QUIET)
    daemon = ready()
    client.publish(*reading(0))
    opened = wait_until(lambda: client.last(ALERTS), "the alert")
    assert opened == {
        "id": opened["id"],
        "machine": "press",
        "change": "opened",
        "severity": "warning",
        "at": opened["opened_at"],
        "opened_at": opened["opened_at"],
        "score": None,
        "peak_score": None,
        "reconstruction_error": None,
        "threshold": None,
        "sensors": [],
        "coverage": None,
        "imputed": [],
        "model": bundle,
        "reason": "silence",
        "acknowledged": None,
    }
    state = wait_until(lambda: client.last(STATE)["state"] == "silent" and client.last(STATE), "the state")
    assert (state["alert"]["id"], state["alert"]["reason"]) == (opened["id"], "silence")
    daemon.wait("alert_opened", machine="press", reason="silence", id=opened["id"])
    daemon.kill()
    daemon = ready()
    client.publish(*reading(1))
    wait_until(lambda: client.last(ALERTS)["change"] == "closed", "the end of the alert")
    seen = {(event["id"], event["change"]) for event in client.messages(ALERTS)}
    assert seen == {(opened["id"], "opened"), (opened["id"], "closed")}
    wait_until(lambda: client.last(STATE)["alert"] is None, "the state without an alert")


def test_a_machine_in_alert_that_falls_silent_has_two_alerts(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    setup.write(alerts=QUIET)
    ready()
    for number in range(20):
        client.publish(*reading(number, pressure=4.0))
    wait_until(lambda: len(client.messages(ALERTS)) == 2, "both alerts")
    anomaly, silence = client.messages(ALERTS)
    assert [(event["change"], event["reason"]) for event in (anomaly, silence)] == [
        ("opened", "anomaly"),
        ("opened", "silence"),
    ]
    assert anomaly["id"] != silence["id"]
    state = wait_until(lambda: client.last(STATE)["state"] == "silent" and client.last(STATE), "the state")
    assert state["alert"]["id"] == anomaly["id"]
    client.publish(*reading(20, pressure=4.0))
    wait_until(lambda: client.last(STATE)["state"] == "alert", "the state")
    closed = client.messages(ALERTS)[-1]
    assert (closed["change"], closed["id"]) == ("closed", silence["id"])


def test_a_machine_that_is_silent_since_before_the_start_is_told_too(
    setup: Setup, client: Client, ready: Ready
) -> None:
    daemon = ready()
    client.publish(*reading(0))
    daemon.wait("state_changed", state="learning")
    daemon.end()
    setup.write(alerts=QUIET)
    ready()
    opened = wait_until(lambda: client.last(ALERTS), "the alert")
    assert (opened["reason"], opened["model"]) == ("silence", None)


def test_silence_opens_no_alert_unless_it_is_asked_for_and_none_stays_when_it_no_longer_is(
    setup: Setup, client: Client, ready: Ready
) -> None:
    setup.write(alerts={"silent_after": "1s"})
    daemon = ready()
    client.publish(*reading(0))
    daemon.wait("state_changed", state="silent")
    assert client.messages(ALERTS) == []
    setup.write(alerts=QUIET)
    daemon.send(signal.SIGHUP)
    wait_until(lambda: client.last(ALERTS), "the alert")
    setup.write(alerts={"silent_after": "1s"})
    daemon.send(signal.SIGHUP)
    wait_until(lambda: client.last(ALERTS)["change"] == "closed", "the end of the alert")


def test_an_alert_about_silence_is_repeated(setup: Setup, client: Client, ready: Ready) -> None:
    setup.write(alerts={**QUIET, "repeat_every": "1s"})
    ready()
    client.publish(*reading(0))
    wait_until(lambda: len(client.messages(ALERTS)) >= 3, "the alert, again and again")
    events = client.messages(ALERTS)
    assert [event["change"] for event in events[:3]] == ["opened", "updated", "updated"]
    assert len({event["id"] for event in events}) == 1
