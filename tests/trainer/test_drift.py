from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from config.settings import Settings
from daemon.payloads import iso
from detector.grid import Grid
from detector.history import History
from detector.labels import Label, LabelKind
from detector.litert import LiteRTModel
from detector.manifest import HistorySpec
from detector.scoring import Detector
from registry.drifts import Drift, Kind
from tests import plant
from trainer import drift_memory
from trainer.drift_follow import Watched, drift_of, follow
from trainer.drift_memory import Followed
from trainer.trend import rising

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
A_DAY = 288  # readings
KNOWN = 10  # days that the model knows


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The plant's, which expects of each sensor the mean of all three; a reading comes every five minutes."""
    known = HistorySpec(("plant.csv",), ("press",), 100, 100, "", at(KNOWN), "")
    manifest = msgspec.structs.replace(
        plant.manifest("made", None, 0.3), grid=Grid(5 * MINUTE), history=known
    )
    return Detector(manifest, LiteRTModel(plant.model(), length=plant.LENGTH, width=3))


def at(day: float) -> str:
    return iso(round(plant.START + day * DAY))


def course(days: int, change: NDArray[np.float64] | None = None, *, seed: int = 0) -> History:
    """Three sensors that follow one load, in which neighbours are alike; `change` in deviations, (N, 3)."""
    rng = np.random.default_rng(seed)
    count = days * A_DAY
    load = np.zeros(count)
    for row, shock in enumerate(rng.standard_normal(count).tolist()):
        load[row] = 0.98 * load[row - 1] + 0.2 * shock  # holds for hours
    moved = np.sin(np.arange(count) / A_DAY * 2 * np.pi) + load
    scaled = moved[:, None] * 0.7 + 0.1 * rng.standard_normal((count, 3))
    if change is not None:
        scaled += change
    values = np.array(plant.OFFSET) + np.array(plant.SCALE) * scaled
    times = plant.START + 5 * MINUTE * np.arange(count, dtype=np.int64)
    return History("press", plant.SENSORS, times, values)


def day(days: int) -> NDArray[np.float64]:
    return np.arange(days * A_DAY) / A_DAY


def wear(days: int, begin: float, end: float, size: float) -> NDArray[np.float64]:
    """The pressure leaves the others, more and more."""
    course = np.zeros((days * A_DAY, 3))
    course[:, 1] = size * ((day(days) - begin) / (end - begin)).clip(0, 1)
    return course


def watched(detector: Detector, history: History, *, labels: tuple[Label, ...] = ()) -> Watched:
    known = history.rows(history.at < plant.START + KNOWN * DAY)
    return Watched(
        "press",
        detector,
        (known,),
        lambda since: history.rows(history.at >= since),
        int(history.at[-1]),
        labels=labels,
    )


def measured(detector: Detector, history: History, *, labels: tuple[Label, ...] = ()) -> Drift:
    one, settings = watched(detector, history, labels=labels), Settings()
    return drift_of(one, follow(one, None, settings), settings, 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_is_as_it_was_does_not_drift(detector: Detector, seed: int) -> None:
    found = measured(detector, course(30, seed=seed))
    assert found.kind is Kind.NONE
    assert found.since is None
    assert not found.sensors


def test_wear_that_grows_over_days_is_a_fault_that_develops_before_any_alert(detector: Detector) -> None:
    history = course(20, wear(20, 14, 24, 1.2))
    found = measured(detector, history)
    assert found.kind is Kind.DEVELOPING
    assert found.sensors[0].sensor == "pressure"
    assert found.score is not None
    assert found.score < 1
    assert found.since is not None
    assert abs(found.since - (plant.START + 14 * DAY)) < 2 * DAY
    assert "not level yet" in found.text


def test_a_season_that_moves_all_sensors_together_is_drift(detector: Detector) -> None:
    season = 2.5 * ((day(30) - 14) / 16).clip(0, 1)[:, None].repeat(3, axis=1)
    found = measured(detector, course(30, season))
    assert found.kind is Kind.DRIFT
    assert {part.sensor for part in found.sensors} == {*plant.SENSORS}
    assert all(part.size is not None and part.size > 0.5 for part in found.sensors)


def test_another_set_point_has_settled_once_the_error_has_been_level_for_long_enough(
    detector: Detector,
) -> None:
    change = np.zeros((20 * A_DAY, 3))
    change[day(20) >= 14, 1] = 1.0
    history = course(20, change)
    early = measured(detector, history.rows(history.at < plant.START + 16 * DAY))
    late = measured(detector, history)
    assert (early.kind, late.kind) == (Kind.DEVELOPING, Kind.SETTLED)
    assert early.since == late.since
    assert late.since is not None
    assert abs(late.since - (plant.START + 14 * DAY)) <= 6 * HOUR
    assert late.sensors[0].sensor == "pressure"


def test_what_rose_for_long_must_be_level_for_as_long(detector: Detector) -> None:
    """Over any three days a slow rise looks level in the end."""
    slowly = course(65, wear(65, 12, 65, 3.0))
    assert measured(detector, slowly).kind is Kind.DEVELOPING
    level = course(40, wear(40, 12, 20, 1.2))
    assert measured(detector, level).kind is Kind.SETTLED


def test_a_suspected_fault_that_somebody_calls_a_false_alarm_is_normal(detector: Detector) -> None:
    history = course(20, wear(20, 14, 24, 1.2))
    start = plant.START + 18 * DAY
    false = Label("press", LabelKind.FALSE_ALARM, start, start + HOUR, noted_at=0)
    assert measured(detector, history, labels=(false,)).kind is Kind.SETTLED


def test_time_that_somebody_has_called_off_shows_no_drift(detector: Detector) -> None:
    history = course(20, wear(20, 14, 24, 1.2))
    off = Label("press", LabelKind.OFF, plant.START + 13 * DAY, None, noted_at=0)
    assert measured(detector, history, labels=(off,)).kind is Kind.NONE


def test_a_machine_of_which_little_is_known_is_not_judged(detector: Detector) -> None:
    assert measured(detector, course(KNOWN)).kind is Kind.UNKNOWN


def test_without_memory_the_first_days_are_what_is_usual(detector: Detector) -> None:
    history = course(30, wear(30, 24, 34, 1.2))
    one, settings = replace(watched(detector, history), remembered=()), Settings()
    followed = follow(one, None, settings)
    assert len(followed.usual) == 72
    assert drift_of(one, followed, settings, 0).kind is Kind.DEVELOPING


def test_measuring_again_reads_what_is_new_and_finds_the_same(detector: Detector) -> None:
    history, settings = course(20, wear(20, 14, 24, 1.2)), Settings()
    whole = follow(watched(detector, history), None, settings)
    read: list[int] = []
    followed: Followed | None = None
    for hours in range(24 * 11, 24 * 20 + 1, 7):
        until = plant.START + hours * HOUR
        one = watched(detector, history.rows(history.at < until))
        noting = replace(one, read=lambda since, one=one: _noted(read, one, since))  # type: ignore[misc]
        followed = follow(noting, followed, settings)
    assert followed is not None
    last = follow(watched(detector, history), followed, settings)
    assert np.array_equal(last.newest.at, whole.newest.at)
    assert np.allclose(last.newest.score, whole.newest.score)
    assert np.allclose(last.newest.level, whole.newest.level)
    assert max(read[1:]) <= 10 * 12, "more was read than seven hours, a block and a window"


def _noted(read: list[int], one: Watched, since: int) -> History:
    history = one.read(since)
    read.append(len(history))
    return history


def test_what_is_kept_between_measurements_survives_the_disk(detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path
    followed = follow(watched(detector, course(15)), None, Settings())
    drift_memory.write(folder, followed)
    again = drift_memory.read(folder, "press")
    assert again is not None
    assert again.about == followed.about
    assert np.array_equal(again.newest.share, followed.newest.share)
    drift_memory.path_of(folder, "press").write_bytes(b"PK\x03\x04 damaged")
    assert drift_memory.read(folder, "press") is None
    drift_memory.forget(folder, ())
    assert not list((folder / drift_memory.FOLDER).iterdir())


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.8])
def test_numbers_that_are_alike_rise_rarely_by_chance(alike: float) -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        numbers = np.zeros(72)
        for place, shock in enumerate(rng.standard_normal(72).tolist()):
            numbers[place] = alike * numbers[place - 1] + shock
        found += rising(numbers)
    assert found <= 12  # 1 % of 200 is wished for, up to 6 % where neighbours are very much alike
    assert rising(np.arange(72) / 20 + rng.standard_normal(72))
