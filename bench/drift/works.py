"""Which walks are taken: every recording of smd and asd, and some simulated pumps, by every policy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bench.detection.protocol import Source, sources
from bench.detection.running import code
from bench.drift.courses import Course, recorded
from bench.drift.operator import Operator
from bench.drift.pump import Pump
from bench.drift.walking import Policy, Walked, walk
from bench.kept import done
from bench.stage import ROOT
from config import Settings, Trainer

KEPT = ROOT / ".bench-drift"
SETTINGS = Settings(trainer=Trainer(report="off"))  # the default, but for a report that changes nothing
SEEDS = (1, 2, 3)
DAILY, WEEKLY = timedelta(days=1), timedelta(days=7)
ATTENTIVE = Operator(share=0.5, delay=4 * 3_600_000)
"""Half of the alerts are answered, four hours after they opened."""


@dataclass(frozen=True, slots=True)
class Work:
    """One walk.

    Attributes:
        over: The recording or the simulation.
        policy: How models are kept up to date.
        operator: Who answers alerts.
    """

    over: Source | Pump
    policy: Policy
    operator: Operator | None = None

    def __str__(self) -> str:
        where = self.over.path if isinstance(self.over, Source) else f"pump {self.over.seed}"
        return f"{where}, {self.policy}{', answered' if self.operator else ''}"

    @property
    def every(self) -> timedelta:
        """How often a turn is due; once a week over months."""
        return DAILY if isinstance(self.over, Source) else WEEKLY

    @property
    def size(self) -> float:
        """How much there is to do, roughly."""
        rows = (
            self.over.rows * self.over.sensors
            if isinstance(self.over, Source)
            else 100_000 + 1_000 * self.over.days
        )
        return rows * (1 if self.policy is Policy.NONE else 20)

    def course(self) -> Course:
        return recorded(self.over) if isinstance(self.over, Source) else self.over.course()

    def kept(self, folder: Path) -> Path:
        """Where the result is, once there is one."""
        what = self.over.digest if isinstance(self.over, Source) else repr(self.over)
        names = "\0".join((_code(), what, self.policy, repr(self.operator)))
        return folder / f"{hashlib.sha256(names.encode()).hexdigest()[:24]}.json"


def recordings() -> list[Work]:
    """Over real machines: each by every policy, and once more with somebody who answers alerts."""
    machines = [source for source in sources() if source.of in ("smd", "asd")]
    return [
        *(Work(source, policy) for policy in Policy for source in machines),
        *(Work(source, Policy.SHIPPED, ATTENTIVE) for source in machines),
    ]


def pumps() -> list[Work]:
    """Over months, with a fault and without."""
    simulated = [Pump(seed, fault) for fault in (True, False) for seed in SEEDS]
    return [
        *(Work(pump, policy) for policy in Policy for pump in simulated),
        *(Work(pump, Policy.SHIPPED, ATTENTIVE) for pump in simulated),
    ]


def walked(
    works: list[Work], *, folder: Path = KEPT, told: Callable[[str], None] = print
) -> Mapping[Work, Walked]:
    """The results of all, those that were kept among them."""
    found = done(
        {work: work.kept(folder) for work in works}, take, Walked, size=lambda work: work.size, told=told
    )
    return {work: found[work] for work in works}


def take(work: Work) -> Walked:
    return walk(work.course(), work.policy, SETTINGS, work.every, work.operator)


def _code() -> str:
    """A digest of the code from which figures follow."""
    digest = hashlib.sha256(code(own=True).encode())
    for path in sorted((ROOT / "bench" / "drift").glob("*.py")):
        if path.stem not in ("page", "pictures", "__main__"):
            digest.update(path.read_bytes())
    digest.update((ROOT / "demo" / "pump.py").read_bytes())
    return digest.hexdigest()
