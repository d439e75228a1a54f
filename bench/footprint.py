"""Start, memory, idling and size on disk: beside bare Python where a ratio says more than a number.

Memory is the process's highest resident size (VmHWM) while it takes readings as fast as it can, and its
resident size when it is ready. Copies of the trained bundle stand for machines' own ones; each differs in
its weights, so that nothing can be shared.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median

import msgspec

from bench.results import Cell, Ratio, Result, Table
from bench.stage import ROOT, Plant, daemon, messages, progress, wait_for
from bench.usage import cpu_seconds, installed, resident
from bench.wire import flood, forget, publication
from detector import manifest as manifests
from registry.bundle import MANIFEST, MODEL, Bundle
from registry.champions import Registry

STARTS = 7
MACHINES = 1000
READINGS = 40_000  # of all machines together: a window of 30 and what follows
IDLE = 5.0  # seconds
NUMPY = 30  # MiB of Python with numpy, where the goals were set
GOALS = {(1, False): 70, (MACHINES, False): 150, (MACHINES, True): 250}  # MiB by machines and own models
Figures = dict[str, float]


def measure(plant: Plant, *, full: bool) -> Result:
    """All of it; not `full`: starts, one machine and the size on disk."""
    progress("footprint: starts")
    start, numpy = starting(plant), resident_after("import numpy")
    cases = [(1, False), (MACHINES, False), (MACHINES, True)] if full else [(1, False)]
    rows: list[tuple[Cell, ...]] = [("import numpy", None, numpy, *[None] * 5)]
    ratios = [
        Ratio("start until READY / that of Python with numpy", start["ready / numpy"], 4.0, 16.0, most=True)
    ]
    for machines, own in cases:
        model = "own" if own else "shared"
        progress(f"footprint: {machines} machine(s), {model} model")
        figures = fleet(plant, machines, own=own)
        rows.append((machines, model, *figures.values()))
        what = f"highest memory / that of Python with numpy: {machines} machine(s), {model} model"
        goal = GOALS[machines, own] / NUMPY
        ratios.append(Ratio(what, figures["highest, MiB"] / numpy, goal, 2 * goal, most=True))
    sizes = {name: size for name, size in installed("anomalyd").items() if name != "anomalyd"}
    return Result(
        (
            Table("start", tuple(start), (tuple(start.values()),)),
            Table("memory", ("machines", "model", *figures), tuple(rows)),
            Table("size", ("package", "MB"), (*sizes.items(), ("together", sum(sizes.values())))),
        ),
        tuple(ratios),
    )


def starting(plant: Plant) -> Figures:
    """Seconds from the start of a process to its end, or until the daemon says READY=1; medians."""
    bare, numpy, ready = [], [], []
    for _ in range(STARTS):
        bare.append(_seconds("pass"))
        numpy.append(_seconds("import numpy"))
        with started(plant) as (_, seconds):
            ready.append(seconds)
    figures = {
        "python, s": median(bare),
        "import numpy, s": median(numpy),
        "anomalyd ready, s": median(ready),
    }
    return figures | {"ready / numpy": median(ready) / median(numpy)}


def _seconds(program: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.monotonic() - begun


def resident_after(program: str) -> float:
    """Resident memory of a Python that has run a program, in MiB."""
    told = f"{program}; from bench.usage import resident; print(resident())"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


@contextmanager
def started(plant: Plant) -> Iterator[tuple[int, float]]:
    """`anomalyd run` until the block ends: its process number, and its seconds to READY=1."""
    address = plant.folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        begun = time.monotonic()
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        process = subprocess.Popen(plant.command("run"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        try:
            while b"READY=1" not in channel.recv(256):
                pass
            yield process.pid, time.monotonic() - begun
        finally:
            process.terminate()
            process.wait(10)


def fleet(plant: Plant, machines: int, *, own: bool) -> Figures:
    """Memory of a daemon that follows this many machines, and how it starts again."""
    state = plant.folder / f"footprint-{machines}-{'own' if own else 'shared'}"
    its = Plant(state, plant.port, plant.sensors, plant.window)
    bundles(plant, its, machines if own else 0)
    sent = messages(plant.sensors, machines, range(READINGS // machines))
    packets = [publication(topic, payload, 1 + i % 65_535) for i, (topic, payload) in enumerate(sent)]
    with daemon(its) as process:
        ready = resident(process)
        flood(its.port, packets)
        store = sqlite3.connect(f"file:{its.store}?mode=ro", uri=True)
        count = "SELECT count(*) FROM readings"
        wait_for(lambda: store.execute(count).fetchone()[0] >= len(packets), "the last reading", every=0.2)
        store.close()
        time.sleep(1)
        loaded, peak = resident(process), highest(process)
        idle = idling(process)
    with started(its) as (process, seconds):
        again = resident(process)
    forget(its.port, "anomalyd")
    return {
        "ready, MiB": ready,
        "after load, MiB": loaded,
        "highest, MiB": peak,
        "idle CPU, %": idle * 100,
        "restart, s": seconds,
        "restarted, MiB": again,
    }


def highest(process: int) -> float:
    """The highest resident size that a process has had, in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (size,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(size) / 1024


def idling(process: int) -> float:
    """The share of a core that a process takes when nothing comes."""
    begun, used = time.monotonic(), cpu_seconds(process)
    time.sleep(IDLE)
    return (cpu_seconds(process) - used) / (time.monotonic() - begun)


def bundles(source: Plant, plant: Plant, own: int) -> None:
    """Gives a plant the shared bundle of another one, and this many machines an own one."""
    shared = Registry(source.state).read(Registry(source.state).champion_of(None) or "")
    folder = plant.state / "bundles"
    folder.mkdir(parents=True)
    plant.configure()
    content = (shared.path / MODEL).read_bytes()
    _copy(shared, shared.manifest, content, folder)
    machines = {}
    for i in range(own):
        model = varied(content, i + 1)
        manifest = msgspec.structs.replace(
            shared.manifest,
            id=f"{shared.manifest.id}-{i}",
            machine=f"machine-{i}",
            files={**shared.manifest.files, MODEL: sha256(model).hexdigest()},
        )
        _copy(shared, manifest, model, folder)
        machines[f"machine-{i}"] = {"champion": manifest.id}
    champions = {"shared": {"champion": shared.manifest.id}, "machines": machines}
    (plant.state / "champions.json").write_text(json.dumps(champions), encoding="utf-8")


def _copy(bundle: Bundle, manifest: manifests.Manifest, model: bytes, folder: Path) -> None:
    path = folder / manifest.id
    path.mkdir()
    for name in manifest.files.keys() - {MODEL}:
        (path / name).hardlink_to(bundle.path / name)
    (path / MODEL).write_bytes(model)
    (path / MANIFEST).write_bytes(manifests.encode(manifest))


def varied(model: bytes, number: int) -> bytes:
    """The model with the lowest bits of two of its weights changed, by a number below 2 ** 16."""
    content = bytearray(model)
    middle = len(content) // 8 * 4  # the weights are most of the file, and aligned
    content[middle] ^= number & 255
    content[middle + 4] ^= number >> 8
    return bytes(content)
