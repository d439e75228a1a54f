"""The alerts that were open when a damaged store was set aside, as the broker has retained them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from daemon.connection import tls_context
from daemon.transaction import Transaction
from detector.alerts import OpenAlert, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import Settings
    from config.secrets import Secret
    from detector.pipeline import Pipeline

ASK_WITHIN = 3.0  # seconds for all of it; nothing is taken from the broker meanwhile
QUIET = 0.5  # seconds without another state, after which all have come: the broker sends them in one go


class _Alert(msgspec.Struct, frozen=True):
    id: str
    opened_at: datetime
    severity: Severity
    peak_score: float


class _State(msgspec.Struct, frozen=True):
    machine: str
    alert: _Alert | None


def retained_alerts(settings: Settings, password: Secret | None) -> dict[str, OpenAlert]:
    """The open alert of each machine by its retained state; without an answer, none.

    Over a connection of its own: the session's would bring all waiting readings first.
    """
    mqtt = settings.mqtt
    five = mqtt.version == "5"
    found: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"{mqtt.client_id}-recovery",
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        clean_session=None if five else True,
        reconnect_on_failure=False,
    )
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password.value if password else None)
    if mqtt.tls.enabled:
        client.tls_set_context(tls_context(mqtt.tls))
    client.connect_timeout = ASK_WITHIN

    def subscribe(*_: Any) -> None:  # noqa: ANN401 - as paho has it
        client.subscribe(settings.state.topic.replace("{machine}", "+"), qos=0)

    def take(_client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if message.retain:
            found.put((message.topic, bytes(message.payload)))

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: found.put(None)
    client.on_message = take
    states: list[tuple[str, bytes]] = []
    try:
        client.connect(mqtt.host, mqtt.broker_port, keepalive=10)
        client.loop_start()
        _collect(found, states)
    except OSError as error:
        structlog.get_logger().error("states_not_recovered", reason=str(error))
    finally:
        client.disconnect()
        client.loop_stop()
    alerts = {}
    for topic, payload in states:
        named = _open_alert(payload)
        if named is not None and settings.state.topic.replace("{machine}", named[0]) == topic:
            alerts[named[0]] = named[1]
    return alerts


def _collect(found: SimpleQueue[tuple[str, bytes] | None], states: list[tuple[str, bytes]]) -> None:
    """Fills `states` until no more come; the broker's answer to the subscription is None."""
    until = time.monotonic() + ASK_WITHIN
    answered = False
    while (left := until - time.monotonic()) > 0:
        try:
            state = found.get(timeout=min(left, QUIET) if answered else left)
        except Empty:
            break
        answered = answered or state is None
        if state is not None:
            states.append(state)
    if not answered:
        raise TimeoutError("the broker did not answer the subscription")


def _open_alert(payload: bytes) -> tuple[str, OpenAlert] | None:
    try:
        state = msgspec.json.decode(payload, type=_State)
    except ValueError:  # msgspec raises more than its own errors on bad text
        return None
    alert = state.alert
    if alert is None:
        return None
    at = round(alert.opened_at.astimezone(UTC).timestamp() * 1000)
    return state.machine, OpenAlert(alert.id, at, alert.peak_score, alert.severity, at)


def adopt(alerts: Mapping[str, OpenAlert], pipeline: Pipeline) -> Transaction:
    """Takes up the open alerts of machines that the pipeline does not know; what that leaves behind."""
    transaction = Transaction()
    for name, alert in alerts.items():
        machine = None if pipeline.machine(name) is not None else pipeline.adopt(name, alert)
        if machine is not None:
            transaction.snapshots[name] = machine.snapshot()
            transaction.opened.append((name, alert.id, alert.opened_at))
    return transaction
