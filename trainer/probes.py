"""Faults put into held-back rows, the same for both detectors: which are found, and how soon."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trainer.faults import KINDS, Fault, inject
from trainer.gate import Faults
from trainer.measures import courses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.scoring import Detector
    from trainer.measures import Course

LASTING = 60  # rows of a fault, where there are enough; the daemon's alerts open within a few
LEAST = 10  # rows of the shortest: with fewer, kinds of faults do not differ
REMEMBERED = 0.01  # share of what was before the context that may be left in the smoothed error
EACH = 2  # faults of each kind and strength: 36 in all


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Rows of one machine with one fault.

    Attributes:
        history: Named by the number of the probe.
        machine: Whose rows they are.
        start: When the fault begins, in milliseconds since the epoch.
        stop: Until when an alert counts as one about it.
    """

    history: History
    machine: str
    start: int
    stop: int


def forgets(smoothing: float) -> int:
    """Windows after which so little as `REMEMBERED` is left of an error in its average."""
    return math.ceil(math.log(REMEMBERED) / math.log(smoothing)) if smoothing > 0 else 0


def probes(
    histories: Sequence[History],
    detectors: Sequence[Detector],
    alerts: AlertPolicy,
    *,
    deviations: Mapping[str, float],
    each: int = EACH,
    seed: int = 0,
) -> tuple[Probe, ...]:
    """Puts faults of every kind and strength into normal rows, each into rows of its own.

    Before a fault stand enough rows for every detector to have filled its windows and forgotten what
    was before; after it, so many that an alert about its last row can open.

    Args:
        histories: Normal rows.
        detectors: All that will look at them.
        alerts: When an alert opens.
        deviations: The standard deviation in normal operation of each sensor that may fail.
        each: How many of each kind and strength.
        seed: Of where and how.

    Returns:
        None where no stretch of rows without a hole is long enough, or no sensor may fail.
    """
    specs = [detector.manifest for detector in detectors]
    context = max(one.window.length + one.window.stride * forgets(one.error.smoothing) for one in specs)
    after = max(one.window.length + one.window.stride * alerts.open_within for one in specs)
    interval = max(one.grid.interval for one in specs)
    bridged = min(one.window.max_gap for one in specs) + 1
    runs = list(_runs(histories, interval * bridged))
    lasting = min(LASTING, max((length for _, _, length in runs), default=0) - context - after)
    if lasting < LEAST or not deviations:
        return ()
    places = [
        (number, first + context, length - context - lasting - after + 1)
        for number, first, length in runs
        if length >= context + lasting + after
    ]
    room = np.array([free for _, _, free in places], np.float64)
    random = np.random.default_rng(seed)
    sensors = sorted(deviations)
    found: list[Probe] = []
    for kind, does in KINDS.items():
        rows = min(lasting, does.most_rows or lasting)
        for strength in does.strengths * each:
            number, first, free = places[int(random.choice(len(places), p=room / room.sum()))]
            start = first + int(random.integers(free))
            sensor = sensors[int(random.integers(len(sensors)))]
            fault = Fault(kind, sensor, start, start + rows, strength, int(random.integers(2**32)))
            faulty = inject(histories[number], fault, deviations[sensor])
            case = faulty.rows(slice(start - context, start + rows + after))
            found.append(
                Probe(
                    replace(case, machine=f"{len(found)}", label=None),
                    histories[number].machine,
                    int(faulty.at[start]),
                    int(faulty.at[start + rows + after - 1]),
                )
            )
    return tuple(found)


def _runs(histories: Sequence[History], most: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of rows with no more than so many milliseconds between them: history, first row, rows."""
    for number, history in enumerate(histories):
        if not len(history):
            continue
        edges = [0, *(np.flatnonzero(np.diff(history.at) > most) + 1).tolist(), len(history)]
        for first, stop in pairwise(edges):
            yield number, first, stop - first


def find(
    detector: Detector, some: Sequence[Probe], alerts: AlertPolicy, clean: Mapping[str, Course]
) -> Faults | None:
    """What a detector finds.

    A fault is found by an alert that opens in it, or soon after, where without the fault none is open:
    one that is always in alarm finds nothing.

    Args:
        detector: Who looks.
        some: The faults.
        alerts: When an alert opens.
        clean: What it says about the rows without faults, by machine.
    """
    if not some:
        return None
    seen = courses(detector, [probe.history for probe in some], alerts)
    found, delays = 0, []
    for probe in some:
        opened = [at for at, _ in seen[probe.history.machine].alerts if probe.start <= at <= probe.stop]
        anyway = any(
            start <= probe.stop and (end is None or end >= probe.start)
            for start, end in clean[probe.machine].alerts
        )
        sees = bool(opened) and not anyway
        found += sees
        delays.append((min(opened) - probe.start) / (probe.stop - probe.start) if sees else 1.0)
    return Faults(cases=len(delays), found=found / len(delays), delay=float(np.mean(delays)))


def deviations(histories: Sequence[History], detectors: Sequence[Detector]) -> dict[str, float]:
    """The standard deviation of each plain sensor that varies and that all detectors know."""
    known = set.intersection(*(set(detector.manifest.sensors) for detector in detectors))
    known -= {name for detector in detectors for name in detector.manifest.channels}
    found = {}
    for place, name in enumerate(histories[0].sensors):
        column = np.concatenate([history.values[:, place] for history in histories])
        column = column[np.isfinite(column)]
        deviation = float(column.std()) if len(column) else 0.0
        if name in known and deviation > 0:
            found[name] = deviation
    return found
