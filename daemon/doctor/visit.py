"""One connection to the broker, step by step, as the daemon would make it."""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING, Any, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon import losses, reasons
from daemon.client import topic_of
from daemon.clock import now
from daemon.intake import Message
from daemon.login import connect_options, new_client
from daemon.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from paho.mqtt.reasoncodes import ReasonCode

    from config import Settings
    from config.secrets import Secret


class Welcome(msgspec.Struct, frozen=True):
    """How the broker has let us in: whether it knew our session, and its limits as MQTT 5 names them."""

    session_present: bool
    limits: dict[str, Any]


class Visit:
    """Connects once, and answers what the broker says; nothing here tries again."""

    def __init__(
        self,
        settings: Settings,
        password: Secret | None,
        client_id: str,
        *,
        clean: bool = True,
        session_expiry: int = 0,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        """Prepares.

        Args:
            settings: The configuration.
            password: The broker's password.
            client_id: Our name, another one than the daemon's.
            clean: Whether the broker shall forget an earlier session.
            session_expiry: Seconds for which it shall keep this one.
            will: Topic and payload of a last will, as the daemon has one; `close` takes it back.
        """
        self._mqtt = mqtt = settings.mqtt
        self._five = mqtt.version == "5"
        self._options = connect_options(settings, clean=clean, session_expiry=session_expiry)
        self._client = new_client(mqtt, client_id, password, clean=clean and not session_expiry, again=False)
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._patience = mqtt.connect_timeout.total_seconds()
        self._news = Condition()
        self._answer: Welcome | Loss | None = None
        self._ended: Loss | None = None
        self._answers: dict[int, str | None] = {}  # by packet identifier: the refusal, None if there is none
        self.heard: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Welcome | Loss:
        """Connects."""
        try:
            self._client.connect(self._mqtt.host, self._mqtt.broker_port, **self._options)
        except OSError as error:
            return losses.of_error(error)
        self._client.loop_start()
        self.wait(lambda: self._answer or self._ended, self._patience)
        return self._answer or self._ended or Loss("timed_out", "the broker does not answer")

    def subscribe(self, topic: str, qos: int) -> str | None:
        """Subscribes; returns why the broker does not let us."""
        _, mid = self._client.subscribe(topic, qos)
        return self._answered(mid)

    def publish(self, topic: str, payload: bytes) -> str | None:
        """Publishes at QoS 1, not to be kept; returns why the broker does not take it."""
        return self._answered(self._client.publish(topic, payload, qos=1).mid)

    def publish_all(self, topic: str, payloads: Iterable[bytes], seconds: float) -> int:
        """Publishes at QoS 1; returns how many of them the broker has taken in time."""
        mids = [self._client.publish(topic, payload, qos=1).mid for payload in payloads]
        self.wait(lambda: self._ended or all(mid in self._answers for mid in mids), seconds)
        return sum(self._answers.get(mid, "") is None for mid in mids)

    def wait(self, seen: Callable[[], object], seconds: float) -> bool:
        """Waits until something is true; returns whether it is."""
        with self._news:
            return bool(self._news.wait_for(lambda: bool(seen()), seconds))

    def close(self, *, keep: int = 0) -> None:
        """Goes; the broker keeps the session for so many seconds, if it was to keep it at all."""
        properties = None
        if self._five and keep:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = keep
        self._client.disconnect(properties=properties)
        self._client.loop_stop()

    def _answered(self, mid: int | None) -> str | None:
        self.wait(lambda: self._ended or mid in self._answers, self._patience)
        if mid in self._answers:
            return self._answers[mid]
        return self._ended.detail if self._ended else "no answer"

    def _note(self, mid: int, code: ReasonCode) -> None:
        with self._news:
            self._answers[mid] = str(code) if code.is_failure else None
            self._news.notify_all()

    def _on_connect(
        self,
        _client: paho.Client,
        _: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        limits = properties.json() if properties is not None else {}  # type: ignore[no-untyped-call]
        with self._news:
            self._answer = (
                Loss(reasons.of_broker(reason), str(reason))
                if reason.is_failure
                else Welcome(flags.session_present, limits)
            )
            self._news.notify_all()

    def _on_disconnect(
        self,
        _client: paho.Client,
        _: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        stood = isinstance(self._answer, Welcome)
        by_broker = flags.is_disconnect_packet_from_server
        with self._news:
            self._ended = losses.of_end(reason, error=self._client.failure, stood=stood, by_broker=by_broker)
            self._news.notify_all()

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        heard = Message(
            topic_of(message), bytes(message.payload), now(), message.qos, message.mid, 0, message.retain
        )
        with self._news:
            self.heard.append(heard)
            self._news.notify_all()
        client.ack(message.mid, message.qos)

    def _on_publish(
        self, _client: paho.Client, _: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        self._note(mid, reason)

    def _on_subscribe(
        self, _client: paho.Client, _: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        self._note(mid, codes[0])
