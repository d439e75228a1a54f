"""The daemon in this process, where a test can shorten what takes a minute."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

from config import load
from daemon.assembly import Daemon


@contextmanager
def running(file: Path) -> Iterator[Daemon]:
    """Runs it in a thread of its own until the block ends; what it raises is raised then."""
    made: Queue[Daemon] = Queue()

    def run() -> None:
        daemon = Daemon(file, load(file, {}))
        made.put(daemon)
        try:
            daemon.start()
            daemon.run()
        finally:
            daemon.close()

    with ThreadPoolExecutor(1) as other:
        done = other.submit(run)
        daemon = made.get(timeout=30)
        try:
            yield daemon
        finally:
            daemon.stop()
            done.result()
