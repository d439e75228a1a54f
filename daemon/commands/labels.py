"""Commands that say what a stretch of a machine's time was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.commands.answer import ALREADY, DONE
from daemon.commands.command import Confirmed, Entry, Exclude, FalseAlarm, milliseconds_of
from daemon.commands.reading import Reason
from daemon.commands.scene import RefusedError
from daemon.payloads import iso
from detector.labels import Label, LabelKind

if TYPE_CHECKING:
    from daemon.commands.command import DropLabel, ImportLabels, Moment
    from daemon.commands.scene import Scene

MOST = 100_000  # labels of one machine
LEAST = 4  # characters that name an alert
KINDS = {FalseAlarm: LabelKind.FALSE_ALARM, Confirmed: LabelKind.CONFIRMED, Exclude: LabelKind.EXCLUDED}


def note(command: FalseAlarm | Confirmed | Exclude, scene: Scene) -> tuple[str, str]:
    """Labels an alert, or a stretch; returns the reason and the text of the answer."""
    machine, kind = scene.known(scene.machine), KINDS[type(command)]
    alert = None if isinstance(command, Exclude) else command.alert
    if alert is not None:
        alert, start, end = alert_of(scene, alert)
    else:
        assert command.start is not None
        assert command.end is not None
        start, end = _stretch(command.start, command.end)
    label = Label(
        machine,
        kind,
        start,
        end,
        scene.at,
        by=command.by,
        note=command.note,
        code=command.code if isinstance(command, Confirmed) else "",
        alert=alert,
    )
    _check_room([label], machine, scene)
    _add([label], scene)
    until = "on, until the alert closes" if end is None else f"to {iso(end)}"
    return DONE, f"{machine} is labelled {kind} from {iso(start)} {until}"


def enter(command: ImportLabels, scene: Scene) -> tuple[str, str]:
    """Labels many stretches, of all machines that are named, or none of them."""
    labels: dict[str, list[Label]] = {}
    for place, entry in enumerate(command.labels):
        machine = _whose(entry, place, scene)
        start, end = _stretch(entry.start, entry.end)
        note, code = entry.note or command.note, entry.code
        labels.setdefault(machine, []).append(
            Label(machine, entry.kind, start, end, scene.at, by=command.by, note=note, code=code)
        )
    for machine, of_machine in labels.items():
        _check_room(of_machine, scene.known(machine), scene)
    for of_machine in labels.values():
        _add(of_machine, scene)
    number = len(command.labels)
    return DONE, f"{number} label{'' if number == 1 else 's'} of {', '.join(sorted(labels))}"[:500]


def drop(command: DropLabel, scene: Scene) -> tuple[str, str]:
    """Takes a label away."""
    machine, start = scene.known(scene.machine), milliseconds_of("from", command.start)
    there = any((label.kind, label.start) == (command.kind, start) for label in scene.store.labels(machine))
    scene.transaction.unlabelled.append((machine, command.kind, start))
    text = f"{machine} has no label {command.kind} from {iso(start)}"
    return (DONE, f"{text} any longer") if there else (ALREADY, text)


def alert_of(scene: Scene, alert: str) -> tuple[str, int, int | None]:
    """An alert's id, when it opened and when it closed; `alert` may be its first characters."""
    found = scene.store.alerts_named(scene.known(scene.machine), alert) if len(alert) >= LEAST else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} alerts begin with {alert}" if found else f"there is no alert {alert}"
    raise RefusedError(Reason.UNKNOWN_ALERT, f"of {scene.machine} {what}; see: anomalyd alerts list")


def _whose(entry: Entry, place: int, scene: Scene) -> str:
    if scene.machine is None and entry.machine is None:
        raise RefusedError(Reason.BAD_FIELD, f"labels[{place}]: must have a machine")
    if scene.machine is not None and entry.machine not in {None, scene.machine}:
        text = f"labels[{place}].machine: must be {scene.machine}, as in the topic, got {entry.machine}"
        raise RefusedError(Reason.BAD_FIELD, text)
    return entry.machine or scene.machine or ""


def _check_room(labels: list[Label], machine: str, scene: Scene) -> None:
    if len(scene.store.labels(machine)) + len(labels) > MOST:
        raise RefusedError(Reason.TOO_MANY, f"{machine} would have more than {MOST} labels; drop some first")


def _add(labels: list[Label], scene: Scene) -> None:
    transaction = scene.transaction
    again = {(label.machine, label.kind, label.start) for label in labels}
    transaction.unlabelled = [key for key in transaction.unlabelled if key not in again]
    transaction.labels += labels


def _stretch(start: Moment, end: Moment) -> tuple[int, int]:
    return milliseconds_of("from", start), milliseconds_of("to", end)
