"""What one step of the daemon leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.commands.table import Filed, Row
    from daemon.decoding import Refusal
    from daemon.publisher import Outgoing
    from detector.labels import Label, LabelKind
    from detector.machine import Snapshot
    from detector.reading import Reading


@dataclass(slots=True)
class Transaction:
    """What one step leaves behind, committed as a whole.

    Attributes:
        readings: Accepted readings.
        begins: Places in `readings` from which on that machine's times may come a second time.
        touched: Machines whose state has changed; at the end of the step it is taken down.
        snapshots: The state of each of them.
        forgotten: Machines of which no reading is left, and that are not known any longer.
        opened: Alerts that opened: machine, id and time.
        closed: Alerts that closed: id and time.
        outgoing: Topic and payload of what must reach the broker; one that is empty ends what is retained.
        refusals: Messages for the dead letters.
        sent: Numbers of earlier outgoing messages that the broker has taken.
        undeliverable: Numbers of those that are too large for it, and the detail for the dead letters.
        replayed: Numbers of dead letters that are none any more.
        refused_again: Numbers of others, with the reason and the detail for which they are refused now.
        texts: What numbers in the readings stand for, where they are categories.
        labels: What was said about stretches of time; each takes the place of the one of its machine, kind
            and start.
        unlabelled: Machines, kinds and starts of labels that hold no longer.
        filed: Commands that came by MQTT.
        settled: Numbers of commands that waited in the store, their answers, and what is kept of them.
        answers: What is published once all this is stored, and not kept.
    """

    readings: list[Reading] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    opened: list[tuple[str, str, int]] = field(default_factory=list)
    closed: list[tuple[str, int]] = field(default_factory=list)
    outgoing: list[tuple[str, bytes]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    undeliverable: list[tuple[int, str]] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    refused_again: list[tuple[int, str, str]] = field(default_factory=list)
    texts: dict[float, str] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    unlabelled: list[tuple[str, LabelKind, int]] = field(default_factory=list)
    filed: list[Row] = field(default_factory=list)
    settled: list[tuple[int, bytes, Filed]] = field(default_factory=list)
    answers: list[Outgoing] = field(default_factory=list)

    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.urgent() or self.sent or self.undeliverable)

    def urgent(self) -> bool:
        """Whether anything waits for the commit; that the broker took a message may be noted later."""
        letters = self.refusals or self.replayed or self.refused_again
        machines = self.snapshots or self.forgotten or self.labels or self.unlabelled
        commands = self.filed or self.settled
        return bool(self.readings or machines or self.outgoing or letters or self.texts or commands)
