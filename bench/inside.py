"""The daemon's own steps in this process, with everything but the broker: decode, follow, score, store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.stage import Plant
from config import load
from config.policies import alert_policy, health_policy, operation_policy, stream_policy
from daemon import logs
from daemon.announcing import Announcer
from daemon.clock import now
from daemon.commands.desk import desk_of
from daemon.connection import Connection
from daemon.decoding import Decoder
from daemon.intake import Intake, Message
from daemon.publisher import Publisher
from daemon.service import Service
from daemon.store import Store
from daemon.tally import Tally
from detector.pipeline import Pipeline
from registry.champions import Registry

BATCH = 100  # readings of one step: what has come meanwhile under load


class Nobody(Connection):
    """A connection that is down: what is published waits in the outbox, nothing is acknowledged."""

    def __init__(self) -> None:
        self.generation = 0

    def turned(self) -> bool:
        return True

    def revive(self) -> bool:
        return False


class Inside:
    """A service that takes messages by function call, and its parts."""

    def __init__(self, plant: Plant) -> None:
        settings = load(plant.config, {})
        logs.configure(settings.log.level, settings.log.format)
        champions, refused = Registry(settings.state_dir).load({})
        assert champions.shared is not None, refused
        self.detector = champions.shared
        tally, connection = Tally(time.monotonic), Nobody()
        publisher = Publisher(connection, tally, time.monotonic)
        readings = settings.readings
        self.intake = Intake()
        self.decoder = Decoder(
            topic=readings.topic,
            time=readings.time,
            values=readings.values,
            max_payload=readings.max_payload,
            channels=readings.channels,
        )
        self.pipeline = Pipeline(
            champions,
            stream=stream_policy(settings),
            alerts=alert_policy(settings),
            health=health_policy(settings),
            operation=operation_policy(settings),
        )
        self.store = Store(plant.store, durability=settings.store.durability)
        self.announcer = Announcer(settings, publisher, tally, version="bench")
        self.service = Service(
            settings,
            intake=self.intake,
            decoder=self.decoder,
            pipeline=self.pipeline,
            store=self.store,
            connection=connection,
            publisher=publisher,
            announcer=self.announcer,
            desk=desk_of(settings, self.store, Registry(settings.state_dir), tally, ask=lambda *_: True),
            tally=tally,
            retained_alerts=dict,
        )

    def take(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Takes messages in steps of `BATCH`."""
        for begin in range(0, len(messages), BATCH):
            arrived = now()
            for topic, payload in messages[begin : begin + BATCH]:
                self.intake.put(Message(topic, payload, arrived, qos=0, mid=0, generation=0))
            self.service.step()


@contextmanager
def inside(plant: Plant) -> Iterator[Inside]:
    """Starts on what the plant's store holds, which must be nothing, and leaves it as a daemon does."""
    found = Inside(plant)
    try:
        yield found
        found.service.leave()
    finally:
        found.store.close()
