"""Where commands arrive: messages in the order of the readings, and what the command line has put down."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from daemon.clock import now
from daemon.commands.addressing import Addressing
from daemon.commands.command import Command, Outside
from daemon.commands.executing import Executor
from daemon.commands.outside import Models
from daemon.commands.reading import Reason, Refused, read
from daemon.commands.scene import Scene
from daemon.commands.table import Filed, Row
from daemon.publisher import Outgoing

if TYPE_CHECKING:
    from config import Settings
    from daemon.commands.answer import Answer
    from daemon.commands.outside import Ask
    from daemon.intake import Message, Reply
    from daemon.store import Store
    from daemon.tally import Tally
    from daemon.transaction import Transaction
    from detector.events import Event
    from detector.pipeline import Pipeline
    from registry.champions import Registry

MOST = 100  # commands of the table in one step


def desk_of(settings: Settings, store: Store, registry: Registry, tally: Tally, *, ask: Ask) -> Desk:
    """Puts one together; `ask` is for retraining turns."""
    return Desk(Addressing(settings), store, Executor(Models(registry, ask), tally), tally)


class Desk:
    """Takes commands, and has them executed once each.

    What a command changes in the store and the pipeline is stored with the step, and the message
    acknowledged after it. What it changes elsewhere cannot be undone if the step's commit fails: it is
    first written down, and obeyed at the next tick, like what came from the command line.

    A message that is delivered again is known by its digest, and answered as before: of a requester by its
    `ref`, else by the number that the broker has given it, as the same words may be meant anew.
    """

    def __init__(self, addressing: Addressing, store: Store, executor: Executor, tally: Tally) -> None:
        self.addressing = addressing
        self._store = store
        self._executor = executor
        self._tally = tally

    def take(self, message: Message, pipeline: Pipeline, transaction: Transaction) -> list[Event]:
        """Obeys a message, or refuses it; returns the events and fills the transaction."""
        if message.retained:  # it may be of any time, and would come again at each start
            self._tally.count("command_refused", Reason.RETAINED, topic=message.topic[:100])
            return []
        try:
            machine = self.addressing.machine_of(message.topic)
        except ValueError as error:
            self._answer(
                self._executor.refuse(Refused(Reason.TOPIC, str(error)), None), message.reply, transaction
            )
            return []
        command = read(message.payload)
        if isinstance(command, Refused):
            self._answer(self._executor.refuse(command, machine), message.reply, transaction)
            return []
        digest = _digest(message, command)
        if (message.again or command.ref is not None) and self._known(digest, message, machine, transaction):
            return []
        if isinstance(command, Outside):
            settled = self._executor.models.settled(command, machine)
            filed = Filed(msgspec.Raw(msgspec.json.encode(settled)), message.reply, digest)
            transaction.filed.append(Row(machine, message.received_at, filed))
            return []
        scene = Scene(machine, message.received_at, now(), pipeline, self._store, transaction)
        answer = self._executor.execute(command, scene)
        content = self._answer(answer, message.reply, transaction)
        if answer.done:
            transaction.filed.append(Row(machine, scene.at, Filed(digest=digest), content))
        return scene.events

    def tick(self, pipeline: Pipeline, transaction: Transaction) -> list[Event]:
        """Obeys what waits in the table; returns the events and fills the transaction.

        Raises:
            sqlite3.Error: The table cannot be read.
        """
        events: list[Event] = []
        for row in self._store.commands_waiting(MOST):
            command = read(bytes(row.content.command))
            if isinstance(command, Refused):
                answer = self._executor.refuse(command, row.machine)
            else:
                scene = Scene(row.machine, row.at, now(), pipeline, self._store, transaction)
                answer = self._executor.execute(command, scene)
                events += scene.events
            if row.content.digest:
                content = self._answer(answer, row.content.reply, transaction)
            else:
                content = msgspec.json.encode(answer)
            transaction.settled.append((row.number, content, Filed(digest=row.content.digest)))
        return events

    def _known(self, digest: str, message: Message, machine: str | None, transaction: Transaction) -> bool:
        """Whether a command was taken before; it is answered as it was then."""
        try:
            known, content = self._store.command_known(digest)
        except sqlite3.Error as error:
            self._tally.store_failed(error, "command", self._store.path)
            return False
        known = known or any(row.content.digest == digest for row in transaction.filed)
        if content is not None:
            self._publish(content, machine, message.reply, transaction)
        return known

    def _answer(self, answer: Answer, reply: Reply | None, transaction: Transaction) -> bytes:
        content = msgspec.json.encode(answer)
        self._publish(content, answer.machine, reply, transaction)
        return content

    def _publish(
        self, content: bytes, machine: str | None, reply: Reply | None, transaction: Transaction
    ) -> None:
        topic = self.addressing.answer_topic(machine, reply)
        correlation = None if reply is None else reply.correlation
        transaction.answers.append(
            Outgoing(topic, content, retain=False, correlation=correlation, answer=True)
        )


def _digest(message: Message, command: Command) -> str:
    number = message.mid if command.ref is None else ""
    content = f"{message.topic}\0{number}\0".encode() + message.payload
    return blake2b(content, digest_size=16).hexdigest()
