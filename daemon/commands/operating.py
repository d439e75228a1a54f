"""Commands about a machine's operation and its alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.commands.answer import ALREADY, DONE
from daemon.commands.command import Ack, Maintenance, Off, Running, Shelve, Unshelve, duration
from daemon.commands.reading import Reason
from daemon.commands.scene import RefusedError
from daemon.payloads import iso
from detector.modes import Mode

if TYPE_CHECKING:
    from daemon.commands.scene import Scene
    from detector.machine import Machine

MODES = {Off: Mode.OFF, Running: Mode.RUNNING, Maintenance: Mode.MAINTENANCE}


def acknowledge(command: Ack, scene: Scene) -> tuple[str, str]:
    """Notes that somebody knows of the open alert; returns the reason and the text of the answer."""
    machine = _machine(scene)
    alert = machine.alerts.alert or machine.silence.alert
    if alert is None:
        raise RefusedError(Reason.NOT_OPEN, f"{machine.name} has no open alert")
    if command.alert is not None and not alert.id.startswith(command.alert):
        text = f"the open alert of {machine.name} is {alert.id}, not {command.alert}"
        raise RefusedError(Reason.NOT_OPEN, text)
    known = alert.acknowledged
    if known is not None:
        by = f" by {known.by}" if known.by else ""
        return ALREADY, f"{alert.id} was acknowledged{by} at {iso(known.at)}"
    scene.events += scene.pipeline.acknowledge(machine.name, now=scene.at, by=command.by, note=command.note)
    return DONE, f"{alert.id} of {machine.name} is acknowledged"


def shelve(command: Shelve | Unshelve, scene: Scene) -> tuple[str, str]:
    """Keeps the machine's alerts from subscribers for a time, or does so no longer."""
    machine = _machine(scene)
    if isinstance(command, Unshelve):
        shelved = machine.shelf is not None
        scene.events += scene.pipeline.unshelve(machine.name, now=scene.at)
        return DONE if shelved else ALREADY, f"alerts of {machine.name} are published"
    until = _until(command.lasting, scene)
    scene.events += scene.pipeline.shelve(machine.name, until=until, now=scene.at, by=command.by)
    return DONE, f"alerts of {machine.name} are not published until {iso(until)}"


def set_mode(command: Off | Running | Maintenance, scene: Scene) -> tuple[str, str]:
    """Says whether the machine is to be watched."""
    machine, mode = _machine(scene), MODES[type(command)]
    lasting = command.lasting if isinstance(command, Maintenance) else None
    until = None if lasting is None else _until(lasting, scene)
    events = scene.pipeline.set_mode(
        machine.name, mode, now=scene.at, by=command.by, note=command.note, until=until
    )
    scene.events += events
    scene.transaction.touched.add(machine.name)
    lasts = "" if until is None else f" until {iso(until)}"
    word = "in maintenance" if mode is Mode.MAINTENANCE else mode
    return DONE if events else ALREADY, f"{machine.name} is {word}{lasts}"


def _machine(scene: Scene) -> Machine:
    machine = scene.pipeline.machine(scene.known(scene.machine))
    if machine is None:
        raise RefusedError(Reason.UNKNOWN_MACHINE, f"{scene.machine} is not followed any more")
    return machine


def _until(lasting: str, scene: Scene) -> int:
    """The end of a time that began when the command was given, which may be long ago."""
    until = scene.at + duration(lasting)
    if until <= scene.now:
        raise RefusedError(Reason.NOT_TAKEN, f"its time was over at {iso(until)}")
    return until
