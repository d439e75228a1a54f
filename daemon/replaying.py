"""Dead letters that somebody wants read once more, by the present configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from daemon.decoding import Refusal
from daemon.following import follow, read
from detector.events import ReadingDropped
from detector.reading import Dropped

if TYPE_CHECKING:
    from daemon.decoding import Decoder
    from daemon.store import Store
    from daemon.tally import Tally
    from daemon.transaction import Transaction
    from detector.events import Event
    from detector.pipeline import Pipeline
    from detector.reading import Reading

MOST = 500  # at once: live messages wait meanwhile


class Replaying:
    """Takes what `anomalyd dead-letters replay` has marked, a step at a time.

    A letter leaves the store in the same transaction in which its reading comes in, or stays with the
    reason for which it is refused now: whenever the process ends, it is one of the two.
    """

    def __init__(self, store: Store, tally: Tally) -> None:
        self._store = store
        self._tally = tally
        self._last = 0  # number of the letter looked at last; some wait for their time

    def step(self, decoder: Decoder, pipeline: Pipeline, transaction: Transaction) -> list[Event]:
        """Takes some of them; returns the events and fills the transaction.

        A reading whose time has passed is stored for the next training, but not scored. It waits until no
        window that may be rebuilt after a restart could hold it, which it did not hold.
        """
        marked = self._store.marked(self._last, MOST)
        self._last = marked[-1][0] if marked else 0
        numbers: dict[int, int] = {}  # by the identity of the reading
        readings: list[Reading] = []
        for number, message in marked:
            decoded = None if message is None else read(message, decoder, self._store)
            if decoded is None:  # it was dropped meanwhile
                transaction.replayed.append(number)
            elif isinstance(decoded, Refusal):
                self._refuse(number, decoded.reason, decoded.detail, transaction)
            elif misplaced := pipeline.misplaced(decoded):
                self._refuse(number, misplaced, "it is a reading now, but of a wrong time", transaction)
            else:
                # When it arrived says nothing more about the machine's clock, nor about its silence.
                readings.append(msgspec.structs.replace(decoded, received_at=None))
                numbers[id(readings[-1])] = number
        if not readings:
            return []
        transaction.texts |= decoder.new_texts()
        events = follow(pipeline, readings, transaction)
        for event in events:
            if isinstance(event, ReadingDropped):
                self._dropped(event, numbers.pop(id(event.reading)), pipeline, transaction)
        transaction.replayed += numbers.values()
        if numbers:
            self._tally.count("dead_letter_replayed", "scored", len(numbers))
        return [event for event in events if not isinstance(event, ReadingDropped)]

    def _dropped(
        self, event: ReadingDropped, number: int, pipeline: Pipeline, transaction: Transaction
    ) -> None:
        reading, reason = event.reading, event.reason
        machine = pipeline.machine(reading.machine)
        if reason is Dropped.DUPLICATE:
            transaction.replayed.append(number)
            self._tally.count("dead_letter_replayed", "duplicate")
        elif reason is not Dropped.LATE or machine is None:
            self._refuse(number, reason, "it is a reading now, but left out", transaction)
        elif machine.outlived(reading.at):
            transaction.readings.append(reading)
            transaction.replayed.append(number)
            self._tally.count("dead_letter_replayed", "stored")

    def _refuse(self, number: int, reason: str, detail: str, transaction: Transaction) -> None:
        transaction.refused_again.append((number, reason, detail))
        self._tally.count("dead_letter_replayed", "refused", detail=detail)
