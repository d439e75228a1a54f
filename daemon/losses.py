"""Why there is no connection: one word for the log and the counter, the whole text, and what to change."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

SESSION_TAKEN_OVER = "session_taken_over"
CUT_REPEATEDLY = "cut_repeatedly"
CLOSED = "closed"
CLOSED_UNANSWERED = "closed_unanswered"
THREAD_DIED = "thread_died"

# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h).
VERIFICATIONS: Mapping[int, str] = {
    9: "certificate_not_yet_valid",
    10: "certificate_expired",
    18: "certificate_authority",  # self-signed
    19: "certificate_authority",  # self-signed, with others that it signed
    20: "certificate_authority",  # of an authority that is not among ours
    21: "certificate_authority",  # the same, and it came alone
    62: "certificate_host",  # another name
    64: "certificate_host",  # another address
}
ACCOUNT = (
    "the broker must know mqtt.username with the password of mqtt.password_file (Mosquitto: password_file); "
    "without a user it must let everybody in (allow_anonymous)"
)
NAMESAKE = "another client uses the same mqtt.client_id: give each daemon its own"
QOS = "let the broker grant QoS 1 (Mosquitto: max_qos): without it nothing says that a message arrived"
HINTS: Mapping[str, str] = {
    "name_not_resolved": "mqtt.host must be a name that this host can resolve, or an address",
    "refused": "nobody listens there: start the broker, or correct mqtt.host or mqtt.port",
    "unreachable": "there is no way to that address: see mqtt.host and this host's network",
    "timeout": "nobody answers: see mqtt.host, mqtt.port, and the firewalls on the way",
    "certificate_not_yet_valid": "set this host's clock, or that of the host where the certificate was made",
    "certificate_expired": "renew the broker's certificate; if it is not that old, set this host's clock",
    "certificate_authority": "mqtt.tls.ca_file must hold the authority that signed the broker's certificate",
    "certificate_host": "mqtt.host must be a name or an address that stands in the broker's certificate",
    "certificate_unusable": "renew the broker's certificate",
    "own_certificate": "mqtt.tls.cert_file must be a certificate that is valid, of an authority that the "
    "broker trusts (Mosquitto: cafile)",
    "tls": "the broker must speak TLS there: see mqtt.port (8883, as a rule) and mqtt.tls.enabled",
    CLOSED_UNANSWERED: "that may be no MQTT port, or one that asks for TLS or a certificate; the broker's "
    "log says more. Brokers of MQTT 3.1.1 give no reason: try mqtt.version 5",
    CUT_REPEATEDLY: f"probably {NAMESAKE}; the broker's log tells",
    SESSION_TAKEN_OVER: NAMESAKE,
    "not_authorized": ACCOUNT,
    "bad_user_name_or_password": ACCOUNT,
    "unsupported_protocol_version": "set mqtt.version to 3.1.1, or use a broker that knows MQTT 5",
    "client_identifier_not_valid": "choose another mqtt.client_id",
    "qos_not_supported": QOS,
    "retain_not_supported": "let the broker retain messages (Mosquitto: retain_available): it keeps states",
    "packet_too_large": "let the broker take larger packets (Mosquitto: max_packet_size)",
    "quota_exceeded": "raise the broker's quota for this client",
    "connection_rate_exceeded": "let the broker take new connections more often",
    "topic_name_invalid": "let the broker take the topics of status, state, scores and alerts",
    "banned": "let the broker allow this client again",
}
OWN_CERTIFICATE = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_", "HANDSHAKE_FAILURE", "ACCESS_DENIED")
OF_THE_NETWORK = (
    *("name_not_resolved", "refused", "unreachable", "timeout"),
    *(*dict.fromkeys(VERIFICATIONS.values()), "certificate_unusable", "own_certificate", "tls"),
    *(CLOSED, CLOSED_UNANSWERED, CUT_REPEATEDLY, THREAD_DIED),
)


class Loss(msgspec.Struct, frozen=True, gc=False):
    """Why a connection ended or never stood: `reason` is one of `LOSSES` or `REFUSALS`."""

    reason: str
    detail: str

    @property
    def hint(self) -> str | None:
        """What a person can do about it."""
        return HINTS.get(self.reason)


def word(reason: ReasonCode | str) -> str:
    """A reason of MQTT, such as `Not authorized`, as a log field and a metric label."""
    return str(reason).lower().replace(" ", "_").replace("-", "_")


def _words(packet: int) -> tuple[str, ...]:
    """What a packet may give as a reason of failure."""
    codes: Mapping[int, Mapping[str, list[int]]] = ReasonCode(packet).names
    return tuple(
        word(name)
        for code, names in codes.items()
        for name, packets in names.items()
        if code >= 0x80 and packet in packets
    )


REFUSALS = _words(PacketTypes.CONNACK)
LOSSES = (*OF_THE_NETWORK, *_words(PacketTypes.DISCONNECT))
PUBLICATION_REFUSALS = _words(PacketTypes.PUBACK)
SUBSCRIPTION_REFUSALS = _words(PacketTypes.SUBACK)


def of_error(error: BaseException | None) -> Loss:
    """What the network or the encryption raised."""
    return Loss(_reason(error), str(error or "no connection"))


def _reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return VERIFICATIONS.get(error.verify_code, "certificate_unusable")
    if isinstance(error, ssl.SSLError):
        own = any(each in (error.reason or "") for each in OWN_CERTIFICATE)
        return "own_certificate" if own else "tls"
    if isinstance(error, socket.gaierror):
        return "name_not_resolved"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError):
        return CLOSED_UNANSWERED
    return "unreachable"


def of_end(reason: ReasonCode, *, error: BaseException | None, stood: bool, by_broker: bool) -> Loss:
    """Why an open connection ended.

    Args:
        reason: The broker's, or what paho makes of the end.
        error: What reading last raised.
        stood: Whether the broker had accepted it.
        by_broker: Whether the reason came from the broker.
    """
    if by_broker or str(reason) == "Keep alive timeout":
        return Loss(word(reason), str(reason))
    if not stood and isinstance(error, ssl.SSLError):
        return of_error(error)
    detail = str(error) if error else "the broker closed the connection"
    return Loss(CLOSED if stood else CLOSED_UNANSWERED, detail)
