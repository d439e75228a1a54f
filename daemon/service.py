"""The daemon's loop: take, decode, follow, store, acknowledge, publish."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog

from daemon import losses, reasons
from daemon.clock import HostClock, now, steady
from daemon.decoding import Refusal, RefusalReason
from daemon.failpoints import failpoint
from daemon.following import follow, read
from daemon.intake import Connected, Disconnected, Published, Subscribed, Unsubscribed
from daemon.labelling import labelled
from daemon.link import Link
from daemon.notify import notify
from daemon.publisher import stored
from daemon.recovery import ASKED, adopt
from daemon.replaying import Replaying
from daemon.transaction import Transaction
from daemon.upkeep import Upkeep
from detector.alerts import Change
from detector.events import AlertChanged, ModeOrdered, SensorChanged, SilenceChanged, StateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from config import Settings
    from daemon.announcing import Announcer
    from daemon.commands.desk import Desk
    from daemon.connection import Connection
    from daemon.decoding import Decoder
    from daemon.intake import Intake, Message, Notice
    from daemon.publisher import Publisher
    from daemon.store import Store
    from daemon.tally import Tally
    from detector.alerts import OpenAlert, OpenSilence
    from detector.events import Event
    from detector.pipeline import Champions, Pipeline
    from detector.reading import Reading
    from detector.scoring import Detector

MOST = 1000  # messages in one step: enough to fill batches, few enough to keep a step well below a second
APART = 0.004  # seconds from one step to the next, so that under load a commit is worth its while
TICK = 1.0  # seconds between looks at the clock, and that a step waits for the first message
ALIVE = "alive"  # file in the state directory whose age is that of the last sign of life
RETRY = 0.25  # seconds until a full disk is tried again
RESUBSCRIBE = 60.0  # seconds until a refused subscription is asked for again
SUBSCRIPTIONS = ("subscription", "commands")  # parts of which the daemon can be degraded
PERMIT_READING = "let mqtt.username read there (Mosquitto: topic read, in acl_file)"
STILL = 60  # looks, of which there is one a second, at a network thread that should turn once a second
LEAVE_WITHIN = 1.0  # seconds; with retry 0.25, store 2 x 0.5, child 0.5, network 1 the end comes within 5


class Service:
    """What one step does, in order; everything here runs in the service thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        intake: Intake,
        decoder: Decoder,
        pipeline: Pipeline,
        store: Store,
        connection: Connection,
        publisher: Publisher,
        announcer: Announcer,
        desk: Desk,
        tally: Tally,
        retained_alerts: Callable[[], Mapping[str, OpenAlert | OpenSilence] | None],
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._decoder = decoder
        self.pipeline = pipeline
        self._store = store
        self._connection = connection
        self._publisher = publisher
        self._announcer = announcer
        self._desk = desk
        self._link = Link(settings, tally, time.monotonic)
        self._tally = tally
        self._replaying = Replaying(store, tally)
        self._upkeep = Upkeep(store, publisher, announcer, tally)
        self.stopping = False
        self._clock = HostClock(now, steady)
        self._stepped = self._ticked = 0.0
        self._subscribed = dict.fromkeys(SUBSCRIPTIONS, 0.0)  # when the broker last answered
        self._still = 0  # looks at a network thread that did nothing
        self._sent: list[int] = []
        self._undeliverable: list[tuple[int, str]] = []
        self._retained_alerts = retained_alerts
        self._unanswered = 0  # times that the broker was asked for them
        self._connected: Connected | None = None  # a connection that what is unsent could not be read for

    def step(self) -> None:
        """Takes what has arrived, waiting a tick for the first of it, and deals with it."""
        time.sleep(max(0.0, self._stepped + APART - time.monotonic()))
        messages, notices = self._take()
        self._stepped = time.monotonic()
        if messages:
            failpoint("messages_taken")
        for notice in notices:
            self._hear(notice)
        transaction = Transaction(sent=self._sent, undeliverable=self._undeliverable)
        self._look_at_clock(transaction)
        events = self._follow(messages, transaction) if messages else []
        ticks = time.monotonic() - self._ticked >= TICK
        if ticks:
            events += self._replay(transaction)
            events += self._obey(transaction)
            events += self._tick(transaction)
        self._record(events, transaction)
        # What the broker took is noted with the next readings: a commit of its own would hold them up.
        due = ticks or transaction.urgent()
        numbers = self._commit(transaction) if due else []
        if numbers is None:
            return
        if due:
            if self._sent:
                failpoint("alert_marked")
            self._sent, self._undeliverable = [], []
        if messages:
            failpoint("committed")
        self._connection.acknowledge(messages)
        if messages:
            failpoint("acknowledged")
        outgoing = [stored(n, *each) for n, each in zip(numbers, transaction.outgoing, strict=True)]
        self._announcer.events(events, [*outgoing, *transaction.answers], self.pipeline)
        self._undeliverable += self._publisher.pump()
        self._tally.figures.readings += len(transaction.readings)
        if messages:
            self._measure(messages[0].received_at, len(messages))

    def _measure(self, oldest: int, number: int) -> None:
        """Notes how long a step took, and how old its oldest message is by now."""
        figures = self._tally.figures
        figures.steps.observe(time.monotonic() - self._stepped)
        # The only clock that a message carries is the host's, which may be set back.
        figures.latency.observe(max(0, now() - oldest) / 1000, number)

    def _hear(self, notice: Notice) -> None:
        log = structlog.get_logger()
        if isinstance(notice, Published):
            number = self._publisher.settle(notice)
            self.set_problem("publications", self._publisher.problem())
            if number is not None:
                self._sent.append(number)
                failpoint("alert_confirmed")
        elif isinstance(notice, Disconnected):
            self._link.lost(notice)
        elif isinstance(notice, Subscribed):
            problem = None
            if notice.refusal is not None:
                reason = reasons.of_broker(notice.refusal)
                self._tally.report("subscription_refused", reason, topic=notice.topic, hint=PERMIT_READING)
                problem = f"the broker refuses the subscription to {notice.topic}: {notice.refusal}"
            if notice.commands:
                self.set_problem("commands", problem)
            else:
                self.set_problem("subscription", problem)
            self._subscribed["commands" if notice.commands else "subscription"] = time.monotonic()
        elif isinstance(notice, Unsubscribed):
            self._forget(notice.topics)
        elif isinstance(notice, Connected):
            mqtt = self._settings.mqtt
            self._tally.figures.connections += 1
            log.info(
                "broker_connected",
                host=mqtt.host,
                port=mqtt.broker_port,
                session_present=notice.session_present,
                receive_maximum=notice.receive_maximum,
                maximum_packet_size=notice.maximum_packet_size,
            )
            self._link.made(notice, known=bool(self._store.machines()))
            self._publish_anew(notice)

    def _publish_anew(self, notice: Connected) -> None:
        """Begins a connection with what is stored and unsent, and with what the broker retains."""
        try:
            unsent = self._store.unsent()
        except sqlite3.Error as error:  # again at the next tick
            self._store_failed(error, "publish")
            self._connected = notice
            return
        self._connected = None
        settled = {*self._sent, *(number for number, _ in self._undeliverable)}
        self._publisher.restart(notice, [row for row in unsent if row[0] not in settled])
        self._announcer.status(self.pipeline.champions)
        self._announcer.states(self.pipeline)

    def _take(self) -> tuple[list[Message], list[Notice]]:
        """What has arrived; no messages until a new store has what the broker knows of a damaged one."""
        if self._store.recovering and self._publisher.connected():
            self._recover()
        return self._intake.take(0 if self._store.recovering else MOST, TICK)

    def _recover(self) -> None:
        """Takes up the open alerts that the broker knows and a damaged store no longer does."""
        alerts = self._retained_alerts()
        self._unanswered = 0 if alerts is not None else self._unanswered + 1
        if 0 < self._unanswered < ASKED:
            return
        transaction = adopt(alerts or {}, self.pipeline, self._store.machines())
        if self._commit(transaction) is None:
            return
        try:
            self._store.recovered(answered=alerts is not None)
        except sqlite3.Error as error:  # the next step tries again, and finds the machines known
            self._store_failed(error, "recover")
        else:
            machines = list(transaction.snapshots)
            structlog.get_logger().warning("alerts_recovered", count=len(machines), machines=machines[:10])

    def _follow(self, messages: list[Message], transaction: Transaction) -> list[Event]:
        """Messages to events; fills the transaction's readings and refusals."""
        readings: list[Reading] = []
        events: list[Event] = []
        for message in map(self._timed, messages):
            if message.topic in self._desk.addressing:
                events += follow(self.pipeline, readings, transaction)  # what came before it
                readings = []
                events += self._desk.take(message, self.pipeline, transaction)
                continue
            self._link.heard()
            decoded = read(message, self._decoder, self._store)
            if isinstance(decoded, Refusal):
                if decoded.reason is not RefusalReason.SELF_TEST:
                    transaction.refusals.append(decoded)
                self._tally.count(
                    "message_refused", decoded.reason, topic=message.topic[:100], detail=decoded.detail
                )
            else:
                readings.append(decoded)
        transaction.texts = self._decoder.new_texts()
        return events + follow(self.pipeline, readings, transaction)

    def _timed(self, message: Message) -> Message:
        """The same, arrived by the clock as it is set now: who waited may have seen another one."""
        if message.arrived is None:
            return message
        moment = self._clock.moment(message.received_at, message.arrived)
        if moment == message.received_at:
            return message
        return msgspec.structs.replace(message, received_at=moment)

    def _replay(self, transaction: Transaction) -> list[Event]:
        """Takes dead letters that are wanted once more."""
        try:
            return self._replaying.step(self._decoder, self.pipeline, transaction)
        except sqlite3.Error as error:  # nothing was touched: again at the next tick
            self._store_failed(error, "replay")
            return []

    def _obey(self, transaction: Transaction) -> list[Event]:
        """Does what the command line asks for."""
        try:
            return self._desk.tick(self.pipeline, transaction)
        except sqlite3.Error as error:  # nothing was touched: again at the next tick
            self._store_failed(error, "command")
            return []

    def _tick(self, transaction: Transaction) -> list[Event]:
        """Does what is to be done every second; adds to the transaction which machines are forgotten."""
        self._ticked = time.monotonic()
        overflowed = self._intake.overflowed()
        if overflowed:
            self._tally.count("message_dropped", "intake_full", overflowed)
        self._revive()
        if self._connected is not None:
            self._publish_anew(self._connected)
        self._subscribe_again()
        self.set_problem("client_id", self._link.rivalry())
        self.set_problem("readings", self._link.silence())
        self._tally.flush()
        damage = self._store.damage
        self.set_problem("damage", damage.problem(now()) if damage else None)
        events = self._upkeep.step(self._settings.store, self.pipeline, transaction)
        self._show_life()
        return events + self.pipeline.on_tick(self._look_at_clock(transaction))

    def _subscribe_again(self) -> None:
        """Asks once more for what the broker has refused: its permissions may have changed."""
        asks = (self._connection.subscribe, self._connection.subscribe_to_commands)
        for part, ask in zip(SUBSCRIPTIONS, asks, strict=True):
            if part in self._announcer.problems and self._ticked - self._subscribed[part] >= RESUBSCRIBE:
                self._subscribed[part] = self._ticked
                ask()

    def _look_at_clock(self, transaction: Transaction) -> int:
        """The time by this host's clock; if that was set, the pipeline takes it into account."""
        at, step = self._clock.look()
        if step:
            direction = "forward" if step > 0 else "back"
            self._tally.report("clock_stepped", direction, level="warning", seconds=step / 1000)
            transaction.touched.update(self.pipeline.shift_clock(step))
        return at

    def _revive(self) -> None:
        if self._connection.revive():
            self._tally.count("broker_lost", losses.THREAD_DIED, host=self._settings.mqtt.host)

    def _show_life(self) -> None:
        """Feeds systemd's watchdog, and the file that a container's health check looks at.

        Nothing else does, so that a loop that is stuck, in a lock or a disk that does not answer, is ended
        and started anew. A network thread that is stuck has no other end either.
        """
        self._still = 0 if self._connection.turned() else self._still + 1
        if self._still >= STILL:
            self._tally.count("thread_hung", "network", hint="the watchdog is no longer fed")
            return
        self._tally.figures.turned_at = time.monotonic()
        notify("WATCHDOG=1")
        with suppress(OSError):
            (self._settings.state_dir / ALIVE).touch()

    def _forget(self, topics: tuple[str, ...]) -> None:
        try:
            self._store.unsubscribed(topics)
        except sqlite3.Error as error:  # the next start unsubscribes once more
            self._store_failed(error, "unsubscribe")
        else:
            structlog.get_logger().info("subscription_ended", topics=topics)

    def swap_champions(
        self, champions: Champions, recent: Callable[[str, Detector], Iterable[Reading]]
    ) -> bool:
        """Puts other bundles into service, between two steps; see `Pipeline.swap`.

        Returns:
            Whether it did; if the disk refuses, nothing is changed.
        """
        try:
            changed = self.pipeline.swap(champions, recent)
        except sqlite3.Error as error:
            self._store_failed(error, "swap")
            return False
        failpoint("champions_swapped")
        structlog.get_logger().info("champions_swapped", machines=len(changed))
        self._announcer.status(champions)
        self._announcer.states(self.pipeline, changed)
        return True

    def swap_provisional(
        self, champions: Champions, recent: Callable[[str, Detector], Iterable[Reading]]
    ) -> None:
        """Puts another provisional detector into service, between two steps; bundles stay."""
        try:
            changed = self.pipeline.swap(champions, recent)
        except sqlite3.Error as error:  # it is fitted once more when there is more
            self._store_failed(error, "swap")
            return
        structlog.get_logger().debug("provisional_swapped", machines=changed)
        self._announcer.states(self.pipeline, changed)

    def tell_state(self, machine: str) -> None:
        """Tells of a machine's present state once more, as what goes with it has changed."""
        self._announcer.states(self.pipeline, [machine])

    def reconfigure(self, settings: Settings, decoder: Decoder, pipeline: Pipeline) -> None:
        """Goes on with other settings, between two steps."""
        self._settings, self._decoder, self.pipeline = settings, decoder, pipeline
        self._link.settings = settings
        self._announcer.settings = settings
        self._announcer.states(pipeline)  # the topic may be another one

    def _record(self, events: list[Event], transaction: Transaction) -> None:
        """Fills the transaction with what the events leave behind."""
        for event in events:
            if isinstance(event, SensorChanged) or (
                isinstance(event, AlertChanged | SilenceChanged) and not event.hidden
            ):
                transaction.outgoing.append(self._announcer.outgoing(event))
            if isinstance(event, AlertChanged):
                if event.change is Change.OPENED:
                    transaction.opened.append((event.machine, event.id, event.opened_at))
                elif event.change is Change.CLOSED:
                    transaction.closed.append((event.id, event.at))
            elif isinstance(event, ModeOrdered):
                transaction.labels += labelled(event)
            if isinstance(event, StateChanged | SilenceChanged | SensorChanged | ModeOrdered):
                transaction.touched.add(event.machine)
        for name in transaction.touched:
            machine = self.pipeline.machine(name)
            if machine is not None:  # else it is just forgotten
                transaction.snapshots[name] = machine.snapshot()

    def _commit(self, transaction: Transaction) -> list[int] | None:
        """Stores it; while the disk refuses, nothing is acknowledged and the broker holds the rest.

        Returns:
            The outbox numbers of what is outgoing; None if the daemon was stopped before the disk took it.
        """
        if transaction.empty():
            return []
        while True:
            try:
                numbers = self._store.commit(transaction)
            except sqlite3.Error as error:
                self._store_failed(error, "commit")
                self.set_problem("store", f"the store cannot be written: {error}")
                self._undeliverable += self._publisher.pump()
                if self.stopping:
                    return None
                time.sleep(RETRY)
                for notice in self._intake.take(0, 0.0)[1]:  # a new connection must hear of the problem
                    self._hear(notice)
                self._revive()
                self._show_life()  # this is waiting, not hanging
            else:
                self._tally.figures.committed_at = time.monotonic()
                self.set_problem("store", None)
                return numbers

    def _store_failed(self, error: sqlite3.Error, doing: str) -> None:
        self._tally.store_failed(error, doing, self._store.path)

    def set_problem(self, part: str, problem: str | None) -> None:
        """Notes what is wrong with a part, the store or the subscription; None: nothing any more."""
        problems = self._announcer.problems
        if problem == problems.get(part):
            return
        if problem is None:
            del problems[part]
            structlog.get_logger().info(f"{part}_recovered")
        else:
            problems[part] = problem
        self._announcer.status(self.pipeline.champions)

    def leave(self) -> None:
        """Says good-bye; what the broker does not take in time stays in the outbox."""
        until = time.monotonic() + LEAVE_WITHIN
        self._announcer.goodbye(self.pipeline.champions)
        while self._publisher.connected() and not self._publisher.idle() and time.monotonic() < until:
            self._undeliverable += self._publisher.pump()
            _, notices = self._intake.take(0, 0.1)
            for notice in notices:
                if isinstance(notice, Published):
                    self._hear(notice)
        failpoint("leaving")
        try:
            self._store.commit(Transaction(sent=self._sent, undeliverable=self._undeliverable))
        except sqlite3.Error as error:
            self._store_failed(error, "commit")
