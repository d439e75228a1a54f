"""What daemon/client.py changes about paho, with a broker's side that is written down byte by byte."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from daemon import client
from daemon.client import AHEAD, Client
from tests.waiting import wait_until

ACCEPTED = b"\x20\x02\x00\x00"  # MQTT 3.1.1


def publication(mid: int, payload: bytes) -> bytes:
    body = b"\x00\x01t" + struct.pack("!H", mid) + payload
    size, length = bytearray(), len(body)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes((0x32, *size, length)) + body


class Receiver:
    """A connected client and what it got."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311, manual_ack=True)
        self.client.on_message = lambda _client, _data, message: self.got.append(
            (message.mid, bytes(message.payload))
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


@pytest.fixture
def receiver(server: socket.socket) -> Iterator[Receiver]:
    receiver = Receiver(server.getsockname()[1])
    yield receiver
    receiver.client.disconnect()
    receiver.client.loop_stop()


def accepted(server: socket.socket) -> socket.socket:
    channel, _ = server.accept()
    channel.settimeout(60)
    channel.recv(4096)  # CONNECT
    channel.sendall(ACCEPTED)
    return channel


PAYLOADS = [b"", b"x", *(bytes([i]) * 180 for i in range(60)), b"y" * (AHEAD - 7), b"z" * 3 * AHEAD, b"end"]
MESSAGES = list(enumerate(PAYLOADS, 1))


@pytest.mark.parametrize("piece", [1009, 4096, AHEAD, 10 * AHEAD])
def test_packets_arrive_whole_and_in_order_however_the_bytes_are_cut(
    server: socket.socket, receiver: Receiver, piece: int
) -> None:
    with accepted(server) as channel:
        content = b"".join(publication(*message) for message in MESSAGES)
        for start in range(0, len(content), piece):
            channel.sendall(content[start : start + piece])
        wait_until(lambda: len(receiver.got) >= len(MESSAGES), "the messages")
        assert receiver.got == MESSAGES


def test_a_byte_at_a_time_is_enough(server: socket.socket, receiver: Receiver) -> None:
    with accepted(server) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"".join(publication(*message) for message in MESSAGES[:8]):
            channel.sendall(bytes([byte]))
        wait_until(lambda: len(receiver.got) >= 8, "the messages")
        assert receiver.got == MESSAGES[:8]


class Flood(socket.socket):
    """A socket on which there is always more to read than is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._packet = publication(1, b"x" * 180)
        self._position = 0

    def recv(self, bufsize: int, _flags: int = 0) -> bytes:
        begin = self._position % len(self._packet)
        self._position += bufsize
        return (self._packet * (bufsize // len(self._packet) + 2))[begin : begin + bufsize]


def test_a_flood_without_end_leaves_the_thread_time_to_write() -> None:
    flooded = Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311, manual_ack=True)
    got: list[int] = []
    flooded.on_message = lambda _client, _data, message: got.append(message.mid)
    for _ in range(1000):  # what waits for an answer makes paho read as many packets at once
        flooded.publish("t", qos=1)
    with Flood() as channel:
        flooded._sock = channel
        assert flooded.loop_read() is paho.MQTT_ERR_SUCCESS
        flooded._sock = None
    assert 1 < len(got) <= AHEAD / len(publication(1, b"x" * 180)) + 1


def test_while_there_is_no_room_messages_stay_with_the_broker_and_what_is_published_goes_out(
    server: socket.socket, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE", 3600.0)
    full = False
    receiver.client.crowded = lambda: full
    with accepted(server) as channel:
        channel.sendall(publication(1, b"one"))
        wait_until(lambda: receiver.got, "the first message")
        full = True
        channel.sendall(publication(2, b"two"))
        receiver.client.publish("t", b"out", qos=0)
        assert channel.recv(4096).endswith(b"out")
        assert receiver.got == [(1, b"one")]
        full = False
        wait_until(lambda: len(receiver.got) == 2, "the second message")


def test_without_room_for_long_something_is_read_all_the_same(
    server: socket.socket, receiver: Receiver
) -> None:
    receiver.client.crowded = lambda: True
    with accepted(server) as channel:
        channel.sendall(publication(1, b"one"))
        wait_until(lambda: receiver.got, "the message")


def test_what_a_broken_connection_left_is_not_mixed_with_the_next(
    server: socket.socket, receiver: Receiver
) -> None:
    with accepted(server) as channel:
        channel.sendall(publication(1, b"one") + publication(2, b"two")[:5])
        wait_until(lambda: receiver.got, "the first message")
    with accepted(server) as channel:
        channel.sendall(publication(2, b"two") + publication(3, b"three"))
        wait_until(lambda: len(receiver.got) >= 3, "the others")
    assert receiver.got == [(1, b"one"), (2, b"two"), (3, b"three")]


def test_acknowledgements_go_out_together_one_for_each_message(
    server: socket.socket, receiver: Receiver
) -> None:
    mids = [1, 2, 300, 65_535]
    with accepted(server) as channel:
        channel.sendall(b"".join(publication(mid, b"x") for mid in mids))
        wait_until(lambda: len(receiver.got) >= 4, "the messages")
        receiver.client.acknowledge(mids)
        answers = b""
        while len(answers) < 16:
            answers += channel.recv(4096)
    assert [struct.unpack("!BBH", answers[i : i + 4]) for i in range(0, 16, 4)] == [
        (0x40, 2, mid) for mid in mids
    ]
