from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from config.streams import Channel
from detector.history import History
from tests.trainer.examples import SECOND, START, pump, settings
from tests.trainer.pages import Page
from trainer.facts import ColumnTally, Counts, InMemory
from trainer.groups import correlations
from trainer.look import window_spec
from trainer.parts import WindowCounter, count_windows, learn_grid
from trainer.regimes import changes
from trainer.survey import Survey, survey
from trainer.survey_page import survey_page
from trainer.verdict import check, check_sources

NAMES = ("flow", "pressure", "current")


@dataclass(frozen=True)
class InPieces:
    """A history in pieces of so many rows."""

    history: History
    size: int

    @property
    def machine(self) -> str:
        return self.history.machine

    @property
    def sensors(self) -> tuple[str, ...]:
        return self.history.sensors

    def blocks(self) -> Iterator[History]:
        for start in range(0, len(self.history), self.size):
            yield self.history.rows(slice(start, start + self.size))


def odd_pump(rows: int = 900) -> History:
    """With holes, rows of one time, empty cells, a stuck stretch, jitter and labelled rows."""
    history = pump(rows, label=True)
    random = np.random.default_rng(3)
    at = history.at + random.integers(-200, 200, rows)
    at[400:] += 60 * SECOND
    at[700:] += 3 * SECOND
    at[50] = at[49]
    values = history.values.copy()
    values[random.random(values.shape) < 0.1] = np.nan
    values[200:260, 1] = 7.5
    values[500, 2] = 99.0
    label = np.zeros(rows, np.int8)
    label[300:320] = 1
    return History("pump-1", NAMES, at, values, label)


@pytest.mark.parametrize("size", [1, 7, 64, 333])
def test_a_history_in_pieces_gets_the_verdict_of_the_whole(size: int) -> None:
    wishes, history = settings().trainer, odd_pump()
    whole = check([history], wishes)
    pieces = check_sources([InPieces(history, size)], wishes)
    assert replace(pieces, sensors=()) == replace(whole, sensors=())
    for one, other in zip(pieces.sensors, whole.sensors, strict=True):
        assert replace(one, mean=0, std=0) == replace(other, mean=0, std=0)
        assert (one.mean, one.std) == pytest.approx((other.mean, other.std))


@pytest.mark.parametrize("size", [1, 5, 50])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_are_counted_in_pieces_as_in_the_whole(size: int, stride: int) -> None:
    wishes = settings(stride=stride).trainer
    history = odd_pump(600)
    grid, spec = learn_grid([history], None), window_spec(wishes)
    counter = WindowCounter(grid, spec)
    for piece in InPieces(history, size).blocks():
        counter.add(piece)
    assert (counter.ending, counter.scorable) == count_windows([history], grid, spec)
    assert counter.scorable > 100


def test_counts_have_the_quantiles_of_the_numbers() -> None:
    numbers = np.random.default_rng(0).integers(0, 50, 1001)
    counts = Counts()
    for piece in np.array_split(numbers, 7):
        counts.add(piece)
    for share in (0.0, 0.05, 0.5, 0.95, 1.0):
        assert counts.quantile(share) == np.quantile(numbers, share)
    assert Counts().quantile(0.5) is None


def test_stretches_of_the_same_value_are_found_across_pieces() -> None:
    values = np.array([1, 1, 1, 1, 2, np.nan, np.nan, 3, 3, 3, 3, 3, 4, 4], float)
    tally = ColumnTally(window=3)
    for start in range(0, len(values), 2):
        tally.add(values[start : start + 2], np.arange(start, start + 2))
    assert (tally.longest, tally.longest_from, tally.stuck) == (5, 7, 9)
    assert (tally.first, tally.first_at, tally.changed_at) == (1.0, 0, 4)


def surveyed(history: History, size: int = 100, **channels: Channel) -> Survey:
    return survey([InPieces(history, size)], settings().trainer, channels=channels)


def test_a_sensor_is_profiled() -> None:
    history = odd_pump()
    found = surveyed(history)
    assert found.profiles is not None
    normal = history.normal()
    for i, one in enumerate(found.profiles.sensors):
        column = normal.values[~np.isnan(normal.values[:, i]), i]
        low, median, high = np.quantile(column, [0.25, 0.5, 0.75])
        assert (one.first_quartile, one.median, one.third_quartile) == (low, median, high)
    assert [one.outliers for one in found.profiles.sensors] == [0, 60, 1]
    pressure = found.verdict.sensors[1]
    assert pressure.longest_stuck == 60
    assert pressure.stuck == pytest.approx(60 / 880)
    assert pressure.stuck_from == history.at[200]
    (course,) = found.profiles.courses
    assert course.holes.tolist() == [
        [history.at[299], history.at[320]], [history.at[399], history.at[400]]
    ]  # fmt: skip
    assert np.nanmax(course.high[:, 2]) == 99
    assert (found.rows, found.rows_needed) == (880, 116)


@pytest.mark.parametrize(("missing", "bridged"), [(5, True), (6, False)])
def test_the_holes_of_a_course_are_those_that_windows_do_not_bridge(missing: int, *, bridged: bool) -> None:
    assert settings().trainer.max_gap == 5
    history = pump(300)
    found = surveyed(history.rows(np.delete(np.arange(300), np.arange(100, 100 + missing))))
    assert found.profiles is not None
    (course,), (facts,) = found.profiles.courses, found.verdict.machines
    assert len(course.holes) == facts.holes == (0 if bridged else 1)


def test_a_category_is_not_measured() -> None:
    found = surveyed(odd_pump(), flow=Channel(kind="category"))
    assert found.profiles is not None
    assert [one.sensor for one in found.profiles.sensors] == ["pressure", "current"]
    assert "flow" in Page(survey_page(found, ["pump.csv"])).text


def test_sensors_that_move_together_are_a_group() -> None:
    random = np.random.default_rng(0)
    load, other = random.normal(size=(2, 500))
    noise = random.normal(size=(6, 500)) / 10
    columns = [load, other, -np.exp(load), np.ones(500), load, noise[4]]
    sample = np.column_stack(columns)
    sample[:, [0, 1, 4]] += noise[[0, 1, 3]].T
    sample[::7, 0] = np.nan
    found = correlations(("a", "b", "minus", "still", "c", "alone"), sample)
    assert found is not None
    assert [{*group} for group in found.groups] == [{"a", "minus", "c"}]
    assert {*found.order[:3]} == {"a", "minus", "c"}
    place = {name: i for i, name in enumerate(found.order)}
    assert found.matrix[place["a"], place["minus"]] < -0.8
    assert np.isnan(found.matrix[place["still"]]).all()
    assert correlations(("a",), sample[:, :1]) is None
    assert correlations(("a", "b"), sample[:5, :2]) is None


def level(kind: str, rows: int = 2000) -> History:
    random = np.random.default_rng(1)
    steps = np.arange(rows)
    values = random.normal(size=(rows, 2))
    if kind == "two levels":
        values[rows // 2 :, 1] += 8
    elif kind == "drift":
        values[:, 1] += steps / rows * 20
    elif kind == "swing":
        values[:, 1] += 5 * np.sin(steps / 60)
    return History("pump-1", ("a", "b"), START + SECOND * steps, values)


def test_a_change_of_level_is_found_and_no_drift_swing_or_noise_is_one() -> None:
    for kind in ("noise", "drift", "swing"):
        assert surveyed(level(kind)).changes == (), kind
    (change,) = surveyed(level("two levels")).changes
    assert abs(change.at - (START + 1000 * SECOND)) < 10 * SECOND
    assert change.sensors == 1
    (shift,) = change.shifts
    assert shift.sensor == "b"
    assert shift.after - shift.before == pytest.approx(8, abs=0.3)


def test_a_sensor_with_a_value_too_large_to_square_has_no_regimes() -> None:
    history = level("two levels")
    values = history.values.copy()
    values[100, 0] = 1e300
    found = surveyed(replace(history, values=values))
    assert [shift.sensor for change in found.changes for shift in change.shifts] == ["b"]


def test_a_history_too_short_for_regimes_has_none() -> None:
    found = surveyed(pump(20))
    assert found.changes == ()
    assert found.profiles is not None
    assert changes(found.profiles.courses[0], NAMES) == ()


@pytest.mark.parametrize("kind", ["odd", "short", "still", "empty", "strangers", "fleet"])
def test_the_page_of_any_history_is_whole(kind: str) -> None:
    history = odd_pump()
    sources = {
        "odd": [history],
        "short": [pump(3)],
        "still": [replace(history, values=np.ones((900, 3)))],
        "empty": [replace(history, values=np.full((900, 3), np.nan))],
        "strangers": [history, History("other", ("x",), history.at, history.values[:, :1])],
        "fleet": [pump(300, machine=f"<b>{i}") for i in range(60)],
    }[kind]
    found = survey([InMemory(one) for one in sources], settings().trainer)
    page = Page(survey_page(found, ["<pump>.csv"]))
    assert page.open == []
    assert page.outside == set()
    assert "script" not in page.tags
    assert page.headings[:2] == ["Time", "Sensors"]
    assert ("Not usable for training" in page.text) is bool(found.verdict.errors)
    assert "<pump>.csv" in page.text
    assert all(error in page.text for error in found.verdict.errors)


def test_what_is_kept_does_not_grow_with_the_rows() -> None:
    @dataclass(frozen=True)
    class Endless:
        pieces: int
        machine: str = "pump-1"
        sensors: tuple[str, ...] = NAMES

        def blocks(self) -> Iterator[History]:
            for number in range(self.pieces):
                yield pump(2000, seed=number, start=START + number * 2000 * SECOND)

    def peak(pieces: int) -> int:
        tracemalloc.start()
        survey([Endless(pieces)], settings().trainer)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # what is imported and compiled once
    assert peak(120) < 1.5 * peak(30)
