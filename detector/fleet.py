"""The machines that one detector serves: their newest samples, scored many windows at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.health import Watch
from detector.scoring import Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from detector.health import HealthPolicy
    from detector.sampler import Sample
    from detector.scoring import Detector

SPARE = 128  # samples of one machine that may wait to be scored: more gain little and cost memory


class Window:
    """The last T samples of one machine: a ring of T + `SPARE` rows in its fleet's array.

    Attributes:
        waiting: Samples since windows were last scored.
        restarted: Whether the next window does not continue the one before.
        begun: Whether there is a smoothed error that a window may continue.
    """

    __slots__ = ("_end", "_first", "_held", "_newest", "begun", "fleet", "place", "restarted", "waiting")

    def __init__(self, fleet: Fleet, place: int) -> None:
        self._end = 0  # the row after the newest
        self._held = 0  # samples since the last restart, at most T
        self._newest = 0
        self._first = place * fleet.ring  # where the ring begins
        self.fleet = fleet
        self.place = place
        self.waiting = 0
        self.restarted = True
        self.begun = False

    def has_room(self, sample: Sample) -> bool:
        """Whether the sample may be pushed before the windows that wait are scored."""
        return self.waiting == 0 or self.waiting + (sample.missed or 0) < SPARE

    def push(self, sample: Sample) -> int | None:
        """Adds a sample, with a row of NaN for each slot missed before it.

        Returns:
            If a window ends here, its row in the next `Fleet.scores`.
        """
        self._add(sample)
        fleet = self.fleet
        if self._held < fleet.length or sample.slot % fleet.stride:
            return None
        row = len(fleet.due)
        fleet.due.append(self)
        fleet.numbers.append(fleet.followed + len(fleet.slots) - 1)
        fleet.ends.append(self._end)
        fleet.fresh.append(self.restarted)
        self.restarted = False
        return row

    def _add(self, sample: Sample) -> None:
        if sample.missed is None:
            self._held, self.restarted = 0, True
        elif sample.missed:
            for _ in range(min(sample.missed, self.fleet.length)):
                self.fleet.gaps.append(len(self.fleet.samples))
                self._append(self.fleet.nothing)
        self._append(sample.values)
        self._newest = sample.slot
        self.fleet.slots.append(sample.slot)

    def _append(self, values: NDArray[np.float64]) -> None:
        fleet, end = self.fleet, self._end
        fleet.samples.append(values)
        fleet.targets.append(self._first + end)
        self._end = end + 1 if end + 1 < fleet.ring else 0
        if self._held < fleet.length:
            self._held += 1
        if self.waiting == 0:
            fleet.touched.append(self)
        self.waiting += 1

    def full(self) -> bool:
        """Whether T samples are held."""
        return self._held == self.fleet.length

    def row(self, slot: int) -> NDArray[np.float32] | None:
        """The sample of a slot, scaled, shape (C,); None where it is not held."""
        age = self._newest - slot
        if not 0 <= age < self._held:
            return None
        fleet = self.fleet
        fleet.write()
        row: NDArray[np.float32] = fleet.rows[self._first + (self._end - 1 - age) % fleet.ring]
        return row

    @property
    def smoothed(self) -> NDArray[np.float64] | None:
        """Each sensor's smoothed part of the last error, shape (F,); None if the next window starts anew."""
        row: NDArray[np.float64] = self.fleet.smoothed[self.place]
        return row if self.begun and not self.restarted else None

    def recall(self, samples: Iterable[Sample], smoothed: Sequence[float] | None) -> None:
        """Takes up samples whose windows were scored before, and what `smoothed` was then."""
        for sample in samples:
            self._add(sample)
        self.fleet.write(again=True)
        self.waiting = 0
        self.restarted = smoothed is None
        self.begun = smoothed is not None
        if smoothed is not None:
            self.fleet.smoothed[self.place] = smoothed

    def leave(self) -> None:
        """Gives its place back."""
        self.fleet.write()
        self.fleet.free.append(self.place)


class Fleet:
    """The windows of many machines.

    What they take is scaled and written at once, and all windows that are due are read and scored
    at once, so that a sample costs a few list operations in Python.

    Attributes:
        rows: The rings of all machines, one after another, shape (places * ring, C), NaN where missing.
        smoothed: Each machine's smoothed part of the last error, shape (places, F).
        scores: Of the windows that were due at the last `score`; None if none was.
        watch: The health of the machines' sensors.
        slots: Those of the samples that are not written yet.
        followed: Samples that were written since the last `forget`; they are numbered from 0.
    """

    def __init__(self, detector: Detector, policy: HealthPolicy) -> None:
        manifest = detector.manifest
        width = manifest.width
        self.detector = detector
        self.length, self.stride = manifest.window.length, manifest.window.stride
        self.ring = self.length + SPARE
        self.cells = self.length * width
        self.nothing = np.full(len(manifest.sensors), np.nan)
        self.samples: list[NDArray[np.float64]] = []  # not written yet
        self.targets: list[int] = []  # the rows where they belong
        self.gaps: list[int] = []  # of them those that stand for an empty slot
        self.slots: list[int] = []  # of all others
        self.followed = 0
        self.watch = Watch(manifest, policy)
        self.touched: list[Window] = []  # machines that took something since the last `score`
        self.due: list[Window] = []
        self.ends: list[int] = []  # of each window that is due, the row after its newest
        self.numbers: list[int] = []  # and the number of its newest sample
        self.fresh: list[bool] = []  # and whether it does not continue the one before
        self.scores: Scores | None = None
        self.rows = np.empty((0, width), dtype=np.float32)
        self.smoothed = np.empty((0, len(manifest.sensors)))
        self.free: list[int] = []  # places without a machine
        self._steps = np.arange(-self.length, 0)
        self._fading = _fading(manifest.error.smoothing)

    def join(self) -> Window:
        """Makes a place for one more machine."""
        if not self.free:
            known = len(self.smoothed)
            more = max(1, known)
            self.rows = _longer(self.rows, more * self.ring)
            self.smoothed = _longer(self.smoothed, more)
            self.watch.grow(more)
            self.free += range(known + more - 1, known - 1, -1)
        place = self.free.pop()
        self.watch.join(place)
        return Window(self, place)

    def write(self, *, again: bool = False) -> None:
        """Scales and writes what was taken, and looks at the sensors' health unless that is known."""
        if self.samples:
            taken = np.concatenate(self.samples).reshape(len(self.samples), -1)
            targets = np.array(self.targets)
            self.rows[targets] = self.detector.scale(taken)
            if not again:
                if self.watch.watches:
                    if self.gaps:
                        taken, targets = np.delete(taken, self.gaps, 0), np.delete(targets, self.gaps)
                    self.watch.follow(taken, targets // self.ring, self.slots, self.followed)
                self.followed += len(self.slots)
            for each in (self.samples, self.targets, self.gaps, self.slots):
                each.clear()

    def forget(self) -> None:
        """Ends a batch: samples are numbered anew."""
        self.followed = 0
        self.watch.forget()

    def score(self, scratch: NDArray[np.float32]) -> None:
        """Scores the windows that are due.

        Args:
            scratch: Room for them, at least `cells` numbers for each.
        """
        self.write()
        self.scores = self._scores(scratch) if self.due else None
        for window in self.touched:
            window.waiting = 0
        for each in (self.touched, self.due, self.ends, self.numbers, self.fresh):
            each.clear()

    def _scores(self, scratch: NDArray[np.float32]) -> Scores:
        places = np.array([window.place for window in self.due])
        rows = places[:, None] * self.ring + (np.array(self.ends)[:, None] + self._steps) % self.ring
        windows = scratch[: len(places) * self.cells].reshape(*rows.shape, -1)
        self.rows.take(rows, axis=0, out=windows, mode="clip")  # nothing is clipped: "raise" would copy twice
        left_out = self._left_out()
        for row, sensors in left_out.items():
            windows[row, :, self.detector.columns.spread(sensors)] = np.nan
        errors = self.detector.errors(windows)
        usable = self.detector.usable(errors)
        share = self._smooth(errors.share, usable, left_out)
        return Scores(errors, share, self.detector.manifest, fresh=self.fresh.copy(), usable=usable)

    def _left_out(self) -> dict[int, NDArray[np.bool_]]:
        """By the row of a window that is due, the sensors whose values count as missing in it, shape (F,)."""
        left_out = self.watch.left_out
        if not left_out:
            return {}
        return {row: left_out[number] for row, number in enumerate(self.numbers) if number in left_out}

    def _smooth(
        self, share: NDArray[np.float64], usable: list[bool], left_out: Mapping[int, NDArray[np.bool_]]
    ) -> NDArray[np.float64]:
        """Each window's share as the weighted mean of its own and of the one before, shape (N, F).

        What a sensor that is left out has done before counts no longer.
        """
        due, fresh, means = self.due, self.fresh, self.smoothed
        weight = self.detector.manifest.error.smoothing
        smoothed: NDArray[np.float64] = share * (1 - weight)
        row, count = 0, len(due)
        while row < count:
            window, start = due[row], row
            row += 1
            if fresh[start]:
                window.begun = False
            if start in left_out:
                means[window.place, left_out[start]] = 0
            if not usable[start]:
                continue
            if window.begun:
                smoothed[start] += weight * means[window.place]
            else:
                smoothed[start] = share[start]
                window.begun = True
            # Windows of the same machine that follow at once, as they do where there is but one.
            while (
                row < count and due[row] is window and usable[row] and not fresh[row] and row not in left_out
            ):
                row += 1
            if row - start > 1:
                smoothed[start:row] = self._fading[: row - start, : row - start] @ smoothed[start:row]
            means[window.place] = smoothed[row - 1]
        return smoothed


def _longer(array: NDArray[Any], more: int) -> NDArray[Any]:
    """The array with so many rows more, which hold anything."""
    return np.concatenate([array, np.empty((more, array.shape[1]), array.dtype)])


@lru_cache(maxsize=4)  # thousands of fleets have the same one
def _fading(weight: float) -> NDArray[np.float64]:
    """What is left of each window's share in the mean of each later one, shape (`SPARE`, `SPARE`)."""
    age = np.subtract.outer(np.arange(SPARE), np.arange(SPARE))
    return np.where(age < 0, 0.0, weight ** np.maximum(age, 0))
