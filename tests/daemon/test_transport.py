"""What networks do to a connection, by a proxy before a real broker: it comes back, and nothing is lost."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo.broker import broker as demo_broker
from tests import plant
from tests.conftest import Setup
from tests.daemon.losses import assert_nothing_lost, stored
from tests.proxy import Proxy
from tests.real_broker import OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

READINGS = plant.history(300, faults=[range(n, n + 20) for n in range(50, 300, 80)])
MESSAGES = plant.messages(READINGS)
KEEPALIVE = 2  # seconds


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    with closing(Proxy(broker.port)) as proxy:
        yield proxy


@pytest.fixture
def daemon(setup: Setup, proxy: Proxy, run_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that has its broker behind the proxy, and a bundle."""
    plant.promote(setup.state)
    setup.write(mqtt={"host": "localhost", "port": proxy.port, "keepalive": f"{KEEPALIVE}s"})
    daemon = run_daemon(setup.file)
    daemon.wait("broker_connected")
    return daemon


def connected(daemon: Daemon, times: int) -> None:
    wait_until(lambda: len(daemon.said("broker_connected")) >= times, f"{times} connections")


def again(proxy: Proxy, times: int) -> None:
    wait_until(lambda: proxy.connections > times, "another connection")


def test_a_connection_that_is_reset_is_made_again_and_costs_nothing(
    setup: Setup, client: Client, daemon: Daemon, proxy: Proxy
) -> None:
    stream = client.stream(MESSAGES)
    wait_until(lambda: stored(setup), "a reading")
    proxy.reset()
    daemon.wait("broker_lost", reason="closed")
    connected(daemon, 2)
    stream.join()
    assert_nothing_lost(setup, client, READINGS)


@pytest.mark.parametrize("deaf", [("client", "broker"), ("client",), ("broker",)])
def test_a_black_hole_is_noticed_by_the_keepalive_and_costs_nothing(
    setup: Setup, client: Client, daemon: Daemon, proxy: Proxy, deaf: tuple[str, ...]
) -> None:
    stream = client.stream(MESSAGES)
    wait_until(lambda: stored(setup), "a reading")
    began = time.monotonic()
    proxy.swallow(*deaf)  # type: ignore[arg-type]
    proxy.heal()
    connected(daemon, 2)
    assert time.monotonic() - began >= KEEPALIVE, "noticed by nothing else"
    assert daemon.said("broker_lost")
    stream.join()
    assert_nothing_lost(setup, client, READINGS)


def test_a_connection_that_only_the_broker_has_ended_is_noticed_by_the_keepalive(
    setup: Setup, client: Client, daemon: Daemon, proxy: Proxy
) -> None:
    client.stream(MESSAGES)
    proxy.half_open()
    daemon.wait("broker_lost", reason="keep_alive_timeout")
    connected(daemon, 2)
    assert_nothing_lost(setup, client, READINGS)


def test_a_slow_link_is_slow_and_is_not_given_up(
    setup: Setup, client: Client, daemon: Daemon, proxy: Proxy
) -> None:
    proxy.delay, proxy.per_second = 0.2, 20_000
    client.stream(MESSAGES)
    assert_nothing_lost(setup, client, READINGS)
    assert daemon.said("broker_lost") == []


def test_a_broker_that_refuses_connections_for_a_while_is_asked_again(
    setup: Setup, client: Client, daemon: Daemon, proxy: Proxy
) -> None:
    proxy.refuse()
    daemon.wait("broker_lost", reason="connection_refused")
    client.stream(MESSAGES).join()
    proxy.heal()
    connected(daemon, 2)
    assert_nothing_lost(setup, client, READINGS)


def test_a_host_that_never_answers_connect_is_given_up_in_time_and_said(
    setup: Setup, proxy: Proxy, run_daemon: Callable[..., Daemon]
) -> None:
    mqtt = {"host": "localhost", "port": proxy.port, "keepalive": "1h", "connect_timeout": "1s"}
    setup.write(mqtt=mqtt)
    proxy.swallow()
    daemon = run_daemon(setup.file)
    said = daemon.wait("broker_lost", reason="unanswered")
    assert said["detail"] == "no answer to CONNECT"
    proxy.heal()
    daemon.wait("broker_connected")


def test_a_broker_of_mqtt_3_1_1_alone_is_named_and_serves_once_it_is_asked_in_its_version(
    tmp_path: Path, run_daemon: Callable[..., Daemon]
) -> None:
    with demo_broker(tmp_path, kind="amqtt") as address:
        setup = Setup(tmp_path, address.port)
        mqtt = {"host": address.host, "port": address.port, "connect_timeout": "1s"}
        setup.write(mqtt=mqtt)
        daemon = run_daemon(setup.file)
        said = daemon.wait("broker_lost", reason="unanswered")
        assert "mqtt.version must be 3.1.1" in said["hint"]
        assert daemon.end() == 0
        setup.write(mqtt=mqtt | {"version": "3.1.1"})
        run_daemon(setup.file).wait("broker_connected")


def test_garbled_bytes_end_an_encrypted_connection_and_cost_nothing(
    tmp_path: Path,
    certificates: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    broker = new_broker(
        f"{OPEN}\ncafile {certificates}/ca.crt\n"
        f"certfile {certificates}/server.crt\nkeyfile {certificates}/server.key"
    )
    client = new_client(
        broker.port, "anomalyd/#", tls=ssl.create_default_context(cafile=certificates / "ca.crt")
    )
    setup = Setup(tmp_path, broker.port)
    plant.promote(setup.state)
    with closing(Proxy(broker.port)) as proxy:
        tls = {"enabled": True, "ca_file": f"{certificates}/ca.crt"}
        setup.write(mqtt={"host": "localhost", "port": proxy.port, "keepalive": "2s", "tls": tls})
        daemon = run_daemon(setup.file)
        for times in range(1, 4):
            connected(daemon, times)
            proxy.garbled = 0.5
            stream = client.stream(MESSAGES[100 * (times - 1) : 100 * times])
            daemon.wait("broker_lost")
            stream.join()
            again(proxy, times)
            proxy.heal()
        assert_nothing_lost(setup, client, READINGS)
