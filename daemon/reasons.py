"""Why the broker turns something down, or the store fails: the few words of log and metrics."""

from __future__ import annotations

OTHER = "other"  # what is none of the words below; the log line's detail tells

# Of MQTT 5, section 2.4, what brokers do say when they turn down a publication or a subscription.
TURNED_DOWN = (
    "implementation_specific_error",
    "not_authorized",
    "payload_format_invalid",
    "quota_exceeded",
    "topic_filter_invalid",
    "topic_name_invalid",
    "unspecified_error",
)
STORE = ("busy", "cantopen", "corrupt", "full", "ioerr", "locked", "notadb", "readonly")  # SQLite's words


def of_broker(reason: object) -> str:
    """What the broker gives as its reason: `Not authorized` is not_authorized."""
    return str(reason).lower().replace(" ", "_")


def of_store(error: BaseException) -> str:
    """What SQLite gives as its reason: SQLITE_IOERR_WRITE is ioerr."""
    name: str = getattr(error, "sqlite_errorname", "")  # other errors, and our own misuse of it, have none
    return name.removeprefix("SQLITE_").split("_")[0].lower() or OTHER
