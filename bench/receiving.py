"""Readings per second through the whole daemon, beside a paho client that does nothing but acknowledge."""

from __future__ import annotations

import sqlite3
import time

from bench.stage import Plant, cpu_seconds, daemon, flood, resident, subscriber, wait_for

READINGS = 20_000


def bare(plant: Plant, machines: int) -> dict[str, float]:
    """What paho alone takes: an empty callback that acknowledges, on a backlog at the broker."""
    client, properties = subscriber("bench-bare")
    client.connect("127.0.0.1", plant.port, clean_start=False, properties=properties)
    client.subscribe("plant/+/readings", qos=1)
    for _ in range(20):
        client.loop(0.05)
    client.disconnect()
    flood(plant.port, READINGS, machines)
    client, properties = subscriber("bench-bare")
    got = 0

    def on_message(_client: object, _data: object, message: object) -> None:
        nonlocal got
        got += 1
        client.ack(message.mid, 1)  # type: ignore[attr-defined]

    client.on_message = on_message
    client.connect("127.0.0.1", plant.port, clean_start=False, properties=properties)
    started, used = time.monotonic(), time.process_time()
    while got < READINGS:
        client.loop(1)
    seconds, cpu = time.monotonic() - started, time.process_time() - used
    client.disconnect()
    return {"readings/s": READINGS / seconds, "cpu us": cpu / READINGS * 1e6}


def whole(plant: Plant, machines: int) -> dict[str, float]:
    """What the daemon takes from the same backlog, until everything is stored and scored."""
    with daemon(plant):
        wait_for(plant.store.exists, "the daemon's first start")
        time.sleep(2)  # connected and subscribed: the session is what the backlog waits for
    flood(plant.port, READINGS, machines)
    with daemon(plant) as process:
        store = sqlite3.connect(f"file:{plant.store}?mode=ro", uri=True)

        def stored() -> int:
            return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])

        before = stored()
        wait_for(lambda: stored() > before, "the first reading")
        first, used = stored(), cpu_seconds(process.pid)
        seconds = wait_for(lambda: stored() >= READINGS, "the last reading")
        cpu, memory = cpu_seconds(process.pid) - used, resident(process.pid)
        store.close()
    count = READINGS - first
    return {"readings/s": count / seconds, "cpu us": cpu / count * 1e6, "MiB": memory}
