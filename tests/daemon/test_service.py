"""What a step makes of the broker's answers, whatever their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from config import load
from config.policies import alert_policy, stream_policy
from daemon.announcing import Announcer
from daemon.clock import now
from daemon.commands.desk import desk_of
from daemon.decoding import Decoder
from daemon.intake import CROWD, Intake, Message, Published
from daemon.publisher import Publisher
from daemon.service import Service
from daemon.store import Store
from daemon.tally import Tally
from daemon.transaction import Transaction
from detector.machine import Machine
from detector.pipeline import Champions, Pipeline
from registry.champions import Registry
from tests import plant
from tests.daemon import offline
from tests.daemon.wire import Wire, connected
from tests.waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def service(tmp_path: Path, store: Store) -> Callable[[Wire, Intake], Service]:
    file = tmp_path / "anomalyd.yaml"
    file.write_text(f"state_dir: {tmp_path}\n")
    settings = load(file, {})

    def make(wire: Wire, intake: Intake) -> Service:
        tally = Tally(time.monotonic)
        publisher = Publisher(wire, tally, time.monotonic)
        return Service(
            settings,
            intake=intake,
            decoder=Decoder(topic=settings.readings.topic, time="ts", values=None, max_payload=1000),
            pipeline=Pipeline(Champions(), stream=stream_policy(settings), alerts=alert_policy(settings)),
            store=store,
            connection=wire,
            publisher=publisher,
            announcer=Announcer(settings, publisher, tally, version="1"),
            desk=desk_of(settings, store, Registry(settings.state_dir), tally, ask=lambda *_: True),
            tally=tally,
            retained_alerts=dict,
        )

    return make


def test_an_alert_that_the_broker_has_taken_is_not_published_again_on_the_next_connection(
    store: Store, service: Callable[[Wire, Intake], Service]
) -> None:
    wire, intake = Wire(), Intake()
    daemon = service(wire, intake)
    one, two = ("alerts", b"1"), ("alerts", b"2")
    store.commit(Transaction(outgoing=[one, two]))
    intake.put(connected(1))
    daemon.step()
    assert wire.published[:-1] == [one, two]
    count = len(wire.published)
    intake.put(Published(1, 1, None))
    wire.generation = 3
    intake.put(connected(3))
    daemon.step()
    assert wire.published[count:-1] == [two]
    daemon.leave()  # at the latest it is noted now
    assert store.unsent() == [(2, *two)]


def test_the_intake_is_crowded_by_messages_that_the_broker_would_keep() -> None:
    intake = Intake()

    def put(count: int, qos: int) -> None:
        for number in range(count):
            intake.put(Message("t", b"{}", 0, qos=qos, mid=number, generation=1))

    put(CROWD, qos=0)
    put(CROWD - 1, qos=1)
    assert not intake.crowded()
    put(1, qos=1)
    assert intake.crowded()
    intake.take(CROWD + 1, 0.0)
    assert not intake.crowded()


def opened(daemon: offline.Offline, payloads: list[tuple[str, bytes]]) -> Sequence[Machine]:
    """Lets a machine send one reading, then late ones alone until the alert opens; returns all machines."""
    daemon.take([Message(*payloads[1], now(), 0, 0, 1)])

    def silent() -> bool:
        daemon.take([Message(*payloads[0], now(), 0, 0, 1)])
        return daemon.service.pipeline.machines()[0].silence.alert is not None

    wait_until(silent, "the alert")
    return daemon.service.pipeline.machines()


def test_an_alert_about_silence_that_opens_as_late_readings_come_is_known_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text(f"state_dir: {tmp_path}/state\nalerts: {{on_silence: true, silent_after: 1s}}\n")
    settings = load(file, {})
    plant.promote(settings.state_dir)
    payloads = plant.messages(plant.history(2))

    monkeypatch.setattr("daemon.service.TICK", 0.0)  # a look at the clock with every step
    with offline.serving(settings) as daemon:
        (machine,) = opened(daemon, payloads)
        alert = machine.silence.alert
    with offline.serving(settings) as daemon:
        (machine,) = daemon.service.pipeline.machines()
        assert machine.silence.alert == alert
