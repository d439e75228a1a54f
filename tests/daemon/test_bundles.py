"""Which bundle serves: own or shared, promoted while the daemon runs, tampered with, or none at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from daemon.store import Store
from detector.manifest import SCHEMA
from registry.bundle import MANIFEST
from registry.champions import Registry
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Ready = Callable[[], Daemon]
FIRST, SECOND = "2025-01-01T09-00-00Z-0001", "2025-01-02T09-00-00Z-0002"


def state(client: Client, machine: str = "press") -> str | None:
    last = client.last(f"anomalyd/{machine}/state")
    return last["state"] if last else None


def test_machines_are_served_by_their_own_bundle_or_by_the_shared_one(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, FIRST)
    plant.promote(setup.state, SECOND, machine="press-1", threshold=10_000.0)
    setup.write(scores={"publish": True})
    ready()
    names = [f"press-{n}" for n in range(1, 6)]
    histories = [plant.history(40, machine=name, faults=[range(20, 40)]) for name in names]
    for messages in zip(*map(plant.messages, histories), strict=True):
        for topic, payload in messages:
            client.publish(topic, payload)
    wait_until(lambda: all(state(client, name) == "alert" for name in names[1:]), "alerts")
    wait_until(lambda: len(client.messages("anomalyd/press-1/score")) == 37, "scores of press-1")
    assert state(client, "press-1") == "normal"
    for name in names:
        (model,) = {score["model"] for score in client.messages(f"anomalyd/{name}/score")}
        assert model == (SECOND if name == "press-1" else FIRST)
        opened = client.messages(f"anomalyd/{name}/alert")
        assert [event["change"] for event in opened] == ([] if name == "press-1" else ["opened"])


def test_scores_are_published_only_when_asked_for(setup: Setup, client: Client, ready: Ready) -> None:
    plant.promote(setup.state)
    ready()
    for topic, payload in plant.messages(plant.history(40, faults=[range(20, 40)])):
        client.publish(topic, payload)
    wait_until(lambda: client.messages("anomalyd/press/alert"), "the alert")
    assert client.messages("anomalyd/press/score") == []


def test_a_state_is_retained_for_those_who_come_later(
    setup: Setup, client: Client, ready: Ready, new_client: Callable[..., Client]
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    for topic, payload in plant.messages(plant.history(40, faults=[range(20, 40)])):
        client.publish(topic, payload)
    wait_until(lambda: state(client) == "alert", "the alert")
    daemon.kill()
    late = new_client(setup.settings.mqtt.broker_port, "anomalyd/press/state")
    seen = wait_until(lambda: late.last("anomalyd/press/state"), "the retained state")
    opened = client.messages("anomalyd/press/alert")[0]
    assert seen["state"] == "alert"
    assert seen["alert"]["id"] == opened["id"]
    assert seen["model"] == FIRST


def test_a_bundle_that_is_promoted_meanwhile_takes_over_without_a_gap(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, FIRST)
    setup.write(scores={"publish": True})
    daemon = ready()
    readings = plant.history(1000)
    stream = client.stream(plant.messages(readings), per_second=500)
    wait_until(lambda: len(client.messages("anomalyd/press/score")) > 100, "scores of the first")
    plant.promote(setup.state, SECOND)
    daemon.wait("bundle_loaded", bundle=SECOND)
    stream.join()
    times = [plant.milliseconds(score["at"]) for score in _scores(client, 997)]
    assert times == readings.at.tolist()[3:]
    models = [score["model"] for score in _scores(client, 997)]
    assert models == sorted(models)
    assert set(models) == {FIRST, SECOND}
    wait_until(lambda: client.last("anomalyd/status")["champions"]["shared"] == SECOND, "the status")
    assert client.last("anomalyd/press/state")["model"] == SECOND


def _scores(client: Client, count: int) -> list[dict[str, str]]:
    topic = "anomalyd/press/score"
    wait_until(lambda: len(client.messages(topic)) >= count, f"{count} scores")
    return client.messages(topic)


def test_a_champion_that_was_tampered_with_is_refused_and_the_former_one_serves(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, FIRST)
    bundle = plant.promote(setup.state, SECOND)
    (bundle / "model.tflite").write_bytes(plant.model() + b"\0")
    daemon = ready()
    assert daemon.wait("bundle_refused")["reason"] == (
        f"bundle {SECOND}: model.tflite was changed after it was written"
    )
    daemon.wait("bundle_loaded", bundle=FIRST)
    wait_until(lambda: client.last("anomalyd/status"), "the status")
    status = client.last("anomalyd/status")
    assert status["champions"]["shared"] == FIRST
    assert status["status"] == "degraded"
    assert status["problem"] == f"bundle {SECOND}: model.tflite was changed after it was written"

    (bundle / "model.tflite").write_bytes(plant.model())
    Registry(setup.state).promote(SECOND)
    wait_until(lambda: client.last("anomalyd/status")["status"] == "online", "the mended bundle's service")
    assert client.last("anomalyd/status")["champions"]["shared"] == SECOND


def _newer(bundle: Path) -> None:
    content = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    (bundle / MANIFEST).write_bytes(msgspec.json.encode(content | {"schema": SCHEMA + 1, "more": 1}))


def _cut(bundle: Path) -> None:
    os.truncate(bundle / MANIFEST, 300)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_newer, f"schema: must be at most {SCHEMA} for this version, got {SCHEMA + 1}: made by a newer one"),
        (_cut, "Input data was truncated"),
        (lambda bundle: (bundle / MANIFEST).unlink(), f"has no {MANIFEST} in "),
        (lambda bundle: (bundle / "model.tflite").unlink(), "model.tflite: No such file or directory"),
        (shutil.rmtree, "there is none in "),
    ],
    ids=["newer", "truncated", "without its manifest", "half-written", "gone"],
)
def test_a_champion_that_must_not_be_used_is_refused_by_name_and_the_former_one_serves(
    setup: Setup, client: Client, ready: Ready, spoil: Callable[[Path], None], reason: str
) -> None:
    plant.promote(setup.state, FIRST)
    spoil(plant.promote(setup.state, SECOND))
    daemon = ready()
    said = daemon.wait("bundle_refused")["reason"]
    assert said.startswith(f"bundle {SECOND}: ")
    assert reason in said
    for topic, payload in plant.messages(plant.history(40, faults=[range(20, 40)])):
        client.publish(topic, payload)
    wait_until(lambda: state(client) == "alert", "the alert")
    assert client.messages("anomalyd/press/alert")[0]["model"] == FIRST
    status = client.last("anomalyd/status")
    assert (status["status"], status["problem"]) == ("degraded", said)


def test_a_broken_list_of_champions_leaves_in_service_what_serves(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state, FIRST)
    daemon = ready()
    (setup.state / "champions.json").write_text("{")
    daemon.wait("bundle_refused")
    for topic, payload in plant.messages(plant.history(20)):
        client.publish(topic, payload)
    wait_until(lambda: state(client) == "normal", "a score")


def test_readings_without_a_bundle_are_stored_and_scored_from_the_first_bundle_on(
    setup: Setup, client: Client, ready: Ready
) -> None:
    setup.write(scores={"publish": True})
    daemon = ready()
    assert daemon.said("no_bundle")
    readings = plant.messages(plant.history(30))
    for topic, payload in readings[:20]:
        client.publish(topic, payload)
    client.publish(
        "plant/press/readings", b'{"ts": "2199-01-01", "flow": 1, "pressure": 1, "temperature": 1}'
    )
    wait_until(lambda: state(client) == "learning", "the state")
    daemon.wait("reading_dropped", reason="future")
    wait_until(lambda: _count(setup) == 20, "the readings to be stored")
    plant.promote(setup.state, FIRST)
    daemon.wait("champions_swapped", machines=1)
    topic, payload = readings[20]
    client.publish(topic, payload)
    (score,) = _scores(client, 1)
    assert plant.milliseconds(score["at"]) == plant.START + 20_000
    wait_until(lambda: state(client) == "normal", "the state")


def _count(setup: Setup) -> int:
    store = Store(setup.state / "store.sqlite", read_only=True)
    count = sum(1 for _ in store.readings("press", 0))
    store.close()
    return count
