"""`anomalyd replay` and `evaluate` on files: what a row costs, whether memory is flat, whether cores help.

Whole commands are measured, less what they need for a file of a few rows: that is their start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.results import Ratio, Result, Table
from bench.stage import ROOT, START, Plant, names, progress, values
from config import load
from config.policies import alert_policy, health_policy, operation_policy, stream_policy
from config.training import History as HistorySettings
from detector.events import Scored
from detector.history import History, segments, windows
from detector.pipeline import Pipeline
from detector.replay import replay
from detector.scoring import Detector
from registry.champions import Registry
from trainer.history_files import read_pieces

ROWS, FULL_ROWS = 60_000, 400_000
FEW = 100  # rows of the file for which a command does little but start
MACHINES = 4
BATCH = 64  # windows with which LiteRT is at its best
GOAL = 0.07  # 150,000 rows/s where LiteRT does 2,170,000 windows/s
FLAT = 1.2  # of the memory for a quarter of the rows
COMMAND = """
import json, os, re, sys
os.sched_setaffinity(0, json.loads(sys.argv.pop(1)))
from cli.main import main
try:
    main(sys.argv[1:])
finally:
    status = open("/proc/self/status").read()
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024
    print(json.dumps([sum(os.times()[:4]), peak]), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: seconds of CPU and of waiting, and its largest resident memory in MiB."""

    cpu: float
    wall: float
    peak: float


def measure(plant: Plant, *, full: bool) -> Result:
    """What rows cost; with `full` on long files, with memory and several machines."""
    rows = FULL_ROWS if full else ROWS
    folder = plant.folder / "replaying"
    folder.mkdir(exist_ok=True)
    few, csv, parquet = (folder / name for name in ("few.csv", "rows.csv", "rows.parquet"))
    write(few, plant, FEW)
    write(csv, plant, rows)
    write(parquet, plant, rows)
    scores = ("--scores", str(folder / "scores.csv"))
    commands: dict[str, tuple[str, ...]] = {
        "replay, CSV": ("replay", str(csv)),
        "replay, Parquet": ("replay", str(parquet)),
        "evaluate, CSV": ("evaluate", str(csv)),
        "evaluate, Parquet": ("evaluate", str(parquet)),
        "replay with --scores, Parquet": ("replay", str(parquet), *scores),
    }
    start = {name: command(plant, name, str(few)) for name in ("replay", "evaluate")}
    alone = parts(plant, few, csv, parquet, rows)
    whole = {}
    for title, arguments in commands.items():
        progress(f"replaying: {title}")
        whole[title] = command(plant, *arguments).cpu - start[arguments[0]].cpu
    bare = alone["LiteRT alone, batches of 64"]
    ratios = [
        Ratio(f"{title} / LiteRT alone, rows per CPU second", bare / cost, GOAL, GOAL / 4)
        for title, cost in whole.items()
        if "scores" not in title
    ]
    ratios += [
        Ratio(f"reading {kind} / replaying it, CPU", alone[f"reading {kind}"] / whole[f"replay, {kind}"],
              0.25, 1.0, most=True)
        for kind in ("CSV", "Parquet")
    ]  # fmt: skip
    table = Table(
        "replaying",
        ("one core, 8 sensors, window 30", "CPU µs per row", "rows/s"),
        tuple((title, cost / rows * 1e6, rows / cost) for title, cost in (whole | alone).items()),
    )
    tables = [table]
    if full:
        for add in (memory, sharing):
            more, ratio = add(plant, folder, rows)
            tables.append(more)
            ratios.append(ratio)
    return Result(tuple(tables), tuple(ratios))


def memory(plant: Plant, folder: Path, rows: int) -> tuple[Table, Ratio]:
    """Peak memory for a file and for one of four times its rows."""
    found: list[tuple[str, float, float, float]] = []
    growth = 0.0
    for kind in ("csv", "parquet"):
        peaks = []
        for number in (rows, 4 * rows):
            progress(f"replaying: memory for {number:,} rows, {kind}")
            path = folder / f"memory.{kind}"
            write(path, plant, number)
            replayed, evaluated = (command(plant, name, str(path)).peak for name in ("replay", "evaluate"))
            found.append((f"{number:,} rows, {kind}", path.stat().st_size / 2**20, replayed, evaluated))
            peaks.append((replayed, evaluated))
            path.unlink()
        growth = max(growth, *(large / small for small, large in zip(*peaks, strict=True)))
    columns = ("file", "MiB on disk", "replay, peak MiB", "evaluate, peak MiB")
    ratio = Ratio("peak memory of replay and evaluate, 4 N rows / N rows", growth, FLAT, 2.0, most=True)
    return Table("replaying-memory", columns, tuple(found)), ratio


def sharing(plant: Plant, folder: Path, rows: int) -> tuple[Table, Ratio]:
    """Wall time of several machines on one core and on two."""
    path = folder / "machines.parquet"
    write(path, plant, MACHINES * rows, machines=MACHINES)
    cores = sorted(os.sched_getaffinity(0))
    taken = []
    for number in (1, 2):
        progress(f"replaying: {MACHINES} machines on {number} core(s)")
        taken.append(command(plant, "replay", str(path), cores=cores[:number]).wall)
    table = Table(
        "replaying-machines",
        (f"{MACHINES} machines, {MACHINES * rows:,} rows", "seconds", "rows/s"),
        tuple((f"{i} core(s)", wall, MACHINES * rows / wall) for i, wall in enumerate(taken, 1)),
    )
    # The start and reading the file are not shared.
    return table, Ratio(
        "replay of 4 machines, 1 core / 2 cores, whole command", taken[0] / taken[1], 1.5, 0.4
    )


def write(path: Path, plant: Plant, rows: int, *, machines: int = 1) -> None:
    """A labelled history, one reading a second of each machine, machines taking turns."""
    steps = rows // machines
    frame = pd.DataFrame(np.repeat(values(steps, 3, plant.sensors).round(4), machines, axis=0))
    frame.columns = pd.Index(names(plant.sensors))
    seconds = np.repeat(START + np.arange(steps), machines)
    frame.insert(0, "timestamp", pd.to_datetime(seconds, unit="s", utc=True))
    frame["label"] = (np.arange(len(frame)) // 1000 % 10 == 0).astype(np.int8)
    if machines > 1:
        frame["machine"] = np.tile([f"machine-{i}" for i in range(machines)], steps)
    if path.suffix == ".csv":
        frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, row_group_size=100_000)


def command(plant: Plant, *arguments: str, cores: Sequence[int] = ()) -> Cost:
    """Runs `anomalyd ARGUMENTS`, on certain cores if any are named.

    Raises:
        RuntimeError: It failed.
    """
    cores = cores or sorted(os.sched_getaffinity(0))
    whole = [sys.executable, "-c", COMMAND, json.dumps(cores), *arguments, "--config", str(plant.config)]
    started = time.monotonic()
    done = subprocess.run(
        whole, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    wall = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(f"anomalyd {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    cpu, peak = json.loads(done.stderr.splitlines()[-1])
    return Cost(cpu, wall, peak)


def parts(plant: Plant, few: Path, csv: Path, parquet: Path, rows: int) -> dict[str, float]:
    """CPU seconds of what a replay consists of, each by itself, and of LiteRT on as many windows."""
    champions, _ = Registry(plant.state).load({})
    assert champions.shared is not None
    settings = load(plant.config, {})
    at = (START + np.arange(rows)) * 1000
    history = History("m", names(plant.sensors), at, values(rows, 3, plant.sensors))
    pipeline = Pipeline(
        champions,
        stream=stream_policy(settings),
        alerts=alert_policy(settings),
        health=health_policy(settings),
        operation=operation_policy(settings),
    )
    found = {}
    assert sum(map(len, read_pieces([few], HistorySettings()))) == FEW  # the first time, libraries are loaded
    for kind, path in (("CSV", csv), ("Parquet", parquet)):
        started = time.process_time()
        assert sum(map(len, read_pieces([path], HistorySettings()))) == rows
        found[f"reading {kind}"] = time.process_time() - started
    started = time.process_time()
    scored = sum(isinstance(event, Scored) for event in replay([history], pipeline))
    found["the pipeline alone"] = time.process_time() - started
    assert scored > rows - plant.window
    found["LiteRT alone, batches of 64"] = litert(champions.shared, history)
    return found


def litert(detector: Detector, history: History) -> float:
    """CPU seconds of the bare model on a history's windows."""
    manifest = detector.manifest
    (segment,) = segments(history, manifest.grid, manifest.window.max_gap)
    ready = windows(segment, manifest.window)
    taken = 0.0
    for start in range(0, len(ready) - BATCH + 1, BATCH):
        batch = np.ascontiguousarray(ready[start : start + BATCH], dtype=np.float32)
        started = time.process_time()
        detector.model.reconstruct(batch)
        taken += time.process_time() - started
    return taken
