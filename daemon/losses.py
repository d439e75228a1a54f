"""Why there is no connection: one word for the log and the counter, the whole text, and what to change."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import msgspec

from daemon.reasons import OTHER, of_broker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paho.mqtt.reasoncodes import ReasonCode

SESSION_TAKEN_OVER = "session_taken_over"
CUT_REPEATEDLY = "cut_repeatedly"
CLOSED = "closed"
CLOSED_UNANSWERED = "closed_unanswered"
UNANSWERED = "unanswered"
THREAD_DIED = "thread_died"
KEEPALIVE = "Keep alive timeout"
UNSPECIFIED = "Unspecified error"  # what paho makes of an end without a reason

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
    "connection_refused": "nobody listens there: start the broker, or correct mqtt.host or mqtt.port",
    "network": "there is no way to that address: see mqtt.host and this host's network",
    "timed_out": "nobody answers: see mqtt.host, mqtt.port, and the firewalls on the way",
    "certificate_not_yet_valid": "set this host's clock, or that of the host where the certificate was made",
    "certificate_expired": "renew the broker's certificate; if it is not that old, set this host's clock",
    "certificate_authority": "mqtt.tls.ca_file must hold the authority that signed the broker's certificate",
    "certificate_host": "mqtt.host must be a name or an address that stands in the broker's certificate",
    "certificate_unusable": "renew the broker's certificate",
    "own_certificate": "mqtt.tls.cert_file must be a certificate that is valid, of an authority that the "
    "broker trusts (Mosquitto: cafile)",
    "tls": "the broker must speak TLS there: see mqtt.port (8883, as a rule) and mqtt.tls.enabled",
    CLOSED_UNANSWERED: "mqtt.port may be no port for MQTT, or mqtt.tls.enabled be wrong for it; the broker's "
    "log says more. By MQTT 3.1.1 a broker gives no reason: try mqtt.version 5",
    UNANSWERED: "who listens there takes the connection and says nothing: see mqtt.port; of some brokers "
    "that know MQTT 3.1.1 alone mqtt.version must be 3.1.1",
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
    "topic_name_invalid": "let the broker take the topics of status, state, sensors, scores and alerts",
    "banned": "let the broker allow this client again",
}
OWN_CERTIFICATE = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_", "HANDSHAKE_FAILURE", "ACCESS_DENIED")
LOSSES = (
    # What the network or the encryption says.
    *("name_not_resolved", "connection_refused", "network", "timed_out"),
    *(*dict.fromkeys(VERIFICATIONS.values()), "certificate_unusable", "own_certificate", "tls"),
    *(CLOSED, CLOSED_UNANSWERED, UNANSWERED, CUT_REPEATEDLY, THREAD_DIED),
    # What brokers do say when they hang up (MQTT 5, section 2.4).
    *("administrative_action", "keep_alive_timeout", "malformed_packet", "not_authorized"),
    *("packet_too_large", "protocol_error", "qos_not_supported", "quota_exceeded"),
    *("receive_maximum_exceeded", "retain_not_supported", "server_shutting_down", SESSION_TAKEN_OVER),
    OTHER,
)
REFUSALS = (  # what they say when they turn a client down
    *("bad_user_name_or_password", "banned", "client_identifier_not_valid", "connection_rate_exceeded"),
    *("not_authorized", "packet_too_large", "qos_not_supported", "quota_exceeded", "retain_not_supported"),
    *("server_busy", "server_unavailable", "topic_name_invalid", "unsupported_protocol_version"),
    OTHER,
)


class Loss(msgspec.Struct, frozen=True, gc=False):
    """Why a connection ended or never stood: `reason` is one of `LOSSES` or `REFUSALS`."""

    reason: str
    detail: str

    @property
    def hint(self) -> str:
        """What a person can do about it."""
        return HINTS.get(self.reason, "the broker's log may say more")


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
        return "connection_refused"
    if isinstance(error, TimeoutError):
        return "timed_out"
    if isinstance(error, ConnectionError):
        return CLOSED_UNANSWERED
    return "network"


def of_end(reason: ReasonCode, *, error: BaseException | None, stood: bool, by_broker: bool) -> Loss:
    """Why an open connection ended.

    Args:
        reason: The broker's, or what paho makes of the end.
        error: What reading last raised.
        stood: Whether the broker had accepted it.
        by_broker: Whether the reason came from the broker.
    """
    if not stood and str(reason) == KEEPALIVE:
        return Loss(UNANSWERED, "no answer to CONNECT")
    if by_broker or str(reason) != UNSPECIFIED:
        return Loss(of_broker(reason), str(reason))
    if not stood and isinstance(error, ssl.SSLError):
        return of_error(error)
    detail = str(error) if error else "the broker closed the connection"
    return Loss(CLOSED if stood else CLOSED_UNANSWERED, detail)
