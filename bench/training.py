"""Training beside Keras: one model, and a fleet of models fitted together, with the memory that takes.

Keras runs as everybody runs it: `compile`, then `fit` with windows in an array, on the very same
network, windows, first weights, epochs and batches. Each measurement has a process of its own, so
that what either compiles is counted. A fleet's Keras is measured on a few machines and scaled.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import Ratio, Result, Table
from bench.stage import START, Plant, names, progress, run, values
from config.settings import Settings
from config.training import Model
from detector.history import History
from registry.champions import Registry
from trainer.autoencoder import Autoencoder
from trainer.fitting import best_epoch, fit
from trainer.keras_backend import load
from trainer.preparation import Windows
from trainer.start import initial
from trainer.turn import take_turns

ONE_GOAL, FLEET_GOAL = 0.5, 40.0
LOSS_GOAL = 1.02
KERAS_MACHINES = 3
VALIDATED = 0.2
GROUP = 20  # machines of this size that the trainer puts together


def measure(plant: Plant, *, full: bool) -> Result:  # noqa: ARG001 - other parts need one
    """Time and loss beside Keras; with `full` at the sizes of a real hall, and the whole command by stage."""
    sizes = {"8 sensors, window 30, batch 64": (20_000 if full else 3000, 8, 30, 64, 10)}
    if full:
        sizes["38 sensors, window 30, batch 64"] = (24_000, 38, 30, 64, 5)
    rows: list[tuple[str | float | None, ...]] = []
    ratios = []
    for title, size in sizes.items():
        progress(f"training: one model, {title}")
        found = compared(1, *size)
        one = f"one model, {size[0]:,} rows, {title}, {size[4]} epochs"
        rows.append((one, found["seconds"], found["keras"], found["keras"] / found["seconds"], found["peak"]))
        share = found["seconds"] / found["keras"]
        ratios.append(Ratio(f"{one}: wall of Keras fit", share, ONE_GOAL, 3 * ONE_GOAL, most=True))
    fleets = {
        "8 sensors, window 10, batch 128": (200 if full else 60, 5000 if full else 1500, 8, 10, 128, 10)
    }
    if full:
        fleets["8 sensors, window 30, batch 64"] = (200, 5000, 8, 30, 64, 10)
    for title, fleet in fleets.items():
        progress(f"training: {fleet[0]} machines, {title}")
        found = compared(*fleet)
        many = f"{fleet[0]} machines of {fleet[1]:,} rows, {title}, {fleet[5]} epochs"
        times = found["keras"] / found["seconds"]
        rows.append((many, found["seconds"], found["keras"], times, found["peak"]))
        if fleet[3] == 10:  # the network for which the goal was set
            ratios.append(Ratio(f"{many}: times as fast as Keras", times, FLEET_GOAL, FLEET_GOAL / 5))
        ratios.append(
            Ratio(f"{many}: validation loss beside Keras", found["loss"], LOSS_GOAL, 1.2, most=True)
        )
    if full:
        progress("training: the whole command for 200 machines")
        found = child("command", 200, 5000)
        peak = found.pop("peak")
        rows += [(f"200 machines, window 30, to the end: {stage}", took, None, None, None)
                 for stage, took in found.items()]  # fmt: skip
        rows.append(("all of it", sum(found.values()), None, None, peak))
    columns = ("fitting", "seconds", "Keras, seconds", "times as fast", "peak MiB")
    return Result((Table("training", columns, tuple(rows)),), tuple(ratios))


def child(*arguments: object) -> dict[str, float]:
    """The figures of one of the functions below, called in a process of its own."""
    found: dict[str, float] = json.loads(
        run([sys.executable, "-m", "bench.training", *map(str, arguments)]).splitlines()[-1]
    )
    return found


def compared(machines: int, *size: int) -> dict[str, float]:
    """Both, each in a process of its own."""
    ours = child("ours", machines, *size)
    keras = child("keras", min(machines, KERAS_MACHINES), *size)
    return ours | {"keras": keras["seconds"] * machines, "loss": ours["loss"] / keras["loss"]}


def ours(machines: int, *size: int) -> dict[str, float]:
    """Seconds, memory, and the best validation loss of those machines that Keras fits too."""
    load()
    wishes = [machine(seed, *size) for seed in range(machines)]
    settings = wishes[0].settings
    before = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # as `trainer.fleet` does it
        groups = [wishes[first : first + GROUP] for first in range(0, machines, GROUP)]
        fitted = list(chain(*pool.map(lambda group: together(group, settings), groups)))
    return {
        "seconds": time.monotonic() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": statistics.fmean(fitted[:KERAS_MACHINES]),
    }


def together(wishes: Sequence[Wish], settings: Model) -> list[float]:
    """Fits a group; the best validation losses."""
    starts, windows, validation = ([getattr(wish, name) for wish in wishes]
                                   for name in ("start", "windows", "validation"))  # fmt: skip
    fitted = fit(starts, windows, validation, settings, seeds=[0] * len(starts), progress=lambda _: None)
    return [best_epoch(epochs).validation_loss for _, epochs in fitted]


def keras(machines: int, *size: int) -> dict[str, float]:
    """Seconds a machine, and the best validation loss, of a plain `compile` and `fit`."""
    import keras

    seconds, losses = [], []
    for seed in range(machines):
        wish = machine(seed, *size)
        given, judged = (some.some(len(some)) for some in (wish.windows, wish.validation))
        model = network(wish.start)
        started = time.monotonic()
        model.compile(optimizer=keras.optimizers.Adam(wish.settings.learning_rate), loss="mse")
        history = model.fit(
            given, given, batch_size=wish.settings.batch_size, epochs=wish.settings.epochs,
            validation_data=(judged, judged), verbose=0,
        )  # fmt: skip
        seconds.append(time.monotonic() - started)
        losses.append(min(history.history["val_loss"]))
    return {"seconds": statistics.fmean(seconds), "loss": statistics.fmean(losses)}


def network(start: Autoencoder) -> Any:  # noqa: ANN401 - Keras has no types
    """The same autoencoder in Keras, with the same weights."""
    from keras import Input, Model, layers

    it, weights, code = start.architecture, start.weights, start.architecture.code
    given = Input((it.length, it.width))
    flat = layers.Flatten()(given)
    into, first, added = (
        layers.Dense(code),
        layers.Dense(*it.units, "relu"),
        layers.Dense(code, use_bias=False),
    )
    bottleneck = layers.Add()([into(flat), added(first(flat))])
    out = layers.Dense(it.length * it.width)
    last, unbent = layers.Dense(*it.units, "relu"), layers.Dense(it.length * it.width, use_bias=False)
    rebuilt = layers.Add()([out(bottleneck), unbent(last(bottleneck))])
    model = Model(given, layers.Reshape((it.length, it.width))(rebuilt))
    into.set_weights([weights[0][:, :code], weights[1][0, :code]])
    first.set_weights([weights[0][:, code:], weights[1][0, code:]])
    added.set_weights([weights[2]])
    last.set_weights([weights[3], weights[4][0]])
    out.set_weights([weights[5][:code], weights[6][0]])
    unbent.set_weights([weights[5][code:]])
    return model


@dataclass(frozen=True, slots=True)
class Wish:
    """What both fit of one machine."""

    settings: Model
    start: Autoencoder
    windows: Windows
    validation: Windows


def machine(seed: int, rows: int, sensors: int, length: int, batch: int, epochs: int) -> Wish:
    """One machine of a size."""
    settings = Model(kind="dense", loss="mse", l2=0.0, batch_size=batch, epochs=epochs, patience=epochs)
    count = rows - length + 1
    border = count - round(count * VALIDATED)
    places = np.arange(count, dtype=np.int32)
    scaled = values(rows, seed, sensors).astype(np.float32)
    windows, validation = (Windows(scaled, some, length) for some in np.split(places, [border]))
    return Wish(settings, initial(windows, settings, seed=0), windows, validation)


def command(machines: int, rows: int) -> dict[str, float]:
    """Seconds that `anomalyd train --per-machine` takes, with the defaults, after it has read the files.

    Machines are finished while others are fitted, so that there is one figure for both.
    """
    at = (START + np.arange(rows)) * 1000
    histories = [
        (History(f"m-{seed}", names(8), at, values(rows, seed)), (f"m-{seed}.csv",))
        for seed in range(machines)
    ]
    spent: dict[str, float] = {}
    stage, since = "looking at histories", time.monotonic()

    def tell(text: str) -> None:
        nonlocal stage, since
        now = time.monotonic()
        spent[stage] = spent.get(stage, 0.0) + now - since
        if "looking" not in text:
            stage = "fitting, exporting, calibrating, gate, writing"
        if "loading" in text:
            stage = "loading TensorFlow"
        since = now

    with tempfile.TemporaryDirectory() as folder:
        turns = take_turns(
            histories,
            settings=Settings(),
            registry=Registry(Path(folder)),
            now=datetime.now(UTC),
            progress=lambda told: tell(told.text),
        )
        assert sum(not isinstance(turn, Exception) for _, turn in turns) == machines
    tell("end")
    return spent | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    functions: dict[str, Callable[..., dict[str, float]]] = {"ours": ours, "keras": keras, "command": command}
    print(json.dumps(functions[sys.argv[1]](*map(int, sys.argv[2:]))))
