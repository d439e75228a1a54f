"""Any messages through all of the daemon but the network, with restarts: each ends in one place."""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import atheris
import structlog

with atheris.instrument_imports(include=["daemon", "detector"]):
    from tests.daemon import offline

from config import load
from daemon.intake import Message
from tests import plant

TOPICS = ("plant/press/readings", "plant/lathe/readings", "plant/../readings", "plant/a/b", "plant//readings")
VALUES: tuple[object, ...] = (
    0.0,
    40.0,
    41.5,
    1e300,
    -7,
    None,
    True,
    "run",
    [],
    float("nan"),
    float("inf"),
    10**400,
)
SENSORS = ("flow", "pressure", "temperature", "oil", "")
ENDS = ("reading_dropped", "message_refused", "message_dropped")


def payload(data: atheris.FuzzedDataProvider, now: int) -> bytes:
    """Bytes of any kind, or a reading about now with values of any kind."""
    if data.ConsumeIntInRange(0, 3) == 0:
        return bytes(data.ConsumeBytes(60))
    sensors = {name: data.PickValueInList(list(VALUES)) for name in SENSORS if data.ConsumeIntInRange(0, 5)}
    at = now + data.PickValueInList([0, 0, 0, 0, 1000, -1000, -70_000, 10**7, -now])
    return json.dumps({"ts": at, **sensors} if data.ConsumeIntInRange(0, 9) else sensors).encode()


def one(content: bytes) -> None:
    """A daemon of its own for each input, so that an input alone shows again what it broke."""
    data = atheris.FuzzedDataProvider(content)
    now, sent, ends = plant.START, 0, Counter[str]()
    with tempfile.TemporaryDirectory(dir=SHORT_LIVED) as name:
        folder = Path(name)
        file = folder / "anomalyd.yaml"
        file.write_text(f"state_dir: {folder}\nstore: {{durability: normal}}\nreadings: {{lateness: 2s}}\n")
        plant.promote(folder)
        settings = load(file, {})
        for _ in range(data.ConsumeIntInRange(1, 3)):
            with offline.serving(settings) as daemon:
                for _ in range(data.ConsumeIntInRange(1, 4)):
                    messages = []
                    for _ in range(data.ConsumeIntInRange(1, 40)):
                        now += data.PickValueInList([0, 1000, 1000, 1000, 5000, -1000, 100_000])
                        topic = data.PickValueInList(list(TOPICS))
                        messages.append(Message(topic, payload(data, now), now, 0, 1, 1))
                    daemon.take(messages)
                    sent += len(messages)
                ends.update({end: daemon.count(end) for end in ENDS}, stored=daemon.tally.figures.readings)
        letters, rows = counts(folder / "store.sqlite")
    assert ends.total() == sent, (ends, sent)
    assert letters == ends["message_refused"]
    assert rows <= ends["stored"]  # two of one time are one row


def counts(file: Path) -> tuple[int, int]:
    """Dead letters and readings in a store."""
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM readings)"
        row: tuple[int, int] = database.execute(query).fetchone()
        return row


SHORT_LIVED = "/dev/shm"  # noqa: S108 - a disk would be what is measured

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
