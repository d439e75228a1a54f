"""What a command is answered with."""

from __future__ import annotations

import msgspec

from daemon.commands.command import Command, name_of
from daemon.commands.reading import Refused

DONE = "done"
ALREADY = "already"  # it was so before


class Answer(msgspec.Struct, frozen=True):
    """An answer as it is published.

    Attributes:
        command: The command's name; None: what came was none.
        machine: The machine that it is about; None: the daemon, or what machines share.
        done: Whether it holds now.
        reason: In a word: `done`, `already` or why not.
        text: For people.
        ref: The command's own.
    """

    command: str | None
    machine: str | None
    done: bool
    reason: str
    text: str
    ref: str | int | None = None


def done(command: Command, machine: str | None, text: str, reason: str = DONE) -> Answer:
    """The answer to one that was obeyed."""
    return Answer(name_of(command), machine, done=True, reason=reason, text=text, ref=command.ref)


def refusal(refused: Refused, machine: str | None) -> Answer:
    """The answer to one that was not."""
    return Answer(
        refused.command, machine, done=False, reason=refused.reason, text=refused.text, ref=refused.ref
    )
