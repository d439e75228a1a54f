"""Every detector on every file, on all cores; what was measured once is not measured again.

A result is kept under what it follows from: the code that made it, the detector, the file. So a run
that was stopped goes on where it was, and a change of the trainer measures everything anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bench.detection import baselines, ours
from bench.detection.judging import Detector, Judged, judge
from bench.detection.protocol import Source
from bench.kept import done
from bench.stage import ROOT

KEPT = ROOT / ".bench-detection"
OURS = ("config", "detector", "registry", "trainer")  # the packages from which our figures follow
MEASURING = ("baselines", "judging", "ours", "protocol", "running")  # what all of them follow from
SHARED = (
    *("detector/alerts.py", "trainer/evaluation.py", "trainer/ranking.py"),
    *("bench/peers/scoring.py", "bench/peers/pyod-river.txt"),
)
LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")  # that compute figures,
OUR_LIBRARIES = ("ai-edge-litert", "keras", "tensorflow")  # and those of anomalyd


@dataclass(frozen=True, slots=True)
class Work:
    """One detector on one file; `unseen` as `judge` has it."""

    detector: str
    source: Source
    unseen: bool = False

    def __str__(self) -> str:
        return f"{self.detector}, {self.source.path}"

    @property
    def numbers(self) -> int:
        """How much there is to do, roughly."""
        return self.source.rows * self.source.sensors

    def kept(self, folder: Path) -> Path:
        """Where the result is, once there is one."""
        own = self.detector in ours.detectors()
        names = "\0".join((code(own=own), self.detector, self.source.digest, str(self.unseen)))
        return folder / f"{hashlib.sha256(names.encode()).hexdigest()[:24]}.json"


def detectors() -> dict[str, Detector]:
    """All by name; the default of anomalyd first, then its other kinds, then the others."""
    return ours.detectors() | baselines.detectors()


@cache
def code(*, own: bool) -> str:
    """A digest of the code and the libraries from which figures follow; `own`: those of anomalyd."""
    files = [ROOT / "bench" / "detection" / f"{name}.py" for name in MEASURING]
    files += [ROOT / name for name in SHARED]
    if own:
        files += sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    for name in (*LIBRARIES, *(OUR_LIBRARIES if own else ())):
        digest.update(f"{name} {version(name)}\0".encode())
    return digest.hexdigest()


def measured(
    works: Sequence[Work], *, folder: Path = KEPT, told: Callable[[str], None]
) -> dict[Work, Judged]:
    """The results of all; the largest first, so that no core waits long for another.

    Args:
        works: What to measure.
        folder: Holds what was measured before, and gets what is measured.
        told: Is told how it goes on.
    """
    paths = {work: work.kept(folder) for work in works}
    return done(paths, _measure, Judged, size=lambda work: work.numbers, told=told)


def _measure(work: Work) -> Judged:
    return judge(detectors()[work.detector], work.source.read(), unseen=work.unseen)
