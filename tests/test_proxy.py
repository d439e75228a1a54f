from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.proxy import Proxy
from tests.waiting import wait_until


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[Proxy]:
    proxy = Proxy(server.getsockname()[1])
    yield proxy
    proxy.close()


Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends(proxy: Proxy, server: socket.socket) -> Iterator[Ends]:
    with connected(proxy, server) as client, server.accept()[0] as broker:
        broker.settimeout(30)
        wait_until(lambda: proxy.connections, "the connection")
        yield client, broker


def connected(proxy: Proxy, server: socket.socket) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port))
    client.settimeout(30)
    return client


def hears(channel: socket.socket) -> bytes | None:
    """What has come within a moment; None: nothing, and the connection stands."""
    channel.settimeout(0.2)
    try:
        return channel.recv(4096)
    except TimeoutError:
        return None
    finally:
        channel.settimeout(30)


def test_bytes_and_the_end_are_handed_on(ends: Ends) -> None:
    client, broker = ends
    client.sendall(b"ask")
    assert broker.recv(10) == b"ask"
    broker.sendall(b"answer")
    assert client.recv(10) == b"answer"
    client.close()
    assert broker.recv(10) == b""


def test_a_reset_is_one_on_both_sides(proxy: Proxy, ends: Ends) -> None:
    assert proxy.reset() == 1
    for channel in ends:
        with pytest.raises(ConnectionResetError):
            channel.recv(10)
    assert proxy.reset() == 0


def test_what_is_swallowed_never_comes_and_new_connections_are_whole_once_healed(
    proxy: Proxy, ends: Ends, server: socket.socket
) -> None:
    client, broker = ends
    proxy.swallow()
    client.sendall(b"ask")
    broker.sendall(b"answer")
    assert (hears(client), hears(broker)) == (None, None)
    proxy.heal()
    client.sendall(b"again")
    client.close()
    assert hears(broker) is None
    with connected(proxy, server) as other, server.accept()[0] as its_broker:
        other.sendall(b"ask")
        assert its_broker.recv(10) == b"ask"


def test_one_side_alone_may_be_deaf(proxy: Proxy, ends: Ends) -> None:
    client, broker = ends
    proxy.swallow("broker")
    client.sendall(b"ask")
    broker.sendall(b"answer")
    assert client.recv(10) == b"answer"
    assert hears(broker) is None


def test_a_half_open_connection_has_ended_for_the_broker_alone(proxy: Proxy, ends: Ends) -> None:
    client, broker = ends
    proxy.half_open()
    with pytest.raises(ConnectionResetError):
        broker.recv(10)
    client.sendall(b"ask")
    assert hears(client) is None


def test_who_is_refused_gets_in_again_once_healed(proxy: Proxy, ends: Ends, server: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        ends[0].recv(10)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy, server)
    proxy.heal()
    connected(proxy, server).close()
    wait_until(lambda: proxy.connections == 2, "the connection")


def test_a_garbled_piece_differs_in_one_byte(proxy: Proxy, ends: Ends) -> None:
    client, broker = ends
    proxy.garbled = 1.0
    client.sendall(b"a" * 100)
    got = b""
    while len(got) < 100:
        got += broker.recv(100)
    assert len(got) == 100
    assert 1 <= 100 - got.count(b"a") <= 2


def test_a_slow_link_takes_its_time_and_loses_nothing(proxy: Proxy, ends: Ends) -> None:
    client, broker = ends
    proxy.delay, proxy.per_second = 0.2, 100_000
    started = time.monotonic()
    client.sendall(b"a" * 50_000)
    got = b""
    while len(got) < 50_000:
        got += broker.recv(50_000)
    assert time.monotonic() - started >= 0.2 + 0.5
    assert got == b"a" * 50_000
