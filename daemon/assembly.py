"""Puts the daemon together, the one place where its parts meet."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from config import ConfigError, load, read_password
from config.policies import alert_policy, health_policy, milliseconds, operation_policy, stream_policy
from daemon import failpoints, logs, payloads
from daemon.announcing import Announcer
from daemon.clock import now
from daemon.commands.addressing import Addressing
from daemon.commands.desk import desk_of
from daemon.connection import Connection, topic_filter
from daemon.decoding import Decoder
from daemon.drifting import Drifting
from daemon.intake import Intake
from daemon.learning import Learning, trainer_missing
from daemon.locking import StateLock
from daemon.notify import notify
from daemon.opening import StoreUnavailableError
from daemon.publisher import Publisher
from daemon.recovery import retained_alerts
from daemon.retraining import Retraining
from daemon.service import ALIVE, RETRY, Service
from daemon.serving import Serving
from daemon.store import Store
from daemon.tally import Tally
from detector.pipeline import Champions, Pipeline
from registry.champions import Registry
from registry.requests import By, Request

if TYPE_CHECKING:
    from pathlib import Path

    from config import Settings
    from daemon.metrics import Server

STORE = "store.sqlite"
TRAIN = "train one: anomalyd train HISTORY"
LEARNS = (
    "one is trained of what machines send, see their states; or of what they sent: anomalyd train HISTORY"
)
PATIENCE = 10_000_000  # microseconds that systemd goes on waiting for a start, from each try on
FAILED = 1  # exit code: systemd starts the daemon again


def run(path: Path, settings: Settings) -> None:
    """Runs the daemon until SIGTERM or SIGINT; SIGHUP reloads.

    Args:
        path: The configuration file, read again at SIGHUP.
        settings: What it holds now.

    Raises:
        LockedError: Another daemon uses the state directory.
        StoreError: The store cannot be used.
        ConfigError: The password cannot be read, or there is no such failpoint.
        OSError: The state directory or a certificate cannot be used.
    """
    logs.configure(settings.log.level, settings.log.format)
    failpoints.arm(os.environ)
    daemon = Daemon(path, settings)
    signal.signal(signal.SIGHUP, lambda *_: daemon.ask_reload())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    threading.excepthook = daemon.report_failure
    try:
        daemon.start()
        daemon.run()
    finally:
        daemon.close()


class Daemon:
    """The assembled parts and the loop around them."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._lock = StateLock(settings.state_dir)
        self._reload_asked = False
        self._champions: Champions | None = None  # to be put into service
        self._swap_again_at = 0.0  # by the monotonic clock
        self._version = version("anomalyd")
        tally = Tally(time.monotonic)
        self._store, former = _open_store(settings, tally)
        self._registry = Registry(settings.state_dir)
        self._serving = Serving(
            self._registry, self._store, lateness=milliseconds(settings.readings.lateness)
        )
        self._retraining = Retraining(settings, self._registry, path, tally, now=now())
        able = settings.retrain.by == "request" or not trainer_missing()
        self._learning = Learning(settings, self._store, self._ask_to_learn, able=able)
        self._retraining.heard = self._learning.hear
        pipeline = _pipeline(settings, self._learning.over(self._serving.load()))
        restored = self._serving.restore(pipeline)
        self._intake = Intake()
        password = read_password(settings, os.environ)
        connection = Connection(
            settings,
            self._intake,
            password=password,
            will=payloads.status("offline", version=self._version, at=now(), champions=pipeline.champions),
            former=former,
        )
        publisher = Publisher(connection, tally, time.monotonic)
        announcer = Announcer(settings, publisher, tally, version=self._version)
        self._service = Service(
            settings,
            intake=self._intake,
            decoder=decoder_of(settings),
            pipeline=pipeline,
            store=self._store,
            connection=connection,
            publisher=publisher,
            announcer=announcer,
            desk=desk_of(settings, self._store, self._registry, tally, ask=self._ask_retraining),
            tally=tally,
            retained_alerts=lambda: retained_alerts(settings, password),
        )
        self._service.set_problem("bundles", self._serving.problem)
        damage = self._store.damage
        self._service.set_problem("damage", damage.problem(now()) if damage else None)
        announcer.progress = lambda name: self._learning.progress(name, self._service.pipeline.champions)
        self._drifting = Drifting(
            settings, path, tally, tell=announcer.drift, ask=self._ask_for_drift, now=now()
        )
        structlog.get_logger().info(
            "daemon_assembled",
            version=self._version,
            state_dir=str(settings.state_dir),
            topic=settings.readings.topic,
            machines=restored,
            bundles=len(pipeline.champions.all()),
        )
        if not pipeline.champions.all():
            structlog.get_logger().warning("no_bundle", hint=LEARNS if settings.learning.enabled else TRAIN)
        _warn_of_unknown_sensors(settings, pipeline.champions)
        self._connection = connection
        self._metrics = self._serve_metrics(publisher=publisher, announcer=announcer, tally=tally)
        self._tally = tally

    def _serve_metrics(self, *, publisher: Publisher, announcer: Announcer, tally: Tally) -> Server | None:
        """Starts to answer for Prometheus; watching goes on where the address cannot be had."""
        address = self._settings.metrics.listen
        if address is None:
            return None
        from daemon.metrics import DaemonCollector, Server  # noqa: PLC0415 - memory that nobody pays unasked

        collector = DaemonCollector(
            self._service,
            store=self._store,
            intake=self._intake,
            publisher=publisher,
            announcer=announcer,
            tally=tally,
            retraining=self._retraining,
            drifting=self._drifting,
            version=self._version,
            clock=time.monotonic,
        )
        log = structlog.get_logger()
        try:
            server = Server(address, collector, alive=tally.figures.alive)
        except OSError as error:
            hint = "metrics.listen must be an address of this host and a port that is free"
            log.error("metrics_failed", address=str(address), reason=str(error), hint=hint)  # noqa: TRY400
            return None
        log.info("metrics_served", address=str(address))
        return server

    def _ask_retraining(self, machine: str | None, reason: str) -> bool:
        """Asks for a turn of a machine's line, or of all, by a command."""
        return self._retraining.ask(
            Request(By.COMMAND, reason, now(), None if machine is None else (machine,))
        )

    def _ask_for_drift(self, machine: str, reason: str) -> bool:
        """Asks for a turn of a machine's line, since what is normal has moved."""
        return self._retraining.ask(Request(By.DRIFT, reason, now(), (machine,)))

    def report_failure(self, failure: threading.ExceptHookArgs) -> None:
        """Counts and logs what ended a thread; called in that thread."""
        name = failure.thread.name if failure.thread else None
        self._tally.report("thread_failed", thread=name, exc_info=failure.exc_value)

    def start(self) -> None:
        """Connects to the broker, in the background."""
        self._connection.start()
        notify("READY=1")

    def run(self) -> None:
        """Steps until `stop`, then says good-bye to the broker; `close` follows.

        Raises:
            SystemExit: A step has failed, which is logged.
        """
        try:
            while not self._service.stopping:
                self._step()
        except Exception as error:
            # A mistake of ours. What is not acknowledged comes again to the process that follows.
            structlog.get_logger().critical("daemon_failed", exc_info=error)
            raise SystemExit(FAILED) from error
        finally:
            notify("STOPPING=1")
            self._retraining.stop()
            self._drifting.stop()
            self._service.leave()

    def _step(self) -> None:
        if self._reload_asked:
            self._reload_asked = False
            notify("RELOADING=1")
            self._reload()
            notify("READY=1")
        self._service.step()
        self._retraining.tick(now())
        self._drifting.tick(now())
        self._service.set_problem("retraining", self._retraining.standing.problem)
        self._champions = self._serving.changed() or self._champions
        if self._champions is not None and time.monotonic() >= self._swap_again_at:
            champions = self._learning.over(self._champions, self._service.pipeline.champions)
            if self._service.swap_champions(champions, self._serving.recent):
                _warn_of_unknown_sensors(self._settings, self._champions)
                self._champions = None
            else:
                self._swap_again_at = time.monotonic() + RETRY
            self._service.set_problem("bundles", self._serving.problem)
        else:
            self._learn()

    def _ask_to_learn(self, machines: tuple[str | None, ...], reason: str) -> bool:
        request = Request(By.LEARNING, reason, now(), machines, own=None not in machines)
        return self._retraining.ask(request)

    def _learn(self) -> None:
        """Goes on with machines that have no bundle."""
        try:
            found = self._learning.step(self._service.pipeline)
        except sqlite3.Error as error:  # again at the next look
            self._tally.store_failed(error, "learn", self._store.path)
            return
        if isinstance(found, Champions):
            self._service.swap_provisional(found, self._serving.recent)
        elif found is not None:
            self._service.tell_state(found)

    def stop(self) -> None:
        """Ends `run` after the present step; safe in a signal handler."""
        self._service.stopping = True
        self._intake.wake()

    def ask_reload(self) -> None:
        """Reads the configuration again before the next step; safe in a signal handler."""
        self._reload_asked = True
        self._intake.wake()

    def close(self) -> None:
        """Gives everything back."""
        self._retraining.stop()
        self._drifting.stop()
        self._connection.stop()
        if self._metrics is not None:
            self._metrics.close()
        self._store.close()
        self._lock.release()

    def _reload(self) -> None:
        """Builds everything that may change, then swaps it in; a bad file changes nothing."""
        log = structlog.get_logger()
        try:
            settings = load(self._path, os.environ)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            log.error("reload_refused", problems=problems)  # noqa: TRY400 - a person's mistake, no traceback
            return
        fixed = [name for name in FIXED if _option(settings, name) != _option(self._settings, name)]
        if fixed:
            log.error("reload_refused", problems=[f"{name}: needs a restart to change" for name in fixed])
            return
        self._learning.settings = settings
        champions = self._learning.over(self._service.pipeline.champions, self._service.pipeline.champions)
        pipeline = _pipeline(settings, champions)
        lateness = milliseconds(settings.readings.lateness)
        try:
            self._serving.carry_over(self._service.pipeline, pipeline, lateness=lateness)
        except sqlite3.Error as error:
            log.error("reload_refused", problems=[str(error)])  # noqa: TRY400 - the disk's mistake
            return
        logs.configure(settings.log.level, settings.log.format)
        self._service.reconfigure(settings, decoder_of(settings), pipeline)
        self._store.max_dead_letters = settings.store.max_dead_letters
        self._retraining.settings = self._drifting.settings = settings
        self._learning.reconfigure(settings)
        self._settings = settings
        gc.collect()  # the former pipeline is full of cycles, and may else stay for hours: megabytes
        log.info("configuration_reloaded", file=str(self._path))
        _warn_of_unknown_sensors(settings, pipeline.champions)


# What a running connection, store or lock was made with.
FIXED = (
    "state_dir",
    "mqtt",
    "status",
    "store.durability",
    "readings.topic",
    "readings.qos",
    "readings.max_payload",
    "commands",
    "metrics",
)


def _open_store(settings: Settings, tally: Tally) -> tuple[Store, tuple[str, ...]]:
    """The store, and what was subscribed to before; waits while the disk is full or the file another's."""
    options, path = settings.store, settings.state_dir / STORE
    store: Store | None = None
    while True:
        try:
            store = store or Store(
                path,
                durability=options.durability,
                max_dead_letters=options.max_dead_letters,
                expected=(settings.state_dir / ALIVE).exists(),  # a daemon has run here
                tally=tally,
            )
            return store, store.subscribed(topic_filter(settings), *Addressing(settings).filters)
        except StoreUnavailableError as error:
            tally.store_failed(error.__cause__ or error, "open", path)
            notify(f"STATUS={error}\nEXTEND_TIMEOUT_USEC={PATIENCE}")
            time.sleep(RETRY)


def _option(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _pipeline(settings: Settings, champions: Champions) -> Pipeline:
    return Pipeline(
        champions,
        stream=stream_policy(settings),
        alerts=alert_policy(settings),
        health=health_policy(settings),
        operation=operation_policy(settings),
    )


def _warn_of_unknown_sensors(settings: Settings, champions: Champions) -> None:
    """A limit for a sensor that is spelt wrong would watch nothing."""
    unknown = health_policy(settings).unknown(detector.manifest for detector in champions.all())
    if unknown:
        hint = "no bundle has them: see sensors.limits and sensors.ignore"
        structlog.get_logger().warning("sensors_unknown", sensors=unknown, hint=hint)


def decoder_of(settings: Settings) -> Decoder:
    readings = settings.readings
    return Decoder(
        topic=readings.topic,
        time=readings.time,
        values=readings.values,
        max_payload=readings.max_payload,
        ignore=readings.ignore,
        channels=readings.channels,
    )
