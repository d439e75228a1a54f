from __future__ import annotations

import importlib.util
import socket
import time
from pathlib import Path

import pytest
from paho.mqtt import publish

from demo.broker import Address, Kind, broker, mosquitto_path
from demo.client import connected, protocol

MISSING = {"mosquitto": mosquitto_path() is None, "amqtt": importlib.util.find_spec("amqtt") is None}


@pytest.fixture(params=["mosquitto", "amqtt"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    if MISSING[chosen]:
        pytest.skip(f"{chosen} is not installed")
    return chosen


def answers(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_broker_listens_until_the_block_ends(kind: Kind, tmp_path: Path) -> None:
    with broker(tmp_path, kind=kind) as address:
        assert answers(address)
        assert address.kind == kind
    assert not answers(address)


def test_the_demonstration_hears_through_either_broker_what_the_daemon_says(
    kind: Kind, tmp_path: Path
) -> None:
    heard: list[tuple[str, bytes]] = []
    with broker(tmp_path, kind=kind) as address, connected(address, "pump-1") as client:
        publish.single(
            "anomalyd/status",
            b"{}",
            qos=1,
            retain=True,  # so that it does not matter who comes first
            hostname=address.host,
            port=address.port,
            protocol=protocol(address),
        )
        deadline = time.monotonic() + 20
        while not heard and time.monotonic() < deadline:
            heard = client.heard(wait=0.5)
    assert heard == [("anomalyd/status", b"{}")]


def test_a_broker_is_stopped_when_the_block_fails(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), broker(tmp_path, kind=kind) as address:
        raise ZeroDivisionError
    assert not answers(address)


def test_mosquitto_speaks_mqtt_5_and_amqtt_3_1_1(kind: Kind, tmp_path: Path) -> None:
    with broker(tmp_path, kind=kind) as address:
        assert address.mqtt_version == {"mosquitto": "5", "amqtt": "3.1.1"}[kind]
