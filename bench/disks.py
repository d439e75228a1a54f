"""What docs/reliability.md says of disks: the look at a store at a start, and the end of a full disk.

`python -m bench.disks [MiB]`; the second part mounts a small tmpfs and needs root.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.stage import START, Plant, daemon, mosquitto, progress, wait_for
from bench.wire import Wire, flood, publication
from daemon.store import Store
from daemon.transaction import Transaction
from detector.reading import Reading

SENSORS = tuple(f"sensor_{n}" for n in range(8))
BATCH = 50_000  # readings
ROUNDS = 10
TOPIC = "plant/press/readings"


def looking(folder: Path, size: int) -> None:
    """Fills a store with so many MiB; prints how long it takes to look through it, and to open it."""
    progress(f"filling a store of {size} MiB")
    store = Store(folder / "store.sqlite", durability="normal")
    values, at = np.ones(len(SENSORS)), 0
    while store.size() < size * 2**20:
        readings = [Reading(f"machine-{n % 100}", at + n, SENSORS, values) for n in range(BATCH)]
        store.commit(Transaction(readings=readings))
        at += BATCH
    store.close()
    started = time.monotonic()
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA quick_check").fetchone()
    seconds = time.monotonic() - started
    started = time.monotonic()
    Store(store.path).close()
    opened = time.monotonic() - started
    found = store.path.stat().st_size / 2**20
    print(f"quick_check of {found:.0f} MiB: {seconds:.2f} s; of 2 GiB that is {seconds * 2048 / found:.1f} s")
    print(f"opening it, which looks for at most 0.2 s: {opened:.2f} s")


def resuming(folder: Path) -> None:
    """Fills a disk under a running daemon and makes room again; prints how soon it is online."""
    state = folder / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(state)], check=True)
    try:
        with mosquitto(folder) as port:
            plant = Plant(folder, port)
            plant.configure()
            with daemon(plant):
                seconds = [_round(plant, number) for number in range(ROUNDS)]
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)
    print(f"from room on the disk until the status is online: {max(seconds):.2f} s at most of {ROUNDS}")


def _round(plant: Plant, number: int) -> float:
    watcher = Wire(plant.port, f"watcher-{number}")
    watcher.subscribe("anomalyd/status")
    ballast = plant.state / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    begin = START + 1_000_000 * number

    def degraded() -> bool:
        nonlocal begin
        flood(plant.port, [publication(TOPIC, b'{"ts": %d, "flow": 1}' % (begin + n)) for n in range(100)])
        begin += 100
        return any(b'"degraded"' in status for _, status in watcher.messages(0))

    wait_for(degraded, "the degraded status")
    ballast.unlink()
    seconds = wait_for(
        lambda: any(b'"online"' in status for _, status in watcher.messages(0)), "the status online"
    )
    watcher.close()
    return seconds


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        looking(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 256)
    if os.geteuid() == 0:
        with TemporaryDirectory() as name:
            resuming(Path(name))
