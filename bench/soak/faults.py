"""The faults, each with its end; they come one after another, in an order that the seed decides."""

from __future__ import annotations

import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.proxy import Proxy
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import Daemon

SHORT, LONG = 1.0, 4.0  # seconds that a fault lasts
UNLIMITED = resource.RLIM_INFINITY
DAY = 86_400
DEADLY = 5  # kills in each round of the other faults


class Faults:
    """What is done to one daemon, its broker and the network between them."""

    def __init__(
        self, daemon: Callable[[], Daemon], *, broker: Broker, proxy: Proxy, state: Path, seed: int
    ) -> None:
        """`daemon` starts it."""
        self.daemon = daemon()
        self.count: Counter[str] = Counter()
        self.lives = 1
        self._start = daemon
        self._broker, self._proxy, self._state = broker, proxy, state
        self._random = random.Random(seed)
        self._deck: list[Callable[[], None]] = []  # a round, shuffled

    def one(self, *, deadly: bool) -> str:
        """Does one and waits for its end; only a deadly one ends the daemon."""
        self.daemon.wait("broker_connected")  # what becomes of a daemon that is just starting, tests tell
        if not self._deck or (self.kill in self._deck and not deadly):
            harmless = [
                self.restart_broker,
                self.stop_broker,
                self.reset,
                self.black_hole,
                self.refuse,
                self.slow,
                self.fill_disk,
                self.stop_daemon,
                self.reload,
            ]
            self._deck = harmless + DEADLY * [self.kill] * deadly
            self._random.shuffle(self._deck)
        fault = self._deck.pop()
        self.count[fault.__name__] += 1
        fault()
        return fault.__name__

    def pause(self, mean: float) -> float:
        """Seconds until the next one."""
        return self._random.uniform(0.5, 1.5) * mean

    def kill(self) -> None:
        """Kill -9 of the daemon, and its next start."""
        self.daemon.kill()
        self.daemon.close()
        self.daemon = self._start()
        self.lives += 1

    def restart_broker(self) -> None:
        self._broker.stop()
        time.sleep(self._lasting())
        self._broker.start()

    def stop_broker(self) -> None:
        self._broker.send(signal.SIGSTOP)
        time.sleep(self._lasting())
        self._broker.send(signal.SIGCONT)

    def reset(self) -> None:
        for _ in range(5):
            self._proxy.reset()
            time.sleep(0.2)

    def black_hole(self) -> None:
        self._proxy.swallow()
        time.sleep(self._lasting())
        self._proxy.heal()

    def refuse(self) -> None:
        self._proxy.refuse()
        time.sleep(self._lasting())
        self._proxy.heal()

    def slow(self) -> None:
        self._proxy.delay = 0.05
        time.sleep(self._lasting())
        self._proxy.heal()

    def fill_disk(self) -> None:
        size = (self._state / "store.sqlite-wal").stat().st_size
        resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))
        time.sleep(self._lasting())
        resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))

    def stop_daemon(self) -> None:
        self.daemon.send(signal.SIGSTOP)
        time.sleep(self._lasting())
        self.daemon.send(signal.SIGCONT)

    def reload(self) -> None:
        self.daemon.send(signal.SIGHUP)

    def _lasting(self) -> float:
        return self._random.uniform(SHORT, LONG)


class Nonsense:
    """Messages that are no readings, and machines whose clocks are off, beside the good ones."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.sent = 0

    def some(self) -> None:
        """One of each kind."""
        chance = self._random
        off = chance.choice((0, 4_291_747_200, int(time.time()) + chance.randrange(-DAY, DAY)))
        for machine, payload in (
            ("noise", chance.randbytes(chance.randrange(200))),
            ("noise", b'{"ts": 1, "flow": '),
            ("noise", b'{"flow": 1e999, "pressure": "high"}'),
            ("noise", b"[" * 1000),
            ("no\u00efse/../x", b"{}"),
            ("clock", f'{{"ts": {off}, "flow": {chance.random()}, "pressure": null}}'.encode()),
            ("no-sensor", b'{"ts": 1735725600000, "colour": 3}'),
        ):
            self._client.publish(f"plant/{machine}/readings", payload)
            self.sent += 1
