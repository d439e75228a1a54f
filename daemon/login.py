"""How we show ourselves to the broker: name, password, certificate, and for how long it shall remember us."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from config import ConfigError, Problem
from daemon.client import Client

if TYPE_CHECKING:
    from config import Settings
    from config.connection import Mqtt, Tls
    from config.secrets import Secret

RECEIVE_MAXIMUM = 1000  # unacknowledged messages that we let the broker send
LARGEST_PACKET = 268_435_460  # bytes: what MQTT itself can say
ROOM = 16 * 2**20  # bytes beyond the largest reading: what is larger the broker does not even send us


def new_client(
    mqtt: Mqtt, client_id: str, password: Secret | None, *, clean: bool = False, again: bool = True
) -> Client:
    """A client that is not connected yet.

    Args:
        mqtt: The broker and how to reach it.
        client_id: Its name at the broker.
        password: The broker's password.
        clean: Whether the broker shall forget an earlier session. By MQTT 5 `connect_options` says it.
        again: Whether it connects again by itself.

    Raises:
        ConfigError: A certificate or key cannot be used.
    """
    five = mqtt.version == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        clean_session=None if five else clean,
        manual_ack=True,
        reconnect_on_failure=again,
    )
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password.value if password else None)
    if mqtt.tls.enabled:
        client.tls_set_context(tls_context(mqtt.tls))
    client.connect_timeout = mqtt.connect_timeout.total_seconds()
    return client


def connect_options(
    settings: Settings, *, clean: bool = False, session_expiry: int | None = None
) -> dict[str, Any]:
    """What paho's `connect` needs; `session_expiry` in seconds, by default as configured."""
    mqtt = settings.mqtt
    options: dict[str, Any] = {"keepalive": int(mqtt.keepalive.total_seconds())}
    if mqtt.version == "5":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        asked = int(mqtt.session_expiry.total_seconds()) if session_expiry is None else session_expiry
        properties.SessionExpiryInterval = asked
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = min(settings.readings.max_payload + ROOM, LARGEST_PACKET)
        options |= {"clean_start": clean, "properties": properties}
    return options


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Encryption with these certificates, else with the system's.

    Raises:
        ConfigError: A certificate or key cannot be used.
    """
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
