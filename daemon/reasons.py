"""Why the broker or the store fails, in the few words that the log and the metrics share."""

from __future__ import annotations

import socket
import sqlite3
import ssl

OTHER = "other"  # what is none of the words below; the log line's detail tells

# The first that fits: each is a kind of the next ones.
ERRORS: dict[type[BaseException], str] = {
    ssl.SSLCertVerificationError: "certificate",
    ssl.SSLError: "tls",
    socket.gaierror: "name_not_resolved",
    ConnectionRefusedError: "connection_refused",
    TimeoutError: "timed_out",
    OSError: "network",
}
UNSPECIFIED = "unspecified_error"  # paho's word for a connection that has ended without one
UNANSWERED = "connect_unanswered"  # the host was reached, and no word came from the broker
THREAD_DIED = "thread_died"
UNSUPPORTED = "unsupported_protocol_version"
# Of MQTT 5, section 2.4, what brokers do say when they hang up, refuse a client, or a publication.
ENDED = (
    "keep_alive_timeout",
    "malformed_packet",
    "packet_too_large",
    "protocol_error",
    "quota_exceeded",
    "receive_maximum_exceeded",
    "server_shutting_down",
    "session_taken_over",
)
REFUSED = (
    "bad_user_name_or_password",
    "banned",
    "client_identifier_not_valid",
    "not_authorized",
    "packet_too_large",
    "quota_exceeded",
    "server_busy",
    "server_unavailable",
    UNSUPPORTED,
)
TURNED_DOWN = (
    "implementation_specific_error",
    "not_authorized",
    "payload_format_invalid",
    "quota_exceeded",
    "topic_filter_invalid",
    "topic_name_invalid",
    UNSPECIFIED,
)
STORE = ("busy", "cantopen", "corrupt", "full", "ioerr", "locked", "notadb", "readonly")  # SQLite's words


def of_connecting(error: BaseException | None) -> str:
    """Why a connection could not be made."""
    return next((word for kind, word in ERRORS.items() if isinstance(error, kind)), OTHER)


def of_broker(reason: object) -> str:
    """What the broker gives as its reason: `Not authorized` is not_authorized."""
    return str(reason).lower().replace(" ", "_")


def of_store(error: sqlite3.Error) -> str:
    """What SQLite gives as its reason: SQLITE_IOERR_WRITE is ioerr."""
    name: str = getattr(error, "sqlite_errorname", "")  # our own misuse of it has none
    return name.removeprefix("SQLITE_").split("_")[0].lower() or OTHER
