"""The broker, behind a small interface: what comes in goes to the intake, what goes out is numbered."""

from __future__ import annotations

import socket
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon import losses, reasons
from daemon.client import topic_of
from daemon.clock import now, steady
from daemon.commands.addressing import Addressing
from daemon.commands.reading import MAX_BYTES
from daemon.intake import Connected, Disconnected, Message, Published, Reply, Subscribed, Unsubscribed
from daemon.login import LARGEST_PACKET, RECEIVE_MAXIMUM, connect_options, new_client
from daemon.losses import Loss
from daemon.rivalry import SHORT, USUAL, Rivalry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paho.mqtt.reasoncodes import ReasonCode

    from config import Settings
    from config.secrets import Secret
    from daemon.intake import Intake

STOP_WITHIN = 1.0  # seconds for the network thread to send its good-bye
LONGEST_WAIT = 10  # seconds until the next attempt while the broker does not answer
TWICE = 2  # once may be chance
HUNG_UP = 3_600.0  # seconds in which commands are not asked for, where the broker ends the connection at it
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
        self._turns = -1
        self._connected: Connected | None = None  # until the broker has answered the subscription
        self.generation = 0  # counts connections; odd numbers: up, even: down
        self._filter = topic_filter(settings)
        self._commands = Addressing(settings)
        self._asked = False  # for commands, and not answered
        self._hung_up = 0  # times that the connection ended instead, one after the other
        self._asks_from = 0.0  # by the monotonic clock
        self._former = former
        self._rivalry = Rivalry()
        self._stands_since: float | None = None  # monotonic; None while there is no connection
        self._first_wait = 0
        self._careful = False  # whether the last connection ended soon
        self._turned_down = False  # whether the broker has refused something on this connection
        self._client = client = new_client(mqtt, mqtt.client_id, password)
        client.will_set(settings.status.topic, will, qos=1, retain=True)
        # The publisher keeps the bound; paho's own count drifts over reconnects.
        client.max_inflight_messages_set(0)
        self._wait(USUAL)
        client.crowded = intake.crowded
        client.on_socket_open = _send_at_once
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
        self._client.connect_async(mqtt.host, mqtt.broker_port, **connect_options(self._settings))
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

    def subscribe(self) -> None:
        """Asks for the readings; `Subscribed` is the answer."""
        qos = self._settings.readings.qos
        if self._five:  # what the broker has kept comes with a new subscription, not with every connection
            options = SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._client.subscribe(self._filter, options=options)
        else:
            self._client.subscribe(self._filter, qos=qos)

    def subscribe_to_commands(self) -> None:
        """Asks for commands, apart from the readings: a broker may deny them; `Subscribed` is the answer."""
        filters = self._commands.filters
        if not filters or time.monotonic() < self._asks_from:
            return
        self._asked = True
        if self._five:
            # Also what is retained and arrives at once is told from what is not.
            options = SubscribeOptions(
                1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND
            )
            self._client.subscribe([(topic, options) for topic in filters])
        else:
            self._client.subscribe([(topic, 1) for topic in filters])

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Acknowledges messages but those whose connection is gone: the broker sends them again."""
        mids = [each.mid for each in messages if each.qos and each.generation == self.generation]
        if mids:
            self._client.acknowledge(mids)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> int | None:
        """Hands a publication to the network thread; returns its number for `Published`."""
        properties = None
        if correlation is not None and self._five:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        return info.mid if info.rc is paho.MQTT_ERR_SUCCESS else None

    def _on_connect(
        self,
        client: paho.Client,
        _: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = True
            self._intake.put(Disconnected(Loss(reasons.of_broker(reason), str(reason)), refused=True))
            return
        self._stands_since, self._turned_down = time.monotonic(), False
        self._wait(USUAL)
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
            careful=self._careful,
            session_expiry=getattr(properties, "SessionExpiryInterval", None),
        )

    def _on_connect_fail(self, _client: paho.Client, _: object) -> None:
        self._wait(USUAL)
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and does not name it
        self._intake.put(Disconnected(losses.of_error(error), refused=False))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if self.generation % 2:
            self.generation += 1
        since, self._stands_since = self._stands_since, None
        self._hung_up += self._asked
        if self._asked and self._hung_up >= TWICE:  # some brokers hang up when they refuse something
            self._asks_from = time.monotonic() + HUNG_UP
            self._intake.put(Subscribed(self._commands.filters[0], "it hangs up", commands=True))
        self._asked = False
        if self._refused:  # it is said already
            self._refused = False
            return
        by_broker = flags.is_disconnect_packet_from_server
        loss = losses.of_end(reason, error=self._client.failure, stood=since is not None, by_broker=by_broker)
        if since is not None:
            lasted = time.monotonic() - since
            self._careful = lasted < SHORT
            if not self._turned_down:  # some brokers hang up when they refuse something
                loss, wait = self._rivalry.judge(loss, lasted)
                self._wait(wait)
        self._intake.put(Disconnected(loss, refused=False))

    def _wait(self, seconds: int) -> None:
        """Has the next attempt to connect wait so long, and later ones longer."""
        if seconds != self._first_wait:  # setting it anew would begin at the first again
            self._first_wait = seconds
            self._client.reconnect_delay_set(seconds, max(seconds, LONGEST_WAIT))

    def _on_message(self, _client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        topic, most, reply = topic_of(message), self._settings.readings.max_payload, None
        if topic in self._commands:
            most, reply = MAX_BYTES, _reply(message)
        self._intake.put(
            Message(
                topic,
                bytes(message.payload[: most + 1]),  # one byte too many is enough to refuse it
                now(),
                message.qos,
                message.mid,
                self.generation,
                message.retain,
                arrived=steady(),
                again=message.dup,
                reply=reply,
            )
        )

    def _on_publish(
        self, _client: paho.Client, _: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        refusal = str(reason) if reason.is_failure else None
        self._turned_down = self._turned_down or refusal is not None
        self._intake.put(Published(self.generation, mid, refusal))

    def _on_subscribe(
        self, _client: paho.Client, _: object, _mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        refusals = [str(code) for code in codes if code.is_failure]
        refusal = refusals[0] if refusals else None
        if len(codes) > 1:  # of the readings there is one filter
            self._asked, self._hung_up = False, 0
            self._intake.put(Subscribed(self._commands.filters[0], refusal, commands=True))
            return
        self._intake.put(Subscribed(self._filter, refusal))
        # Only now nothing that is published from here on can be missed.
        if self._connected is not None:
            self._intake.put(self._connected)
            self._connected = None
            self.subscribe_to_commands()

    def _on_unsubscribe(
        self, _client: paho.Client, _: object, _mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        if not any(code.is_failure for code in codes):
            self._intake.put(Unsubscribed(self._former))
            self._former = ()


def _reply(message: paho.MQTTMessage) -> Reply | None:
    """Where a message wants to be answered (MQTT 5)."""
    topic = getattr(message.properties, "ResponseTopic", None)
    return None if topic is None else Reply(topic, getattr(message.properties, "CorrelationData", None))


def _send_at_once(_client: paho.Client, _: object, channel: Any) -> None:  # noqa: ANN401 - as paho has it
    """Else the kernel holds a small packet back until the broker has acknowledged the one before: 40 ms."""
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def topic_filter(settings: Settings) -> str:
    """What the daemon subscribes to: the readings of all machines."""
    return settings.readings.topic.replace("{machine}", "+")
