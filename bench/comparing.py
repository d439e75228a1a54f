"""anomalyd beside other ways to score the same readings: readings/s, memory, and size on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from multiprocessing import get_context

import numpy as np

from bench import bare, scaling
from bench.receiving import Case, alone, prepared, whole
from bench.results import Ratio, Result, Table
from bench.stage import ROOT, Plant, messages, progress, values
from bench.usage import installed
from bench.wire import flood, forget, publication

ENVIRONMENTS = ROOT / ".venv-peers"  # made by `make bench-peers`
ONE_CORE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
NAIVE = {"predict": 200, "model(x)": 2000}  # readings to score: some seconds each
STREAMING = (
    ("river HalfSpaceTrees", "half_space_trees", "pyod-river"),
    ("numalogic VanillaAE", "vanilla_ae", "numalogic"),
    ("PyOD AutoEncoder", "auto_encoder", "pyod-river"),
    ("PyOD ECOD", "ecod", "pyod-river"),
)
COLUMNS = ("what", "readings come", "readings/s", "CPU µs per reading", "MiB resident", "MB on disk")
GOAL, LIMIT = 100.0, 50.0  # times the naive daemon: what it takes to call it another class

Figures = dict[str, float]


def measure(plant: Plant) -> Result:
    """All peers, first those that receive over MQTT, then those that are called."""
    rows: list[tuple[str | float | None, ...]] = []

    def add(what: str, how: str, figures: Figures | None) -> None:
        names = ("readings/s", "cpu", "MiB", "MB")
        rows.append((what, how, *(figures[name] if figures else None for name in names)))

    case = Case(20_000)
    packets, store = prepared(plant, case)
    progress("peers: paho alone")
    add(
        "paho alone, acknowledging",
        "over MQTT",
        alone(plant.port, case, packets, thread=False) | _disk("paho-mqtt"),
    )
    progress("peers: anomalyd")
    ours = whole(plant, case, packets, store) | _disk("anomalyd")
    add("**anomalyd**, all of it", "over MQTT", ours)
    naive = {}
    for how, count in NAIVE.items():
        progress(f"peers: naive daemon, {how}")
        naive[how] = _naive(plant, how, count)
        add(f"paho, json, Keras `{how}`", "over MQTT", naive[how])
    progress("peers: anomalyd in process")
    with get_context("spawn").Pool(1) as process:
        cpu, memory = process.apply(scaling.cost, (plant, 1))
    inside = {"readings/s": 1e6 / cpu, "cpu": cpu, "MiB": memory} | _disk("anomalyd")
    add("**anomalyd**, decoding and storing too", "in process", inside)
    data = plant.folder / "rows.npy"
    np.save(data, values(10_000, 2, plant.sensors))
    for what, name, environment in STREAMING:
        progress(f"peers: {what}")
        python = ENVIRONMENTS / environment / "bin" / "python"
        if python.exists():
            add(what, "in process", _figures([str(python), "-m", "bench.peers.streaming", name, str(data)]))
        else:
            add(f"{what}: not installed", "in process", None)
    times = ours["readings/s"] / naive["predict"]["readings/s"]
    ratio = Ratio("readings/s: anomalyd / naive daemon with `predict`", times, GOAL, LIMIT)
    return Result((Table("peers", COLUMNS, tuple(rows)),), (ratio,))


def _naive(plant: Plant, how: str, count: int) -> Figures:
    client = "bench-naive"
    bare.hold(plant.port, client)
    content = messages(plant.sensors, 1, range(plant.window + count))
    flood(plant.port, [publication(topic, payload) for topic, payload in content])
    figures = _figures([sys.executable, "-m", "bench.peers.naive", str(plant.port), client, str(count), how])
    forget(plant.port, client)
    return figures


def _figures(command: list[str]) -> Figures:
    """What a peer's process says of itself on its last line."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | ONE_CORE, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _disk(package: str) -> Figures:
    return {"MB": sum(installed(package).values())}
