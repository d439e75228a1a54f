"""What every detector reached, per set and over the sets that count, and which goals that meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.detection.judging import Judged
from bench.detection.protocol import SETS
from bench.detection.running import Work
from trainer.evaluation import Counts, Evaluation, summed

DEFAULT = "anomalyd"
PCA = "causal PCA, k = 10"  # of the two thresholds the one with fewer false alarms
COUNTED = tuple(name for name, of in SETS.items() if of.counts)

Results = Mapping[Work, Judged]


@dataclass(frozen=True, slots=True)
class Reached:
    """One detector over all files.

    Attributes:
        detector: Its name.
        by_set: Figures of the rows to judge in files with events; a set without one is missing.
        held_back: Of normal rows from which thresholds were learned, in the sets that count.
        unseen: Of normal rows of these sets of which nothing was learned; None where not asked for.
        seconds: For learning and scoring, all files together.
        refused: Files that it refused, with the reason.
    """

    detector: str
    by_set: Mapping[str, Evaluation]
    held_back: Evaluation
    unseen: Evaluation | None
    seconds: float
    refused: tuple[str, ...]

    def mean(self, figure: Callable[[Evaluation], float | None]) -> float | None:
        """The mean over the sets that count; None unless all were measured."""
        found = [figure(self.by_set[name]) for name in COUNTED if name in self.by_set]
        known = [one for one in found if one is not None]
        return float(np.mean(known)) if len(known) == len(COUNTED) else None


def reached(results: Results) -> list[Reached]:
    """Every detector, in the order of the results."""
    return [_reached(name, results) for name in dict.fromkeys(work.detector for work in results)]


def _reached(detector: str, results: Results) -> Reached:
    own = {work.source: result for work, result in results.items() if work.detector == detector}
    counted = {source: result for source, result in own.items() if SETS[source.of].counts}
    tests: dict[str, list[Counts]] = {}
    for source, result in own.items():
        if result.test and result.test.anomalous:
            tests.setdefault(source.of, []).append(result.test)
    unseen = [result.unseen for result in counted.values() if result.unseen]
    healthy = [result.test for result in counted.values() if result.test and not result.test.anomalous]
    return Reached(
        detector=detector,
        by_set={name: summed(tests[name]) for name in SETS if name in tests},
        held_back=summed([result.held_back for result in counted.values() if result.held_back]),
        unseen=summed(unseen + healthy) if unseen else None,
        seconds=sum(result.seconds for result in own.values()),
        refused=tuple(f"{source.path}: {result.problem}" for source, result in own.items() if result.problem),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One of the figures to reach.

    Attributes:
        what: The figure.
        floor, goal: In words.
        found: What was reached, in words.
        floor_met, goal_met: Whether it is.
    """

    what: str
    floor: str
    goal: str
    found: str
    floor_met: bool
    goal_met: bool

    @property
    def met(self) -> str:
        """In a word."""
        return "goal" if self.goal_met else "floor" if self.floor_met else "**neither**"


def goals(all_reached: Sequence[Reached]) -> list[Goal]:
    """The figures to reach, as the default of `anomalyd train` reaches them; those that were measured."""
    by_name = {one.detector: one for one in all_reached}
    ours, pca = by_name[DEFAULT], by_name[PCA]
    found = (
        _skab(ours),
        _volume(ours, pca),
        _worst(ours, pca),
        _tep(ours),
        _quiet("held-back normal rows", ours.held_back),
        _quiet("normal rows never seen", ours.unseen),
    )
    return [goal for goal in found if goal]


def _skab(ours: Reached) -> Goal | None:
    of = ours.by_set.get("skab")
    if not of or of.f1 is None or of.far is None:
        return None
    return Goal(
        what="skab: F1 at false alarm rate",
        floor="≥ .78 at ≤ 15 %",
        goal="≥ .82 at ≤ 10 %",
        found=f"{of.f1:.3f} at {of.far:.1f} %",
        floor_met=of.f1 >= 0.78 and of.far <= 15,
        goal_met=of.f1 >= 0.82 and of.far <= 10,
    )


def _volume(ours: Reached, pca: Reached) -> Goal | None:
    mean, other = ours.mean(lambda of: of.vus_pr), pca.mean(lambda of: of.vus_pr)
    if mean is None or other is None:
        return None
    return Goal(
        what=f"mean VUS-PR over {', '.join(COUNTED)}",
        floor=f"above causal PCA's, {other:.3f}",
        goal="≥ .72",
        found=f"{mean:.3f}",
        floor_met=mean > other,
        goal_met=mean >= 0.72,
    )


def _worst(ours: Reached, pca: Reached) -> Goal | None:
    behind = {
        name: (pca.by_set[name].vus_pr or 0.0) - (ours.by_set[name].vus_pr or 0.0)
        for name in COUNTED
        if name in ours.by_set and name in pca.by_set
    }
    if not behind:
        return None
    worst = max(behind, key=lambda name: behind[name])
    return Goal(
        what="VUS-PR behind causal PCA's in the worst set",
        floor="–",
        goal="≤ .02",
        found=f"{behind[worst]:+.3f} ({worst})",
        floor_met=False,
        goal_met=behind[worst] <= 0.02,
    )


def _tep(ours: Reached) -> Goal | None:
    of = ours.by_set.get("tep")
    if not of or of.recall is None or of.far is None:
        return None
    return Goal(
        what="tep: recall at false alarm rate",
        floor="≥ 75 % at ≤ 3 %",
        goal="≥ 82 % at ≤ 3 %",
        found=f"{100 * of.recall:.1f} % at {of.far:.1f} %",
        floor_met=of.recall >= 0.75 and of.far <= 3,
        goal_met=of.recall >= 0.82 and of.far <= 3,
    )


def _quiet(where: str, of: Evaluation | None) -> Goal | None:
    if not of or of.false_alerts_per_day is None:
        return None
    return Goal(
        what=f"false alert episodes a day on {where}",
        floor="≤ 1",
        goal="≤ .3",
        found=f"{of.false_alerts_per_day:.2f} ({of.false_alerts} in all)",
        floor_met=of.false_alerts_per_day <= 1,
        goal_met=of.false_alerts_per_day <= 0.3,
    )
