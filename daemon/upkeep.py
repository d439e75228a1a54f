"""Keeps the store within its bounds, a small step at a time, and tells of what goes."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import structlog

from config.policies import milliseconds
from daemon.bounds import Limits
from daemon.clock import now

if TYPE_CHECKING:
    from config.streams import Store as Options
    from daemon.announcing import Announcer
    from daemon.bounds import Pruned
    from daemon.publisher import Publisher
    from daemon.store import Store
    from daemon.tally import Tally
    from daemon.transaction import Transaction
    from detector.events import Event
    from detector.pipeline import Pipeline

EVERY = 1.0  # seconds between steps; each is small, however much is stored
RETRY = 10.0  # seconds until a disk that refuses is asked again
TELL_SIZE = 86_400.0  # seconds between log lines about a store that is as large as it may be


class Upkeep:
    """Takes a step whenever it is due."""

    def __init__(self, store: Store, publisher: Publisher, announcer: Announcer, tally: Tally) -> None:
        self._store = store
        self._publisher = publisher
        self._announcer = announcer
        self._tally = tally
        self._due = self._size_told_until = 0.0

    def step(self, options: Options, pipeline: Pipeline, transaction: Transaction) -> list[Event]:
        """Deletes what exceeds the bounds; machines that are forgotten leave the pipeline.

        The store and the broker lose them with the step's transaction: what is to be told of them is not
        lost, whenever the daemon ends.
        """
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + EVERY
        limits = Limits(milliseconds(options.keep), options.max_size, options.max_outbox)
        try:
            pruned = self._store.prune(limits, now=now(), connected=self._publisher.connected())
        except sqlite3.Error as error:
            self._tally.store_failed(error, "prune", self._store.path)
            self._due = time.monotonic() + RETRY
            return []
        self._tell(pruned, limits)
        self._publisher.withdraw(pruned.outgoing)
        events = []
        back = {*transaction.touched, *(reading.machine for reading in transaction.readings)}
        for name in (*pruned.machines, *self._strangers(pipeline, now() - limits.keep)):
            if name not in back:
                events += pipeline.forget(name, now())
                transaction.forgotten.add(name)
                transaction.outgoing.append(self._announcer.withdrawal(name))
                self._tally.report("machine_forgotten", level="info", machine=name)
        return events

    def _tell(self, pruned: Pruned, limits: Limits) -> None:
        if pruned.dead_letters:
            self._tally.count("dead_letter_dropped", "too_large", pruned.dead_letters)
        if pruned.outgoing:
            self._tally.count("publication_buried", "max_outbox", len(pruned.outgoing))
        if pruned.over:
            self._tally.note("reading_pruned", "max_size", pruned.over)
            if time.monotonic() >= self._size_told_until:
                self._size_told_until = time.monotonic() + TELL_SIZE
                hint = "raise store.max_size, or lower store.keep"
                structlog.get_logger().warning("store_at_max_size", max_size=limits.max_size, hint=hint)

    def _strangers(self, pipeline: Pipeline, before: int) -> list[str]:
        """Machines of which nothing is stored, since nothing they sent was a reading, and that are silent."""
        known = {*self._store.machines()}
        return [
            machine.name
            for machine in pipeline.machines()
            if machine.name not in known
            and (machine.silence.heard_at or before) < before
            and machine.alerts.alert is None
        ]
