"""Kills and broken connections in mid-stream, counted: `python -m tests.chaos` fills docs/reliability.md.

Each run streams readings of a machine that is at fault now and then, disturbs, and in the end compares
what is stored and what was published with a run that nothing disturbs.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from bench.results import Table, filled, machine
from detector.history import History
from tests import plant
from tests.conftest import Setup
from tests.daemon.losses import ALERTS, confirmations, keys, stored, unsent
from tests.proxy import Proxy
from tests.real_broker import OPEN, SAVING, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
KEEPALIVE = 2  # seconds, so that black holes are noticed soon
CALM = 15.0  # seconds without anything new after which nothing more is expected


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run cost.

    Attributes:
        readings: Handed over to the broker, and confirmed by it.
        lost: Of them not stored.
        alerts: Alert events of an undisturbed run.
        missing: Of them never published.
        strange: Alert events that an undisturbed run does not have, or not in this order.
        repeated: Alert events that came again as they were.
    """

    readings: int
    lost: int
    alerts: int
    missing: int
    strange: int
    repeated: int

    @property
    def faultless(self) -> bool:
        """Whether nothing is lost, and nothing came that is not the same as before."""
        return not (self.lost or self.missing or self.strange)


class Stream:
    """Publishes readings at a steady pace until all are handed over, or it is ended before."""

    def __init__(self, client: Client, readings: History, per_second: int) -> None:
        self._client = client
        self._readings = readings
        self._count = 0
        self._flows = Event()
        self._flows.set()
        self._ending = False
        self._thread = client.stream(self._messages(), per_second)

    def _messages(self) -> Iterator[tuple[str, bytes]]:
        for message in plant.messages(self._readings):
            self._flows.wait()
            if self._ending:
                return
            self._count += 1
            yield message

    def hold(self) -> bytes:
        """Holds it until `go`; returns the newest payload once the broker has confirmed all."""
        self._flows.clear()
        wait_until(lambda: self._client.confirmed == self._count, "the confirmations")
        return plant.messages(self._part(slice(self._count - 1, self._count)))[0][1]

    def go(self) -> None:
        """Lets it flow again."""
        self._flows.set()

    def stop(self) -> None:
        """Hands over no more."""
        self._ending = True
        self._flows.set()

    def end(self) -> History:
        """Ends it; returns the readings that were handed over."""
        self.stop()
        return self.join()

    def join(self) -> History:
        """Waits for the end; returns the readings that were handed over."""
        self._thread.join()
        confirmations(self._client, self._count)
        return self._part(slice(self._count))

    def _part(self, rows: slice) -> History:
        every = self._readings
        return History(every.machine, every.sensors, every.at[rows], every.values[rows])


class Line:
    """A broker, a client that records alerts, and one daemon after the other."""

    def __init__(self, folder: Path, broker: Broker, client: Client) -> None:
        self.setup = Setup(folder, broker.port)
        # paho, which the test publishes with, may hand over newer readings first after a reconnect.
        self.setup.write(readings={"lateness": "10s"})
        self.broker = broker
        self.client = client
        self.random = random.Random(0)
        self._daemons: list[Daemon] = []
        self._streams: list[Stream] = []
        plant.promote(self.setup.state)

    def run_daemon(self) -> Daemon:
        """Starts a daemon and waits until it is connected."""
        daemon = Daemon(self.setup.file)
        self._daemons.append(daemon)
        daemon.wait("broker_connected")
        return daemon

    def stream(self, count: int, per_second: int) -> Stream:
        """Publishes readings of a machine that is at fault for 30 of 100."""
        readings = plant.history(count, faults=[range(n, n + 30) for n in range(50, count, 100)])
        self._streams.append(Stream(self.client, readings, per_second))
        return self._streams[-1]

    def outcome(self, readings: History) -> Outcome:
        """Waits until all is there, or nothing more comes, and compares."""
        expected = keys(plant.expected(self.setup.settings, [readings]))
        self._wait(len(readings), len(expected))
        published = self.client.messages(ALERTS)
        seen = keys(published)
        known = set(expected)
        in_order = [key for key in expected if key in set(seen)] == [key for key in seen if key in known]
        return Outcome(
            readings=len(readings),
            lost=len(set(readings.at.tolist()) - set(stored(self.setup))),
            alerts=len(expected),
            missing=len(known - set(seen)),
            strange=len(set(seen) - known) if in_order else len(seen),
            repeated=len(published) - len(seen),
        )

    def _wait(self, readings: int, alerts: int) -> None:
        """Until all is there and none waits, or nothing has moved for a while."""
        seen, since = (-1, -1), time.monotonic()
        while time.monotonic() - since < CALM:
            now = self._count(), len(keys(self.client.messages(ALERTS)))
            if now == (readings, alerts) and not unsent(self.setup):
                return
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.1)

    def _count(self) -> int:
        file = f"file:{self.setup.state}/store.sqlite?mode=ro"
        with closing(sqlite3.connect(file, uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM readings").fetchone()
        return int(count)

    def close(self) -> None:
        """Ends what still runs."""
        for stream in self._streams:
            stream.stop()
        for daemon in self._daemons:
            daemon.close()


@contextmanager
def line(folder: Path, *, options: str = OPEN) -> Iterator[Line]:
    """A `Line` with a broker of its own."""
    with ExitStack() as stack:
        broker = Broker(folder / "broker", options)
        stack.callback(broker.kill)
        broker.start()
        client = Client(broker.port, "anomalyd/#")
        stack.callback(client.close)
        one = Line(folder, broker, client)
        stack.callback(one.close)
        yield one


@contextmanager
def reconnecting(daemon: Daemon) -> Iterator[None]:
    """Waits in the end until the daemon has connected once more than before."""
    connections = len(daemon.said("broker_connected"))
    yield
    wait_until(lambda: len(daemon.said("broker_connected")) > connections, "the next connection")


def daemon_kills(folder: Path, *, kills: int, restarts: int, per_second: int = 1000) -> Outcome:
    """Kills the daemon again and again at varying times of its life; the broker restarts now and then."""
    with line(folder) as one:
        daemon = one.run_daemon()
        stream = one.stream(kills * per_second, per_second)
        pauses = {kills * n // (restarts + 1) for n in range(1, restarts + 1)}
        for kill in range(kills):
            confirmations(one.client, kill * per_second)
            time.sleep(one.random.random() / 2)
            daemon.kill()
            if kill in pauses:
                one.broker.stop()
                one.broker.start()
            daemon = one.run_daemon()
        return one.outcome(stream.join())


def connection_cuts(folder: Path, *, cuts: int, per_second: int = 200) -> Outcome:
    """Resets connections, lets them run into black holes, one way or both, and ends them on one side."""
    with line(folder) as one, closing(Proxy(one.broker.port)) as proxy:
        mqtt = {"host": "localhost", "port": proxy.port, "keepalive": f"{KEEPALIVE}s"}
        one.setup.write(mqtt=mqtt)
        daemon = one.run_daemon()
        holes: list[Callable[[], object]] = [
            proxy.swallow,
            partial(proxy.swallow, "broker"),
            partial(proxy.swallow, "client"),
            proxy.half_open,
        ]
        # Who is cut off three times in a row within seconds waits longer, as for another client of its name.
        deeds = [holes[n // 3 % len(holes)] if n % 3 == 2 else proxy.reset for n in range(cuts)]
        stream = one.stream(per_second * 4 * cuts, per_second)
        for deed in deeds:
            with reconnecting(daemon):
                deed()
                proxy.heal()  # for the next connection; what was cut stays so
            time.sleep(one.random.random() / 5)
        return one.outcome(stream.end())


def saves(broker: Broker, payload: bytes) -> None:
    """Waits until the broker has written it down."""
    file = broker.folder / "mosquitto.db"
    wait_until(lambda: payload in file.read_bytes(), "the broker to save what it has confirmed")


def broker_kills(folder: Path, *, kills: int, saved: bool, per_second: int = 200) -> Outcome:
    """Kills a broker that is configured as shipped.

    With `saved` it holds readings that the daemon has not got, and has written them down; without, it
    is killed in mid-stream.
    """
    with line(folder, options=f"{OPEN}\n{SAVING}") as one:
        daemon = one.run_daemon()
        stream = one.stream(kills * 20 * per_second, per_second)
        for _ in range(kills):
            before = one.client.confirmed
            confirmations(one.client, before + per_second)
            time.sleep(one.random.random() / 5)
            with reconnecting(daemon):
                if saved:
                    daemon.send(signal.SIGSTOP)
                    confirmations(one.client, before + 2 * per_second)
                    saves(one.broker, stream.hold())
                one.broker.kill()
                daemon.send(signal.SIGCONT)
                one.broker.start()
                stream.go()
        return one.outcome(stream.end())


def on_lines(lines: int, run: Callable[[Path], Outcome], folder: Path) -> Outcome:
    """Does the same on several lines at once, each with a broker and a daemon of its own; adds up."""
    folders = [folder / f"line-{n}" for n in range(lines)]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(lines) as pool:
        outcomes = list(pool.map(run, folders))
    return Outcome(*(sum(getattr(one, name) for one in outcomes) for name in Outcome.__slots__))


FULL: dict[str, Callable[[Path], Outcome]] = {
    "20 × kill -9 of the daemon at 1,000 messages/s, 3 restarts of the broker": partial(
        daemon_kills, kills=20, restarts=3
    ),
    "335 resets, 165 black holes and half-open connections, on 5 lines of 200 messages/s": partial(
        on_lines, 5, partial(connection_cuts, cuts=100)
    ),
    "3 kills of the broker, once it has saved what it confirmed": partial(broker_kills, kills=3, saved=True),
    "3 kills of the broker in mid-stream": partial(broker_kills, kills=3, saved=False),
}


def main() -> None:
    """Runs all of them and writes the table into docs/reliability.md; arguments choose by a word."""
    rows = []
    for name, run in FULL.items():
        if not all(word in name for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(Path(folder))
        rows.append((name, *(getattr(outcome, field) for field in Outcome.__slots__)))
        print(*rows[-1], sep="  ", flush=True)  # noqa: T201 - its output is what it is for
    columns = ("disturbance", "readings", "lost", "alert events", "missing", "other", "repeated")
    table = Table("chaos", columns, tuple(rows)).markdown()
    print(table)  # noqa: T201 - see above
    if len(rows) == len(FULL):
        page = DOCUMENT.read_text(encoding="utf-8")
        words = f"{table}\n\n{datetime.now(UTC):%Y-%m-%d}, {machine()}"
        DOCUMENT.write_text(filled(page, "chaos", words), encoding="utf-8")


if __name__ == "__main__":
    main()
