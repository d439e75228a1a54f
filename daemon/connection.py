"""The broker, behind a small interface: what comes in goes to the intake, what goes out is numbered."""

from __future__ import annotations

import socket
import ssl
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from config import ConfigError, Problem
from daemon import reasons
from daemon.client import Client
from daemon.intake import Connected, Disconnected, Message, Published, Subscribed, Unsubscribed
from daemon.store import now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paho.mqtt.reasoncodes import ReasonCode

    from config import Settings
    from config.connection import Tls
    from config.secrets import Secret
    from daemon.intake import Intake

STOP_WITHIN = 1.0  # seconds for the network thread to send its good-bye
RECEIVE_MAXIMUM = 1000  # unacknowledged messages that we let the broker send
ROOM = 16 * 2**20  # bytes beyond the largest reading: what is larger the broker does not even send us
LARGEST_PACKET = 268_435_460  # bytes: what MQTT itself can say
IN_FLIGHT = 20  # publications on their way at once where the broker does not say (MQTT 3.1.1)


class Connection:
    """A persistent MQTT session that reconnects by itself, with manual acknowledgement.

    paho's thread calls the `_on_…` methods; they only hand over and never raise, since an
    exception there would end the thread unnoticed. All other methods belong to the service thread.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        *,
        password: Secret | None,
        will: bytes,
        former: tuple[str, ...],
    ) -> None:
        """Prepares; `start` connects.

        Args:
            settings: The configuration.
            intake: Takes messages and notices.
            password: The broker's password.
            will: Payload of the retained status that the broker publishes when this process vanishes.
            former: Topics that the session may still be subscribed to, and should not be.

        Raises:
            ConfigError: A certificate or key cannot be used.
        """
        mqtt = settings.mqtt
        self._settings = settings
        self._intake = intake
        self._five = mqtt.version == "5"
        self._refused = False
        self._answered = True  # whether the broker has answered CONNECT
        self._turns = -1
        self._connected: Connected | None = None  # until the broker has answered the subscription
        self.generation = 0  # counts connections; odd numbers: up, even: down
        self._filter = topic_filter(settings)
        self._former = former
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=mqtt.client_id,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
            clean_session=None if self._five else False,
            manual_ack=True,
        )
        client = self._client
        if mqtt.username is not None:
            client.username_pw_set(mqtt.username, password.value if password else None)
        if mqtt.tls.enabled:
            client.tls_set_context(_tls(mqtt.tls))
        client.will_set(settings.status.topic, will, qos=1, retain=True)
        # The publisher keeps the bound; paho's own count drifts over reconnects.
        client.max_inflight_messages_set(0)
        client.reconnect_delay_set(min_delay=1, max_delay=10)
        client.connect_timeout = mqtt.connect_timeout.total_seconds()
        client.crowded = intake.crowded
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe

    def start(self) -> None:
        """Connects in the background, and again whenever the connection is lost."""
        mqtt = self._settings.mqtt
        options: dict[str, Any] = {}
        if self._five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = int(mqtt.session_expiry.total_seconds())
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            most = self._settings.readings.max_payload + ROOM
            properties.MaximumPacketSize = min(most, LARGEST_PACKET)
            options = {"clean_start": False, "properties": properties}
        keepalive = int(mqtt.keepalive.total_seconds())
        self._client.connect_async(mqtt.host, mqtt.broker_port, keepalive=keepalive, **options)
        self._client.loop_start()

    def revive(self) -> bool:
        """Connects anew if the network thread has died; returns whether it had."""
        thread = self._client._thread  # noqa: SLF001 - paho has no other way to tell
        if thread is not None and thread.is_alive():
            return False
        if self.generation % 2:
            self.generation += 1
        self._client._reset_sockets()  # noqa: SLF001 - what the thread has left open
        self.start()
        return True

    def turned(self) -> bool:
        """Whether the network thread has shown life since the last call; without a connection it need not."""
        before, self._turns = self._turns, self._client.turns
        return self._turns != before or self.generation % 2 == 0

    def stop(self) -> None:
        """Disconnects; the broker keeps the session."""
        self._client.disconnect()
        # A thread that is just connecting to a host that does not answer is not waited for.
        stopping = Thread(target=self._client.loop_stop, daemon=True)
        stopping.start()
        stopping.join(STOP_WITHIN)
        if not stopping.is_alive():
            self._client._reset_sockets()  # noqa: SLF001 - paho leaves those that wake its thread open

    def subscribe(self) -> None:
        """Asks for the readings; `Subscribed` is the answer."""
        qos = self._settings.readings.qos
        if self._five:  # what the broker has kept comes with a new subscription, not with every connection
            options = SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._client.subscribe(self._filter, options=options)
        else:
            self._client.subscribe(self._filter, qos=qos)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Acknowledges messages but those whose connection is gone: the broker sends them again."""
        mids = [each.mid for each in messages if each.qos and each.generation == self.generation]
        if mids:
            self._client.acknowledge(mids)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int | None:
        """Hands a publication to the network thread; returns its number for `Published`."""
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        return info.mid if info.rc is paho.MQTT_ERR_SUCCESS else None

    def _on_socket_open(self, _client: paho.Client, _: object, channel: Any) -> None:  # noqa: ANN401 - as paho has it
        self._answered = False
        # Else the kernel holds a small packet back until the broker has acknowledged the one before: 40 ms.
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self,
        client: paho.Client,
        _: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answered = True
        if reason.is_failure:
            self._refused = True
            word, detail = reasons.of_broker(reason), str(reason)
            if word == reasons.UNSUPPORTED:
                detail += "; try mqtt.version: 3.1.1"
            self._intake.put(Disconnected(word, detail, refused=True))
            return
        # What the last connection left unanswered is published again from the outbox, in order.
        client.drop_out_messages()
        self.generation += 1 + self.generation % 2
        if self._former:
            client.unsubscribe(list(self._former))
        self.subscribe()
        most = getattr(properties, "ReceiveMaximum", 65_535) if self._five else IN_FLIGHT
        self._connected = Connected(
            self.generation,
            flags.session_present,
            receive_maximum=min(most, RECEIVE_MAXIMUM),
            maximum_packet_size=getattr(properties, "MaximumPacketSize", LARGEST_PACKET),
        )

    def _on_connect_fail(self, _client: paho.Client, _: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and does not name it
        reason = reasons.of_connecting(error)
        self._intake.put(Disconnected(reason, str(error or "no connection"), refused=False))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _: object,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if self.generation % 2:
            self.generation += 1
        if not self._answered:
            mqtt = self._settings.mqtt
            detail = f"no answer to CONNECT: must be a broker of MQTT {mqtt.version}"
            if mqtt.tls.enabled:  # what the broker says against it is lost with the connection
                detail += " that takes the certificate of mqtt.tls.cert_file"
            self._intake.put(Disconnected(reasons.UNANSWERED, detail, refused=False))
        elif not self._refused:  # else it is said already
            self._intake.put(Disconnected(reasons.of_broker(reason), str(reason), refused=False))
        self._refused, self._answered = False, True

    def _on_message(self, _client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"
        # One byte too many is enough to refuse it.
        payload = bytes(message.payload[: self._settings.readings.max_payload + 1])
        self._intake.put(
            Message(topic, payload, now(), message.qos, message.mid, self.generation, message.retain)
        )

    def _on_publish(
        self, _client: paho.Client, _: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        refusal = str(reason) if reason.is_failure else None
        self._intake.put(Published(self.generation, mid, refusal))

    def _on_subscribe(
        self, _client: paho.Client, _: object, _mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        refusals = [str(code) for code in codes if code.is_failure]
        self._intake.put(Subscribed(self._filter, refusals[0] if refusals else None))
        # Only now nothing that is published from here on can be missed.
        if self._connected is not None:
            self._intake.put(self._connected)
            self._connected = None

    def _on_unsubscribe(
        self, _client: paho.Client, _: object, _mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        if not any(code.is_failure for code in codes):
            self._intake.put(Unsubscribed(self._former))
            self._former = ()


def topic_filter(settings: Settings) -> str:
    """What the daemon subscribes to: the readings of all machines."""
    return settings.readings.topic.replace("{machine}", "+")


def _tls(tls: Tls) -> ssl.SSLContext:
    """Encryption with these certificates, else with the system's."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        problem = f"must be a readable file of certificates: {error.strerror}"
        raise ConfigError((Problem("mqtt.tls.ca_file", problem, str(tls.ca_file)),)) from error
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            problem = f"must be a readable certificate with its key in mqtt.tls.key_file: {error.strerror}"
            raise ConfigError((Problem("mqtt.tls.cert_file", problem, str(tls.cert_file)),)) from error
    return context
