"""What the benchmarks share: a broker, a trained bundle, a daemon, readings, and what a process uses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.wire import Wire
from demo.broker import broker

ROOT = Path(__file__).parents[1]
START = 1_767_225_600  # 2026-01-01, seconds
TRAINING_ROWS = 4000
WAIT = 300.0  # seconds after which a benchmark gives up


@dataclass(frozen=True, slots=True)
class Plant:
    """A folder with a configuration and a bundle, and the port of its broker."""

    folder: Path
    port: int
    sensors: int = 8
    window: int = 30

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "anomalyd.yaml"

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def store(self) -> Path:
        """The daemon's store."""
        return self.state / "store.sqlite"

    def command(self, *arguments: str) -> list[str]:
        """`anomalyd ARGUMENTS` with this configuration."""
        return [sys.executable, "-m", "cli", *arguments, "--config", str(self.config)]

    def configure(self, **sections: object) -> None:
        """Writes the configuration anew, the defaults but for these sections."""
        settings: dict[str, object] = {
            "state_dir": str(self.state),
            "mqtt": {"host": "127.0.0.1", "port": self.port},
            "log": {"level": "error"},
        }
        self.config.write_text(json.dumps(settings | sections), encoding="utf-8")  # JSON is YAML

    def forget(self) -> None:
        """Deletes what the daemon has stored; the bundle stays."""
        for path in self.state.glob("store.sqlite*"):
            path.unlink()

    def keep_store(self, name: str) -> Path:
        """Puts the store aside, to start from it again."""
        return self.store.rename(self.folder / f"{name}.sqlite")


def names(sensors: int) -> tuple[str, ...]:
    """The sensors' names."""
    return tuple(f"sensor_{i}" for i in range(sensors))


def values(rows: int, seed: int, width: int = 8) -> NDArray[np.float64]:
    """Readings of machines at work: correlated sensors with noise, shape (rows, width)."""
    mixing = np.random.default_rng(0).normal(size=(3, width))
    drive = np.sin(np.arange(rows)[:, None] / np.array([7.0, 31.0, 113.0]))
    mixed: NDArray[np.float64] = drive @ mixing
    return mixed + np.random.default_rng(seed).normal(scale=0.1, size=mixed.shape)


def messages(
    sensors: int, machines: int, steps: range, *, name: str = "machine", off: float = 0.0
) -> list[tuple[str, bytes]]:
    """Topics and payloads, one reading a second of every machine; `off` is added to the first sensor."""
    keys = names(sensors)
    rows = values(steps.stop, 2, sensors)[steps.start :]
    rows[:, 0] += off
    payloads = [
        json.dumps({"ts": START + step, **dict(zip(keys, row, strict=True))}).encode()
        for step, row in zip(steps, rows.round(4).tolist(), strict=True)
    ]
    topics = [f"plant/{name}-{machine}/readings" for machine in range(machines)]
    return [(topic, payload) for payload in payloads for topic in topics]


def make_plant(folder: Path, port: int, *, sensors: int = 8, window: int = 30, epochs: int = 5) -> Plant:
    """Writes the configuration and trains a bundle."""
    folder.mkdir(exist_ok=True)
    plant = Plant(folder, port, sensors, window)
    plant.configure(trainer={"window": window, "model": {"kind": "dense", "epochs": epochs}})
    history = folder / "history.csv"
    with history.open("w", encoding="utf-8") as file:
        file.write(",".join(("timestamp", *names(sensors))) + "\n")
        for i, row in enumerate(values(TRAINING_ROWS, 1, sensors).tolist()):
            file.write(",".join(map(str, (START - TRAINING_ROWS + i, *row))) + "\n")
    run(plant.command("train", str(history)))
    return plant


def run(command: Sequence[str]) -> str:
    """Runs a command to its end; returns what it printed.

    Raises:
        RuntimeError: It failed; the text is what it said.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """A Mosquitto with an unbounded queue on a free port."""
    with broker(folder, kind="mosquitto") as address:
        yield address.port


@contextmanager
def daemon(plant: Plant, *, online: bool = True) -> Iterator[int]:
    """`anomalyd run` until the block ends, `online` when it begins; gives its process number."""
    watcher = Wire(plant.port, "bench-watcher")
    watcher.subscribe("anomalyd/status")
    while watcher.messages(0.1):
        pass  # what a former daemon left
    process = subprocess.Popen(plant.command("run"), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        if online:
            said = "the daemon's start"
            wait_for(lambda: any(b'"online"' in status for _, status in watcher.messages(0)), said)
        watcher.close()
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def wait_for(condition: Callable[[], object], what: str, every: float = 0.005) -> float:
    """Polls a condition; returns the seconds it took to come true.

    Raises:
        TimeoutError: It did not come true.
    """
    started = time.monotonic()
    while time.monotonic() - started < WAIT:
        if condition():
            return time.monotonic() - started
        time.sleep(every)
    raise TimeoutError(f"{what} did not happen within {WAIT:.0f} s")


def progress(words: str) -> None:
    """Says on stderr what is being measured."""
    print(words, file=sys.stderr, flush=True)
