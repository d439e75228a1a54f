"""The daemon without a broker and without its loop: a test says what arrives, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from config import Settings
from config.policies import alert_policy, milliseconds, stream_policy
from daemon.announcing import Announcer
from daemon.commands.desk import desk_of
from daemon.decoding import Decoder
from daemon.intake import Intake, Message
from daemon.publisher import Publisher
from daemon.service import Service
from daemon.serving import Serving
from daemon.store import Store
from daemon.tally import Tally
from detector.alerts import OpenAlert
from detector.pipeline import Pipeline
from registry.champions import Registry
from tests.daemon.wire import Wire, connected


@dataclass
class Offline:
    """A service between its start and its end."""

    service: Service
    intake: Intake
    tally: Tally

    def take(self, messages: list[Message]) -> None:
        """One step over messages (at QoS 0, as nobody wants them acknowledged)."""
        for message in messages:
            self.intake.put(message)
        self.service.step()

    def count(self, event: str) -> int:
        """How often it was counted."""
        return sum(number for (name, _), number in self.tally.counts.items() if name == event)


@contextmanager
def serving(
    settings: Settings, *, retained_alerts: Callable[[], Mapping[str, OpenAlert] | None] = dict
) -> Iterator[Offline]:
    """Starts from what the state directory holds; ends without any good-bye."""
    store = Store(settings.state_dir / "store.sqlite", durability=settings.store.durability)
    bundles = Serving(Registry(settings.state_dir), store, lateness=milliseconds(settings.readings.lateness))
    pipeline = Pipeline(bundles.load(), stream=stream_policy(settings), alerts=alert_policy(settings))
    bundles.restore(pipeline)
    tally = Tally(time.monotonic)
    wire, intake = Wire(), Intake()
    publisher = Publisher(wire, tally, time.monotonic)
    service = Service(
        settings,
        intake=intake,
        decoder=Decoder(topic=settings.readings.topic, time="ts", values=None, max_payload=10_000),
        pipeline=pipeline,
        store=store,
        connection=wire,
        publisher=publisher,
        announcer=Announcer(settings, publisher, tally, version="1"),
        desk=desk_of(settings, store, Registry(settings.state_dir), tally, ask=lambda *_: True),
        tally=tally,
        retained_alerts=retained_alerts,
    )
    intake.put(connected(1))
    yield Offline(service, intake, tally)
    store.close()
