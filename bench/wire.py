"""MQTT 3.1.1 with packets made and read by hand: measuring must cost little beside what is measured."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence

PUBLISH, PUBACK = 0x30, 0x40
QOS_1 = 0x02
AHEAD = 2000  # unconfirmed messages of a flood: enough to keep the broker busy
TIMEOUT = 60.0  # seconds after which a broker that says nothing is broken


class Wire:
    """One connection with a session that ends with it."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.socket.sendall(_packet(0x10, b"\0\4MQTT\4\2\0\0" + _string(name.encode())))  # no keepalive
        self._answer()

    def subscribe(self, topic: str, qos: int = 1) -> None:
        """Subscribes and waits for the answer."""
        self.socket.sendall(_packet(0x82, b"\0\1" + _string(topic.encode()) + bytes([qos])))
        self._answer()

    def packets(self, wait: float) -> list[tuple[int, bytes]]:
        """What has arrived, first byte and body of each packet; waits up to `wait` seconds for the first.

        Raises:
            ConnectionError: The broker has hung up.
        """
        if not select.select([self.socket], [], [], wait)[0]:
            return []
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the broker has hung up")
        buffer = self._buffer
        buffer += received
        found, begin = [], 0
        while begin + 2 <= len(buffer):
            size, shift, at = 0, 0, begin + 1
            while at < len(buffer):
                size |= (buffer[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if buffer[at - 1] < 128:
                    break
            else:
                break
            if at + size > len(buffer):
                break
            found.append((buffer[begin], bytes(buffer[at : at + size])))
            begin = at + size
        del buffer[:begin]
        return found

    def messages(self, wait: float) -> list[tuple[str, bytes]]:
        """Topics and payloads that have arrived; those at QoS 1 are acknowledged."""
        found, answers = [], bytearray()
        for kind, body in self.packets(wait):
            if kind & 0xF0 == PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                topic = body[2:end].decode()
                if kind & QOS_1:
                    answers += bytes((PUBACK, 2)) + body[end : end + 2]
                    end += 2
                found.append((topic, body[end:]))
        if answers:
            self.socket.sendall(answers)
        return found

    def _answer(self) -> None:
        if not self.packets(TIMEOUT):
            raise TimeoutError(f"broker: must answer within {TIMEOUT:.0f} s")

    def close(self) -> None:
        """Disconnects."""
        self.socket.sendall(b"\xe0\0")
        self.socket.close()


def forget(port: int, name: str) -> None:
    """Ends the session of a client that is away, and with it what the broker keeps for it."""
    Wire(port, name).close()


def publication(topic: str, payload: bytes, mid: int = 1) -> bytes:
    """A PUBLISH packet at QoS 1."""
    return _packet(PUBLISH | QOS_1, _string(topic.encode()) + struct.pack(">H", mid) + payload)


def flood(port: int, publications: Sequence[bytes]) -> None:
    """Publishes packets as fast as the broker takes them; returns when it has confirmed them all."""
    wire = Wire(port, "bench-flood")
    sent = confirmed = 0
    while confirmed < len(publications):
        if sent < len(publications) and sent - confirmed < AHEAD:
            wire.socket.sendall(b"".join(publications[sent : sent + AHEAD // 4]))
            sent += AHEAD // 4
        wait = 0 if sent - confirmed < AHEAD and sent < len(publications) else TIMEOUT
        confirmed += sum(1 for kind, _ in wire.packets(wait) if kind == PUBACK)
    wire.close()


def _string(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _packet(first: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, digit = divmod(length, 128)
        size.append(digit | (128 if length else 0))
        if not length:
            return bytes([first]) + bytes(size) + body
