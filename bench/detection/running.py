"""Every detector on every file, on all cores; what was measured once is not measured again.

A result is kept under what it follows from: the code that made it, the detector, the file. So a run
that was stopped goes on where it was, and a change of the trainer measures everything anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import msgspec

from bench.detection import baselines, ours
from bench.detection.judging import Detector, Judged, judge
from bench.detection.protocol import Source
from bench.stage import ROOT
from registry.files import write_whole

KEPT = ROOT / ".bench-detection"
OURS = ("config", "detector", "registry", "trainer")  # the packages from which our figures follow
MEASURING = ("baselines", "judging", "ours", "protocol", "running")  # what all of them follow from
SHARED = (
    *("detector/alerts.py", "trainer/evaluation.py", "trainer/ranking.py"),
    *("bench/peers/scoring.py", "bench/peers/pyod-river.txt"),
)
LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")  # that compute figures,
OUR_LIBRARIES = ("ai-edge-litert", "keras", "tensorflow")  # and those of anomalyd
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """One detector on one file; `unseen` as `judge` has it."""

    detector: str
    source: Source
    unseen: bool = False

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
    found = {
        work: msgspec.json.decode(path.read_bytes(), type=Judged)
        for work, path in paths.items()
        if path.exists()
    }
    left = sorted(set(works) - found.keys(), key=lambda work: -work.numbers)
    if found:
        told(f"{len(found)} of {len(works)} were measured before, in {folder.name}/")
    if not left:
        return found
    folder.mkdir(exist_ok=True)
    before, whole, done = time.monotonic(), sum(work.numbers for work in left), 0
    context = get_context("spawn")  # a fork would take over threads of TensorFlow in any state
    count = min(len(os.sched_getaffinity(0)), len(left))
    with _environment(ONE_CORE), ProcessPoolExecutor(count, mp_context=context) as pool:
        futures = {pool.submit(_measure, work, paths[work]): work for work in left}
        for number, future in enumerate(as_completed(futures), start=1):
            work, result = futures[future], future.result()
            found[work] = result
            done += work.numbers
            spent = time.monotonic() - before
            told(
                f"{number} of {len(left)}: {work.detector}, {work.source.path}, {result.seconds:.0f} s; "
                f"about {spent * (whole - done) / done / 60:.0f} min left"
            )
    return found


def _measure(work: Work, kept: Path) -> Judged:
    """Measures in another process, and keeps the result."""
    result = judge(detectors()[work.detector], work.source.read(), unseen=work.unseen)
    write_whole(kept, msgspec.json.encode(result))
    return result


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """For processes that start inside."""
    before = dict(os.environ)
    os.environ |= variables
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
