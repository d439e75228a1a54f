"""The alerts that were open when a damaged store was set aside, as the broker has retained them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import paho.mqtt.client as paho
import structlog

from daemon.decoding import LATEST, MAX_NAME, good_name
from daemon.login import connect_options, new_client
from daemon.transaction import Transaction
from detector.alerts import OpenAlert, OpenSilence, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from config import Settings
    from config.secrets import Secret
    from detector.pipeline import Pipeline

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ASK_WITHIN = 3.0  # seconds for all of it; nothing is taken from the broker meanwhile
ASKED = 5  # times, a second apart, before readings are taken without an answer; the next start asks again
QUIET = 0.5  # seconds without another state, after which all have come: the broker sends them in one go


class _Alert(msgspec.Struct, frozen=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    opened_at: Annotated[datetime, msgspec.Meta(tz=True)]
    severity: Severity
    peak_score: float | None


class _State(msgspec.Struct, frozen=True):
    machine: str
    alert: _Alert | None


def retained_alerts(settings: Settings, password: Secret | None) -> dict[str, OpenAlert | OpenSilence] | None:
    """The open alert of each machine by its retained state; None: the broker did not answer.

    Over a connection of its own: the session's would bring all waiting readings first.
    """
    mqtt = settings.mqtt
    found: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
    client = new_client(mqtt, f"{mqtt.client_id}-recovery", password, clean=True, again=False)
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
        client.connect(mqtt.host, mqtt.broker_port, **connect_options(settings, clean=True, session_expiry=0))
        client.loop_start()
        _collect(found, states)
    except OSError as error:
        structlog.get_logger().error("states_not_recovered", reason=str(error))
        return None
    finally:
        client.disconnect()
        client.loop_stop()
    alerts: dict[str, OpenAlert | OpenSilence] = {}
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


def _open_alert(payload: bytes) -> tuple[str, OpenAlert | OpenSilence] | None:
    """Machine and open alert of a state, which anybody may have published; None: nothing to take up."""
    try:
        state = msgspec.json.decode(payload, type=_State)
    except (ValueError, RecursionError):  # msgspec raises more than its own errors on bad text
        return None
    alert = state.alert
    if alert is None or not good_name(state.machine):
        return None
    at = round((alert.opened_at - EPOCH) / timedelta(milliseconds=1))
    if not 0 <= at <= LATEST:
        return None
    if alert.peak_score is None:
        return state.machine, OpenSilence(alert.id, at, at)
    return state.machine, OpenAlert(alert.id, at, alert.peak_score, alert.severity, at)


def adopt(
    alerts: Mapping[str, OpenAlert | OpenSilence], pipeline: Pipeline, stored: Collection[str]
) -> Transaction:
    """Takes up the open alerts of machines that the pipeline does not know; what that leaves behind.

    That the store must have, and the machines that only the pipeline knows: those that were illegible in a
    store that was damaged while it was in use.
    """
    transaction = Transaction()
    for name, alert in alerts.items():
        if pipeline.machine(name) is None:
            pipeline.adopt(name, alert)
    for machine in pipeline.machines():
        if machine.name in stored:
            continue
        snapshot = transaction.snapshots[machine.name] = machine.snapshot()
        open_alert = snapshot.alerts.alert
        if open_alert is not None:
            transaction.opened.append((machine.name, open_alert.id, open_alert.opened_at))
    return transaction
