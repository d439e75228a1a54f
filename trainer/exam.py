"""What a detector is worth, without any recording of a failure: faults are put into rows that it never saw.

The rows that training would hold back for the threshold and the gate have no part in it. The others are
split again in the same way: a detector is fitted on the first part, and examined on the second.

All detectors get the same exam, whatever their window, scaling and error: the same rows count, and only
the order counts in which a detector ranks them. No threshold is needed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.alerts import AlertPolicy
from detector.history import ANOMALOUS, UNKNOWN, History
from trainer.calibration import replay_rows
from trainer.evaluation import rows
from trainer.faults import Kind, faults, inject
from trainer.measures import unit_errors
from trainer.parts import split
from trainer.probes import forgets
from trainer.problems import Unusable
from trainer.ranking import Ranked, Ranking
from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from detector.events import Scored
    from detector.scoring import Detector

LASTING = 60  # rows of a fault, where there are enough; the daemon's alerts open within a few
LEAD = 2  # normal rows before a fault, as a multiple of it: a third of the rows that count are faulty
LEAST = 3  # rows to put faults into: as many faulty ones as normal ones before them, and some to choose from
EACH = 4  # faults of each kind and strength: 72 in all, which are replayed in about a second
UNEXPLAINED_WEIGHT = 0.02  # breaks ties: see docs/tuning.md for how little it is worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How a detector did; every figure is between 0 and 1.

    Attributes:
        faults: By kind of fault, the area under precision and recall (average precision) of its rows
            among normal ones; higher is better.
        random: The same of random scores.
        labelled: The area under precision and recall of the rows labelled anomalous; None without any.
        unexplained: Share of the sensors' variance that the reconstruction of normal rows misses; lower
            is better, and 1 is what always answering the mean gets.
    """

    faults: Mapping[str, float]
    random: float
    labelled: float | None
    unexplained: float

    @property
    def detection(self) -> float:
        """The mean over the kinds of faults."""
        return float(np.mean([*self.faults.values()]))

    @property
    def score(self) -> float:
        """What is searched for, at most 1: detection, half of it that of real faults where there are some."""
        found = self.detection if self.labelled is None else (self.detection + self.labelled) / 2
        return found - UNEXPLAINED_WEIGHT * self.unexplained


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """The rows of an exam, the same for all detectors.

    Attributes:
        fitted_on: Rows for training, of which it holds back the last `calibration_share`.
        normal: Those last rows, on which the detectors are examined.
        deviations: The standard deviation of each sensor that varies in the rows fitted on.
        faulty: By kind of fault, normal rows with such a fault at their end.
        labelled: Rows before, in and after real faults.
    """

    fitted_on: tuple[History, ...]
    normal: tuple[History, ...]
    deviations: Mapping[str, float]
    faulty: Mapping[Kind, tuple[History, ...]]
    labelled: tuple[History, ...]

    @property
    def rows(self) -> int:
        """How many rows detectors are examined on."""
        return sum(map(len, self.normal))

    def judge(self, detector: Detector) -> Marks:
        """Replays the rows through the detector; nothing is learned from what comes out."""
        cases = [case for some in self.faulty.values() for case in some]
        said = _said(detector, [*cases, *self.labelled])
        ranked = {kind: _ranked(detector, some, said) for kind, some in self.faulty.items()}
        real = [found for one in self.labelled if (found := _ranked(detector, [one], said)) is not None]
        return Marks(
            faults={kind.value: found.auc_pr for kind, found in ranked.items() if found is not None},
            random=float(np.mean([found.auc_pr_random for found in ranked.values() if found is not None])),
            labelled=float(np.mean([found.auc_pr for found in real])) if real else None,
            unexplained=self._unexplained(detector),
        )

    def _unexplained(self, detector: Detector) -> float:
        errors = unit_errors(detector, self.normal)
        shares = [
            min(1.0, errors[name] / deviation**2) if name in errors else 1.0
            for name, deviation in self.deviations.items()
        ]
        return float(np.mean(shares))


def exam(
    histories: Sequence[History],
    *,
    calibration_share: float,
    longest: int,
    smoothing: float,
    stride: int,
    seed: int,
    channels: Collection[str] = (),
) -> Exam:
    """Makes the exam of histories, without a look at the values of rows that training would hold back.

    Args:
        histories: As for training.
        calibration_share: Share of the normal rows that is held back, and again of the others.
        longest: Samples in the longest window of any detector: so many rows and more come before the
            ones that count, so that all windows of all detectors are filled by then,
        smoothing: The largest weight of the past in any detector's error: and so many more that it has
            forgotten what was before.
        stride: Samples from window to window.
        seed: Of where the faults are.
        channels: Sensors that are no plain measurements, and have no faults.

    Raises:
        Unusable: No sensor varies, or there are too few rows for a fault.
    """
    not_held_back = split([history.normal() for history in histories], calibration_share).not_held_back
    parts = split(not_held_back, calibration_share)
    deviations = _deviations(parts.not_held_back, channels)
    most = max(map(len, parts.calibration))
    if not deviations or most < LEAST:
        raise Unusable(
            "history: must hold a plain sensor whose value changes, and rows to put faults into, "
            f"got {counted(len(deviations), 'such sensor')} and {counted(most, 'row')}"
        )
    context = longest + stride * forgets(smoothing)
    return Exam(
        fitted_on=not_held_back,
        normal=parts.calibration,
        deviations=deviations,
        faulty=_faulty(not_held_back, parts.calibration, deviations, context, seed),
        labelled=tuple(
            _closed(history, len(all_rows), len(all_rows) - len(judged), context)
            for history, all_rows, judged in zip(histories, not_held_back, parts.calibration, strict=True)
            if history.label is not None and (history.label == ANOMALOUS).any()
        ),
    )


def _deviations(histories: Sequence[History], channels: Collection[str]) -> dict[str, float]:
    """The standard deviation of each plain sensor that varies."""
    values = np.concatenate([history.values for history in histories])
    there = np.isfinite(values).any(axis=0)
    names = np.array(histories[0].sensors)[there].tolist()
    deviations = np.nanstd(values[:, there], axis=0).tolist()
    found = zip(names, deviations, strict=True)
    return {name: deviation for name, deviation in found if deviation > 0 and name not in channels}


def _faulty(
    not_held_back: Sequence[History],
    judged: Sequence[History],
    deviations: Mapping[str, float],
    context: int,
    seed: int,
) -> dict[Kind, tuple[History, ...]]:
    """Cases of each kind: rows for the context, which do not count, normal rows, and faulty ones at the end.

    Of more than `EACH` machines, those with the most rows are taken.
    """
    machines = sorted(range(len(judged)), key=lambda i: -len(judged[i]))[:EACH]
    cases: dict[Kind, list[History]] = {kind: [] for kind in Kind}
    for number, i in enumerate(machines):
        history, count = not_held_back[i], len(judged[i])
        if count < LEAST:
            continue
        first = len(history) - count
        lasting = min(LASTING, count // LEAST)
        for fault in faults(
            sorted(deviations),
            first=first + lasting,
            stop=len(history),
            lasting=lasting,
            each=EACH // len(machines),
            seed=seed + number,
        ):
            rows = inject(history, fault, deviations[fault.sensor])
            counted = max(first, fault.start - LEAD * lasting)
            name = f"{history.machine} {fault.kind} {len(cases[fault.kind])}"
            cases[fault.kind].append(_case(rows, name, counted, fault.stop, context))
    return {kind: tuple(some) for kind, some in cases.items()}


def _case(history: History, name: str, counted: int, stop: int, context: int) -> History:
    """Rows from `counted` on, and before them some that do not count."""
    first = max(0, counted - context)
    case = history.rows(slice(first, stop))
    assert case.label is not None
    case.label[: counted - first] = UNKNOWN
    return replace(case, machine=name)


def _closed(history: History, usable: int, fitted: int, context: int) -> History:
    """A labelled history without the rows that training would hold back, the others put together.

    Args:
        history: With labels.
        usable: How many of its rows that are not anomalous may be looked at.
        fitted: How many of those are fitted on, and do not count.
        context: Rows before the first one that counts.
    """
    assert history.label is not None
    anomalous = history.label == ANOMALOUS
    number = np.cumsum(~anomalous)  # of the row among those that are not anomalous, from 1
    kept = np.flatnonzero(anomalous | (number <= usable))
    label = np.where(~anomalous & (number <= fitted), UNKNOWN, history.label)[kept]
    steps = np.diff(history.at[kept])
    steps[np.diff(kept) > 1] = np.median(np.diff(history.at))
    at = history.at[0] + np.concatenate([[0], np.cumsum(steps)])
    whole = replace(history.rows(kept), machine=f"{history.machine} labelled", at=at, label=label)
    return _case(whole, whole.machine, int(np.argmax(label != UNKNOWN)), len(whole), context)


def _said(detector: Detector, histories: Sequence[History]) -> Mapping[str, list[Scored]]:
    """The scores of each history, all of them replayed together."""
    said = defaultdict(list)
    for scored in replay_rows(detector, histories, AlertPolicy()).scored:
        said[scored.machine].append(scored)
    return said


def _ranked(
    detector: Detector, histories: Sequence[History], said: Mapping[str, list[Scored]]
) -> Ranked | None:
    """How well the rows of all these histories are ranked together; None without rows of both labels.

    By their errors in place of scores, which are rounded for a threshold that there is not.
    """
    manifest, ranking = detector.manifest, Ranking()
    for history in histories:
        errors = [msgspec.structs.replace(scored, score=scored.error) for scored in said[history.machine]]
        laid = rows(history, errors, grid=manifest.grid, stride=manifest.window.stride)
        counts = laid.label != UNKNOWN
        ranking.add(laid.score[counts], laid.label[counts] == ANOMALOUS)
    return ranking.ranked()
