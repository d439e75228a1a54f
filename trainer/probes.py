"""Faults put into held-back rows, the same for both detectors: which are found, and how soon."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainer.faults import KINDS, Fault, inject
from trainer.gate import Faults
from trainer.measures import courses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.scoring import Detector

LASTING = 60  # rows of a fault, where there are enough; the daemon's alerts open within a few
LEAST = 10  # rows of the shortest: with fewer, kinds of faults do not differ
STEEPER = 2  # each step: level shifts of 2, 8 and 32 deviations
AROUND = 1_000  # rows on both sides, from which a lost correlation takes what the sensor shows instead
REMEMBERED = 0.01  # share of what was before the context that may be left in the smoothed error
EACH = 2  # faults of each kind and strength: 36 in all


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Rows of one machine with one fault.

    Attributes:
        faulty: With the fault.
        clean: Without it. Both have a name of their own, by which replays tell them apart.
        start: When the fault begins, in milliseconds since the epoch.
        stop: Until when an alert counts as one about it.
    """

    faulty: History
    clean: History
    start: int
    stop: int


def forgets(smoothing: float) -> int:
    """Windows after which so little as `REMEMBERED` is left of an error in its average."""
    return math.ceil(math.log(REMEMBERED) / math.log(smoothing)) if smoothing > 0 else 0


def probes(
    normal: Sequence[History],
    held_back: Sequence[History],
    detectors: Sequence[Detector],
    alerts: AlertPolicy,
    *,
    deviations: Mapping[str, float],
    each: int = EACH,
    seed: int = 0,
) -> tuple[Probe, ...]:
    """Puts faults of every kind and strength into held-back rows, one at a time.

    Before a fault stand enough normal rows for every detector to have filled its windows and forgotten
    what was before; after it, so many that an alert about its last row can open.

    Args:
        normal: All normal rows of each machine.
        held_back: Those of them that may become faulty, of the same machines.
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
    hole = max(one.grid.interval for one in specs) * (min(one.window.max_gap for one in specs) + 1)
    pairs = list(zip(normal, held_back, strict=True))
    lasting = LASTING
    while not (places := _places(pairs, hole, context, lasting, after)):
        lasting //= 2
        if lasting < LEAST:
            return ()
    if not deviations:
        return ()
    random = np.random.default_rng(seed)
    sensors = sorted(deviations)
    found: list[Probe] = []
    for kind, does in KINDS.items():
        rows = min(lasting, does.most_rows or lasting)
        for strength in (_ladder(does.strengths) if not does.replaces else does.strengths) * each:
            number, place = places[int(random.integers(len(places)))]
            sensor = sensors[int(random.integers(len(sensors)))]
            # Of a long history only what lies around, or each fault would cost a copy of all of it.
            first = max(0, place - context - AROUND)
            history, name = normal[number].rows(slice(first, place + rows + after + AROUND)), f"{len(found)}"
            start = place - first
            fault = Fault(kind, sensor, start, start + rows, strength, int(random.integers(2**32)))
            case = slice(start - context, start + rows + after)
            faulty = inject(history, fault, deviations[sensor]).rows(case)
            found.append(
                Probe(
                    faulty=replace(faulty, machine=f"{name} faulty", label=None),
                    clean=replace(history.rows(case), machine=f"{name} clean", label=None),
                    start=int(history.at[start]),
                    stop=int(history.at[start + rows + after - 1]),
                )
            )
    return tuple(found)


def _ladder(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """From hard to find to plain, even where the threshold is far above usual errors."""
    return tuple(strength * STEEPER**step for step, strength in enumerate(strengths))


def _places(
    pairs: Sequence[tuple[History, History]], hole: int, context: int, lasting: int, after: int
) -> list[tuple[int, int]]:
    """Where so long a fault may begin: which history, and which of its rows."""
    found = []
    for number, (normal, held_back) in enumerate(pairs):
        rows = len(normal)
        starts = np.arange(context, rows - lasting - after + 1)
        if not len(starts):
            continue
        may = np.concatenate([[0], np.cumsum(np.isin(normal.at, held_back.at))])
        holes = np.concatenate([[0, 0], np.cumsum(np.diff(normal.at) > hole)])  # up to and with each row
        whole = holes[starts + lasting + after] == holes[starts - context + 1]
        free = may[starts + lasting] - may[starts] == lasting
        found += [(number, start) for start in starts[whole & free].tolist()]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one detector finds of M faults.

    Attributes:
        found: Whether an alert opens in it, or soon after, shape (M,).
        calm: Whether without the fault none is open there, shape (M,): else it finds nothing.
        delay: When it opens, as a share of the time that counts, shape (M,); 1 where it is not found.
    """

    found: NDArray[np.bool_]
    calm: NDArray[np.bool_]
    delay: NDArray[np.float64]

    def among(self, comparable: NDArray[np.bool_]) -> Faults:
        """The figures of it; `comparable` are the faults by which two detectors are compared."""
        some = int(comparable.sum())
        return Faults(
            cases=len(self.found),
            found=float(self.found.mean()),
            compared=some,
            found_there=float(self.found[comparable].mean()) if some else 0.0,
            delay=float(self.delay[comparable].mean()) if some else 1.0,
        )


def find(detector: Detector, some: Sequence[Probe], alerts: AlertPolicy) -> Found:
    """What a detector finds."""
    seen = courses(detector, [rows for probe in some for rows in (probe.faulty, probe.clean)], alerts)
    found, calm, delay = np.zeros(len(some), np.bool_), np.zeros(len(some), np.bool_), np.ones(len(some))
    for number, probe in enumerate(some):
        opened = [at for at, _ in seen[probe.faulty.machine].alerts if probe.start <= at <= probe.stop]
        calm[number] = not any(
            start <= probe.stop and (end is None or end >= probe.start)
            for start, end in seen[probe.clean.machine].alerts
        )
        if opened and calm[number]:
            found[number] = True
            delay[number] = (min(opened) - probe.start) / (probe.stop - probe.start)
    return Found(found, calm, delay)


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
