"""Recordings of real machines: the quality that must not be lost, and live against replay."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bench.detection.figures import DEFAULT
from bench.detection.live import compare
from bench.detection.protocol import DATA, sources
from bench.detection.running import Work, measured
from trainer.evaluation import Counts, summed

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded machines in {DATA} (set ANOMALYD_DATA)"),
]


@dataclass(frozen=True, slots=True)
class Floor:
    """What the default of `anomalyd train` must reach on these files, with its fixed seed.

    Attributes:
        machines: The files.
        vus_pr: At least.
        f1: At least.
        far: At most, in percent.
    """

    machines: tuple[str, ...]
    vus_pr: float
    f1: float
    far: float


FLOORS = {
    "skab": Floor(("valve1-0", "valve1-6", "valve1-12", "other-1", "other-5", "other-9"), 0.91, 0.80, 18.0),
    "tep": Floor(("fault-03", "fault-10", "fault-15", "fault-19", "fault-21"), 0.90, 0.52, 1.0),
    "asd": Floor(("omi-3", "omi-7", "omi-9"), 0.60, 0.50, 5.0),
    "nab": Floor(("machine_temperature_system_failure",), 0.50, 0.43, 5.0),
}
"""A little below what was measured, as other processors and libraries round differently."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Counts]]:
    """What the default came to in each set, measured as `make bench-detection` does it."""
    works = [
        Work(DEFAULT, source)
        for source in sources()
        if source.of in FLOORS and source.machine in FLOORS[source.of].machines
    ]
    results = measured(works, folder=tmp_path_factory.mktemp("measured"), told=print)
    found: dict[str, list[Counts]] = {name: [] for name in FLOORS}
    for work, result in results.items():
        assert result.test is not None, result.problem
        found[work.source.of].append(result.test)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_the_default_detects_no_worse_than_it_did(name: str, counted: dict[str, list[Counts]]) -> None:
    floor, found = FLOORS[name], summed(counted[name])
    assert found.files == len(floor.machines)
    assert found.vus_pr is not None
    assert found.f1 is not None
    assert found.far is not None
    reached = (found.vus_pr >= floor.vus_pr, found.f1 >= floor.f1, found.far <= floor.far)
    assert all(reached), f"VUS-PR {found.vus_pr:.3f}, F1 {found.f1:.3f}, FAR {found.far:.1f} %, not {floor}"


@pytest.mark.slow
def test_alerts_are_identical_live_and_in_replay() -> None:
    live, replayed = compare()
    assert live == replayed
    assert live
