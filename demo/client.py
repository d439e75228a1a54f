"""The demonstration's own MQTT client: it sends the pump's readings and hears what the daemon says."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from demo.broker import Address
from demo.pump import Reading

SAID = ("anomalyd/status", "anomalyd/+/alert", "anomalyd/+/state", "anomalyd/+/sensor", "anomalyd/+/score")


class Client:
    """Made by `connected`. paho's thread only fills a queue; all else happens in the caller's thread."""

    def __init__(self, connection: mqtt.Client, machine: str) -> None:
        self._connection = connection
        self._topic = f"plant/{machine}/readings"
        self._inbox = queue.SimpleQueue[tuple[str, bytes]]()
        connection.on_message = self._on_message

    def send(self, reading: Reading) -> None:
        self._connection.publish(self._topic, msgspec.json.encode(reading.as_message()), qos=1)

    def heard(self, *, wait: float) -> list[tuple[str, bytes]]:
        """(topic, payload) of all that has come; waits up to `wait` seconds if that is nothing yet."""
        messages: list[tuple[str, bytes]] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait())
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._inbox.put((message.topic, bytes(message.payload)))


@contextlib.contextmanager
def connected(address: Address, machine: str) -> Iterator[Client]:
    """A client that sends as the machine, until the block ends."""
    connection = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id="anomalyd-demo", protocol=protocol(address)
    )
    client = Client(connection, machine)
    connection.connect(address.host, address.port)
    connection.loop_start()
    try:
        for topic in SAID:
            connection.subscribe(topic, qos=1)
        yield client
    finally:
        connection.disconnect()
        connection.loop_stop()


def protocol(address: Address) -> MQTTProtocolVersion:
    return MQTTProtocolVersion.MQTTv5 if address.mqtt_version == "5" else MQTTProtocolVersion.MQTTv311
