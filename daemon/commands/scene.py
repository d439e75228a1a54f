"""What is at hand when a command is executed, and how it is refused there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.problems import nearest
from daemon.commands.reading import Reason

if TYPE_CHECKING:
    from daemon.store import Store
    from daemon.transaction import Transaction
    from detector.events import Event
    from detector.pipeline import Pipeline


class RefusedError(Exception):
    """A command that was understood cannot be obeyed: in a word, and for people."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


@dataclass(slots=True)
class Scene:
    """One command's surroundings.

    Attributes:
        machine: Whom it is about; None: none in particular.
        at: When it was given, in milliseconds since the epoch by this host's clock.
        now: What that shows now.
        pipeline: Follows the machines.
        store: What is stored, as of the step before.
        transaction: Takes what the command leaves behind.
        events: What it has caused.
    """

    machine: str | None
    at: int
    now: int
    pipeline: Pipeline
    store: Store
    transaction: Transaction
    events: list[Event] = field(default_factory=list)

    def known(self, name: str | None) -> str:
        """That machine's name; refuses one that was never heard, since it is most likely spelt wrong."""
        names = {*self.store.machines(), *(machine.name for machine in self.pipeline.machines())}
        if name in names:
            return name
        near = nearest(name or "", names)
        hint = f"; did you mean {near}?" if near else ""
        raise RefusedError(Reason.UNKNOWN_MACHINE, f"nothing was ever heard of machine {name}{hint}")
