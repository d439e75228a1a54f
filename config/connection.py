"""How to reach the broker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from config.problems import UnmetError
from config.quantities import Duration, Positive, between
from config.section import File, Section, Text, check_text

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
Keepalive = Annotated[Duration, AfterValidator(between(SECOND, timedelta(hours=18), step=SECOND))]
SessionExpiry = Annotated[Duration, AfterValidator(between(SECOND, timedelta(days=49_710), step=SECOND))]
Host = Annotated[str, AfterValidator(_check_host)]
Version = Annotated[
    Literal["5", "3.1.1"], BeforeValidator(_parse_version), WithJsonSchema({"enum": ["5", "3.1.1", 5]})
]


class Tls(Section):
    """Encryption on the way to the broker."""

    enabled: bool = False
    ca_file: File | None = None
    cert_file: File | None = None
    key_file: File | None = None

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _only_with_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and info.data.get("enabled") is False:
            raise UnmetError("must not be set while mqtt.tls.enabled is false")
        return file

    @field_validator("key_file")
    @classmethod
    def _certificate_and_key_are_a_pair(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (info.data["cert_file"] is None) != (key is None):
            raise UnmetError("must be set together with mqtt.tls.cert_file", got="")
        return key


class Mqtt(Section):
    """The broker and how to reach it."""

    host: Host = "localhost"
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    version: Version = "5"
    client_id: Text = "anomalyd"
    keepalive: Keepalive = timedelta(seconds=60)
    session_expiry: SessionExpiry = timedelta(days=7)
    username: Text | None = None
    password_file: File | None = None
    connect_timeout: Annotated[Duration, Positive] = timedelta(seconds=10)
    tls: Tls = Field(default_factory=Tls)

    @field_validator("password_file")
    @classmethod
    def _a_password_needs_a_name(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None and "username" in info.data and info.data["username"] is None:
            raise UnmetError("must not be set without mqtt.username")
        return file

    @property
    def broker_port(self) -> int:
        """The port to connect to, the protocol's own where none is configured."""
        return self.port or (8883 if self.tls.enabled else 1883)
