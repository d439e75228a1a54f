"""What is known of a running daemon from outside: what it has stored, and what it takes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from bench.soak.load import name
from bench.usage import resident
from tests import plant


class Stored:
    """Follows what is stored, in the order of each machine's readings, before retention takes it away."""

    def __init__(self, path: Path, machines: range) -> None:
        self.lost = 0
        self.stored = 0
        self._path = path
        self._newest = {name(machine): plant.START - 1000 for machine in machines}

    def look(self) -> None:
        """Counts what came since the last look; between its first and newest reading none may be missing."""
        with suppress(sqlite3.OperationalError), closing(self._open()) as store:
            numbers = dict(store.execute("SELECT name, id FROM machines"))
            for machine, newest in self._newest.items():
                count, last = store.execute(
                    "SELECT count(*), max(at) FROM readings WHERE machine = ? AND at > ?",
                    (numbers.get(machine), newest),
                ).fetchone()
                if count:
                    self.stored += count
                    self.lost += (last - newest) // 1000 - count
                    self._newest[machine] = last

    def steps(self) -> int:
        """How many steps of all machines are stored."""
        return (min(self._newest.values()) - plant.START) // 1000 + 1

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10)


@dataclass(slots=True)
class Life:
    """Samples of one process, from its start to its end."""

    process: int
    at: list[float] = field(default_factory=list)  # seconds
    memory: list[float] = field(default_factory=list)  # MiB
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Takes a sample."""
        with suppress(OSError):  # it may just have ended
            folder = Path(f"/proc/{self.process}")
            sample = (
                resident(self.process),
                len([*(folder / "fd").iterdir()]),
                len([*(folder / "task").iterdir()]),
            )
            self.at.append(time.monotonic())
            for series, value in zip((self.memory, self.files, self.threads), sample, strict=True):
                series.append(value)  # type: ignore[attr-defined]

    def length(self) -> float:
        """Seconds from the first to the last sample."""
        return self.at[-1] - self.at[0] if self.at else 0.0

    def warm(self, seconds: float) -> Life:
        """The samples after so many seconds."""
        begin = next((i for i, at in enumerate(self.at) if at - self.at[0] >= seconds), len(self.at))
        return Life(
            self.process, self.at[begin:], self.memory[begin:], self.files[begin:], self.threads[begin:]
        )

    def growth(self) -> tuple[float, float]:
        """MB an hour of memory by regression, and its standard error."""
        hours = (np.array(self.at) - self.at[0]) / 3600
        memory = np.array(self.memory) * 2**20 / 1e6
        (slope, _), covariance = np.polyfit(hours, memory, 1, cov=True)
        return float(slope), float(np.sqrt(covariance[0, 0]))


def figures(port: int) -> dict[str, float]:
    """The daemon's metrics by name with label; {} while it cannot answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def quantiles(now: dict[str, float], metric: str, shares: Sequence[float]) -> list[float]:
    """The bounds below which these shares of a histogram's values are, in seconds."""
    begin = f'{metric}_bucket{{le="'
    buckets = [
        (float(key.removeprefix(begin).removesuffix('"}')), value)
        for key, value in now.items()
        if key.startswith(begin)
    ]
    total = max(value for _, value in buckets)
    return [next(bound for bound, count in buckets if count >= share * total) for share in shares]
