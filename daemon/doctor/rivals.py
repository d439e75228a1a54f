"""What daemons say of themselves on the status topic, beside what runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from daemon.doctor.findings import Finding, failure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config import Settings
    from daemon.intake import Message

OFTEN = 3  # announcements while we listen: a restart has two, and a calm daemon none


def examine(settings: Settings, heard: Iterable[Message], *, running: bool) -> Finding:
    """Compares statuses, oldest first, with whether a daemon runs on the state directory."""
    topic, client_id = settings.status.topic, settings.mqtt.client_id
    of_daemons = [each for each in heard if each.topic == topic and _status(each)]
    announced = {each.payload for each in of_daemons if not each.retained}
    announced -= {each.payload for each in of_daemons if each.retained}  # the doctor says it again
    said = [status for each in of_daemons if (status := _status(each))]
    if len(announced) >= OFTEN:
        found = f"{topic} was announced {len(announced)} times: two daemons seem to throw each other out"
        return failure("daemons", found, f"give each daemon its own mqtt.client_id, now {client_id}")
    last = said[-1]["status"] if said else None
    if last is None:
        return ok("daemons", f"{topic} says nothing that we may read")
    if last == "degraded":
        return warning("daemons", f"{topic}: degraded: {said[-1].get('problem')}", "mend that")
    if running and last == "offline":
        found = f"{topic} says offline, though a daemon runs here"
        return warning("daemons", found, "see its log: it may not reach the broker, or was not let publish")
    if not running and last == "online":
        found = f"{topic} says online, and no daemon runs here: another one does, elsewhere"
        return warning("daemons", found, "give each daemon its own mqtt.client_id and status.topic")
    return ok("daemons", f"{topic} says {last}")


def _status(heard: Message) -> dict[str, Any] | None:
    """A daemon's status; None for the doctor's own, which has no version."""
    try:
        content = msgspec.json.decode(heard.payload, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    return content if "version" in content and isinstance(content.get("status"), str) else None
