"""What the machines send: readings that a machine's and a reading's number say all about."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import numpy as np
from numpy.typing import NDArray

from bench.wire import PUBACK, Wire, publication
from tests import plant

STEPS = 200  # of all machines that are worked out at once
AHEAD = 1000  # unconfirmed messages: enough to keep the broker busy
EVERY, LASTS = 2000, 40  # readings from one fault of a machine to the next, and its length
AGAIN = 0.1  # seconds until a broker that is away is asked again


def name(machine: int) -> str:
    """A machine's name."""
    return f"machine-{machine}"


def values(machine: int, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Readings of a machine, shape (len(steps), 3); in a fault the pressure is six deviations off."""
    load = np.sin(steps / 50 + machine)
    noise = np.sin((steps[:, None] + 7 * machine) * np.array([1.0, 1.7, 2.3])) / 10
    off = np.where((steps + 37 * machine) % EVERY >= EVERY - LASTS, 6.0, 0.0)
    scaled = load[:, None] + noise + off[:, None] * np.array([0.0, 1.0, 0.0])
    rounded: NDArray[np.float64] = np.round(np.array(plant.OFFSET) + np.array(plant.SCALE) * scaled, 4)
    return rounded


def payloads(machines: range, first: int) -> Iterator[list[tuple[str, bytes]]]:
    """Topics and payloads of all machines, step by step; a machine's clock goes on by a second each."""
    while True:
        steps = np.arange(first, first + STEPS)
        block = np.stack([values(machine, steps) for machine in machines], axis=1).tolist()
        for step, rows in enumerate(block, first):
            at = plant.START + 1000 * step
            yield [
                (
                    f"plant/{name(machine)}/readings",
                    f'{{"ts":{at},"flow":{flow},"pressure":{pressure},"temperature":{warm}}}'.encode(),
                )
                for machine, (flow, pressure, warm) in zip(machines, rows, strict=True)
            ]
        first += STEPS


def publish(
    port: int, machines: range, rate: float, ends: Event, done: Synchronized[int], late: Synchronized[float]
) -> None:
    """Publishes so many readings a second until told to end; a process of its own.

    Args:
        port: The broker's.
        machines: Their numbers.
        rate: Readings a second of all of them.
        ends: Set when it shall end, with a whole step that the broker has confirmed.
        done: Becomes the number of steps, once it has ended.
        late: The seconds that it is behind its pace.
    """
    sender = _Sender(port, f"soak-{machines.start}")
    begun = time.monotonic()
    for step, messages in enumerate(payloads(machines, 0)):
        if ends.is_set():
            break
        due = begun + step * len(messages) / rate
        late.value = time.monotonic() - due
        time.sleep(max(0.0, due - time.monotonic()))
        sender.send(messages)
        done.value = step + 1
    sender.finish()
    late.value = math.inf  # it has ended


class _Sender:
    """Publishes in order and again what the broker has not confirmed, whatever becomes of the broker."""

    def __init__(self, port: int, client: str) -> None:
        self._port, self._client = port, client
        self._unconfirmed: deque[tuple[int, bytes]] = deque()
        self._mid = 0
        self._wire: Wire | None = None

    def send(self, messages: list[tuple[str, bytes]]) -> None:
        packets = []
        for topic, payload in messages:
            self._mid = self._mid % 65_535 + 1
            packets.append((self._mid, publication(topic, payload, self._mid)))
        self._unconfirmed.extend(packets)
        self._try(b"".join(packet for _, packet in packets))
        while len(self._unconfirmed) >= AHEAD:
            self._hear(1.0)
        self._hear(0.0)

    def finish(self) -> None:
        while self._unconfirmed:
            self._hear(1.0)

    def _try(self, content: bytes) -> None:
        try:
            if self._wire is not None:
                self._wire.socket.sendall(content)
        except OSError:
            self._hang_up()

    def _hear(self, wait: float) -> None:
        while self._wire is None:
            self._connect()
        try:
            for kind, body in self._wire.packets(wait):
                if kind == PUBACK:
                    mid = int.from_bytes(body[:2], "big")
                    while self._unconfirmed and self._unconfirmed.popleft()[0] != mid:
                        pass  # Mosquitto confirms in order
        except OSError:
            self._hang_up()

    def _connect(self) -> None:
        time.sleep(AGAIN)
        with suppress(OSError):
            self._wire = Wire(self._port, self._client)
            self._try(b"".join(packet for _, packet in self._unconfirmed))

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.socket.close()
        self._wire = None
