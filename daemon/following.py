"""Messages become readings and go through the pipeline; what is to be stored goes into the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.decoding import Refusal, RefusalReason
from detector.events import ClockFailed, ReadingDropped
from detector.reading import Reading

if TYPE_CHECKING:
    from daemon.decoding import Decoder
    from daemon.intake import Message
    from daemon.store import Store
    from daemon.transaction import Transaction
    from detector.events import Event
    from detector.pipeline import Pipeline


def read(message: Message, decoder: Decoder, store: Store) -> Reading | Refusal:
    """The reading, or why there is none, or why it cannot be stored."""
    decoded = decoder.decode(message)
    if isinstance(decoded, Refusal) or store.room_for(decoded.sensors):
        return decoded
    detail = "too many combinations of sensors are stored already"
    return Refusal(message, RefusalReason.TOO_MANY_LAYOUTS, detail)


def follow(pipeline: Pipeline, readings: list[Reading], transaction: Transaction) -> list[Event]:
    """The events; adds to the transaction's readings, and to the machines whose state they touched."""
    events = pipeline.on_readings(readings)
    dropped = {id(event.reading): event for event in events if isinstance(event, ReadingDropped)}
    kept = [reading for reading in readings if id(reading) not in dropped] if dropped else readings
    proofs = {id(event.reading) for event in events if isinstance(event, ClockFailed)}
    if proofs:
        place = len(transaction.readings)
        transaction.begins += [place + i for i, reading in enumerate(kept) if id(reading) in proofs]
    transaction.readings += kept
    touched = {reading.machine for reading in kept}
    for name in touched.union(event.reading.machine for event in dropped.values()):
        machine = pipeline.machine(name)
        # What came too late is not stored, but what it tells of the machine's clock is.
        if machine is not None and (name in touched or machine.overtaken is not None):
            transaction.touched.add(name)
    return events
