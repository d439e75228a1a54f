"""An MQTT client that publishes with confirmation and records what it receives."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterable
from threading import Lock, Thread
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.waiting import wait_until


class Client:
    """Keeps its session over restarts of the broker, so that it misses nothing."""

    def __init__(
        self,
        port: int,
        *topics: str,
        name: str = "test",
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connects and subscribes."""
        self._topics = topics
        self._lock = Lock()
        self._received: list[tuple[str, bytes]] = []
        self._correlations: list[tuple[str, bytes]] = []
        self._subscribed = 0
        self._confirmed = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        client = self._client
        client.reconnect_delay_set(1, 1)
        client.username_pw_set(username, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        client.connect_async("localhost", port, clean_start=False, properties=properties)
        client.loop_start()
        wait_until(lambda: self._subscribed, "the test's own subscription")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hands a message over at QoS 1; `confirmed` counts those that the broker has taken."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def request(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> None:
        """Publishes what is to be answered on `reply`, with these bytes."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic, properties.CorrelationData = reply, correlation
        self._client.publish(topic, payload, qos=1, properties=properties)

    def correlations(self, topic: str) -> list[bytes]:
        """Of what came on a topic, what tells which request it answers."""
        with self._lock:
            return [data for where, data in self._correlations if where == topic]

    def retain(self, topic: str, payload: bytes) -> None:
        """Leaves a message with the broker for who subscribes later."""
        self._client.publish(topic, payload, qos=1, retain=True)

    def stream(self, messages: Iterable[tuple[str, bytes]], per_second: int = 1000) -> Thread:
        """Publishes messages at a steady pace, in a thread of its own."""

        def publish() -> None:
            for number, (topic, payload) in enumerate(messages):
                self.publish(topic, payload)
                if number % 10 == 9:
                    time.sleep(10 / per_second)

        thread = Thread(target=publish)
        thread.start()
        return thread

    @property
    def confirmed(self) -> int:
        """How many publications the broker has taken."""
        return self._confirmed

    def messages(self, topic: str) -> list[Any]:
        """The JSON of what came on a topic, retained or not, in order."""
        with self._lock:
            return [json.loads(payload) for where, payload in self._received if where == topic]

    def everything(self) -> list[tuple[str, bytes]]:
        """Topics and payloads of all that came, in order."""
        with self._lock:
            return list(self._received)

    def emptied(self, topic: str) -> bool:
        """Whether what came last on a topic was empty, which takes a retained message away."""
        with self._lock:
            return ([payload for where, payload in self._received if where == topic] or [b"x"])[-1] == b""

    def last(self, topic: str) -> Any:  # noqa: ANN401 - it is JSON
        """The newest of `messages`; None before the first."""
        return (self.messages(topic) or [None])[-1]

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe([(topic, 1) for topic in (*self._topics, "test/nothing")])

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed += 1

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            self._received.append((message.topic, bytes(message.payload)))
            data = getattr(message.properties, "CorrelationData", None)
            if data is not None:
                self._correlations.append((message.topic, data))

    def _on_publish(self, *_: object) -> None:
        self._confirmed += 1
