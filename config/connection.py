"""How to reach the broker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from config.problems import UnmetError
from config.quantities import Duration, Positive, between
from config.section import After, Before, File, Limits, Schema, Section, Text, check_text, rule

SECOND = timedelta(seconds=1)


def _check_host(host: str) -> str:
    check_text(host)
    if "@" in host:  # may hold a password, so it is not shown
        raise UnmetError(
            "must be a host name alone", got="text with @", hint="use mqtt.username and mqtt.password_file"
        )
    if "/" in host or " " in host:
        raise UnmetError("must be a host name or an IP address alone", hint="without mqtt:// and path")
    if host.count(":") == 1:
        raise UnmetError("must be a host name or an IP address alone", hint="the port goes into mqtt.port")
    return host


def _parse_version(value: object) -> object:
    return str(value) if type(value) in {int, float} else value  # YAML reads a bare 5 as a number


# MQTT counts both in whole seconds, with 16 and with 32 bits.
Keepalive = Annotated[Duration, After(between(SECOND, timedelta(hours=18), step=SECOND))]
SessionExpiry = Annotated[Duration, After(between(SECOND, timedelta(days=49_710), step=SECOND))]
Host = Annotated[str, After(_check_host)]
Version = Annotated[Literal["5", "3.1.1"], Before(_parse_version), Schema({"enum": ["5", "3.1.1", 5]})]


class Tls(Section, frozen=True):
    """Encryption on the way to the broker."""

    enabled: bool = False
    ca_file: File | None = None
    cert_file: File | None = None
    key_file: File | None = None

    @rule("ca_file", "cert_file", "key_file")
    @staticmethod
    def _only_with_tls(file: Path | None, before: Mapping[str, Any]) -> None:
        if file is not None and before.get("enabled") is False:
            raise UnmetError("must not be set while mqtt.tls.enabled is false")

    @rule("key_file")
    @staticmethod
    def _certificate_and_key_are_a_pair(key: Path | None, before: Mapping[str, Any]) -> None:
        if "cert_file" in before and (before["cert_file"] is None) != (key is None):
            raise UnmetError("must be set together with mqtt.tls.cert_file", got="")


class Mqtt(Section, frozen=True):
    """The broker and how to reach it."""

    host: Host = "localhost"
    port: Annotated[int, Limits(ge=1, le=65_535)] | None = None
    version: Version = "5"
    client_id: Text = "anomalyd"
    keepalive: Keepalive = timedelta(seconds=60)
    session_expiry: SessionExpiry = timedelta(days=7)
    username: Text | None = None
    password_file: File | None = None
    connect_timeout: Annotated[Duration, Positive] = timedelta(seconds=10)
    tls: Tls = Tls()

    @rule("password_file")
    @staticmethod
    def _a_password_needs_a_name(file: Path | None, before: Mapping[str, Any]) -> None:
        if file is not None and "username" in before and before["username"] is None:
            raise UnmetError("must not be set without mqtt.username")

    @property
    def broker_port(self) -> int:
        """The port to connect to, the protocol's own where none is configured."""
        return self.port or (8883 if self.tls.enabled else 1883)
