"""Executes a command, whichever way it came."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from daemon.commands import labels, operating
from daemon.commands.answer import Answer, done, refusal
from daemon.commands.command import (
    Ack,
    Command,
    Confirmed,
    DropLabel,
    Exclude,
    FalseAlarm,
    ImportLabels,
    Maintenance,
    Off,
    Outside,
    Retrain,
    Running,
    Shelve,
    Unshelve,
    name_of,
)
from daemon.commands.reading import Reason, Refused
from daemon.commands.scene import RefusedError

if TYPE_CHECKING:
    from daemon.commands.outside import Models
    from daemon.commands.scene import Scene
    from daemon.tally import Tally


class Executor:
    """Does what a command says, and says what came of it."""

    def __init__(self, models: Models, tally: Tally) -> None:
        self.models = models
        self._tally = tally

    def execute(self, command: Command, scene: Scene) -> Answer:
        """The answer; what the command leaves behind is in the scene's transaction and events."""
        name, machine = name_of(command), scene.machine
        try:
            reason, text = self._obey(command, scene)
        except RefusedError as refused:
            return self.refuse(Refused(refused.reason, refused.text, name, command.ref), machine)
        except (OSError, sqlite3.Error) as error:
            return self.refuse(Refused(Reason.FAILED, str(error), name, command.ref), machine)
        about = {"machine": machine, "by": command.by, "answer": reason, "text": text}
        self._tally.report("command_executed", name, level="info", **about)
        return done(command, machine, text, reason)

    def refuse(self, refused: Refused, machine: str | None) -> Answer:
        """Counts one that is not obeyed; returns the answer."""
        self._tally.count(
            "command_refused", refused.reason, machine=machine, command=refused.command, detail=refused.text
        )
        return refusal(refused, machine)

    def _obey(self, command: Command, scene: Scene) -> tuple[str, str]:
        if scene.machine is None and command.where == "machine":
            text = f"{name_of(command)} is about one machine: send it on commands.topic"
            raise RefusedError(Reason.TOPIC, text)
        if isinstance(command, Retrain) and scene.machine is not None:
            scene.known(scene.machine)
        if isinstance(command, FalseAlarm | Confirmed | Exclude):
            return labels.note(command, scene)
        if isinstance(command, ImportLabels):
            return labels.enter(command, scene)
        if isinstance(command, DropLabel):
            return labels.drop(command, scene)
        if isinstance(command, Ack):
            return operating.acknowledge(command, scene)
        if isinstance(command, Shelve | Unshelve):
            return operating.shelve(command, scene)
        if isinstance(command, Off | Running | Maintenance):
            return operating.set_mode(command, scene)
        if isinstance(command, Outside):
            return self.models.obey(command, scene.machine)
        raise RefusedError(Reason.NOT_TAKEN, f"{name_of(command)} cannot be obeyed by this version")
