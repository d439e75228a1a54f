from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from detector.grid import Grid
from detector.manifest import WindowSpec
from tests.trainer.examples import SECOND, pump, trained_pump, with_values
from trainer import memory

GRID, SPEC = Grid(SECOND), WindowSpec(6, max_gap=2)


def test_what_is_remembered_is_read_as_it_was_with_holes_and_texts(tmp_path: Path) -> None:
    values = pump(300).values.copy()
    values[20:30, 1] = np.nan
    first = dataclasses.replace(with_values(pump(300), values), texts={7.5: "steel, coated"})
    second = pump(100, machine="pump-2", seed=1)
    (tmp_path / memory.FILE).write_bytes(memory.pack([first, second]))
    one, other = memory.read(tmp_path)
    assert (one.machine, one.sensors, one.texts) == (first.machine, first.sensors, first.texts)
    np.testing.assert_array_equal(one.values, first.values)
    np.testing.assert_array_equal(other.at, second.at)


def test_a_bundle_without_memory_or_with_a_broken_one_remembers_nothing(tmp_path: Path) -> None:
    assert memory.read(tmp_path) == ()
    for content in (b"", b"PK", memory.pack([pump(50)])[:-40]):
        (tmp_path / memory.FILE).write_bytes(content)
        assert memory.read(tmp_path) == ()


def test_no_more_is_remembered_than_asked_for_and_a_rare_regime_is_among_it() -> None:
    history = pump(10_000)
    values = history.values.copy()
    values[2000:2100] += 50
    remembered = memory.sample([with_values(history, values), pump(100, machine="small")], GRID, SPEC, 1000)
    assert {one.machine for one in remembered} == {"pump-1", "small"}
    assert sum(map(len, remembered)) <= 1000
    assert (remembered[0].values[:, 2] > 25).any()
    assert memory.sample([history], GRID, SPEC, 0) == ()


def test_a_training_remembers_its_history(tmp_path: Path) -> None:
    made = trained_pump()
    (tmp_path / memory.FILE).write_bytes(made.files[memory.FILE])
    (one,) = memory.read(tmp_path)
    np.testing.assert_array_equal(one.values, pump(300).values)
    np.testing.assert_array_equal(one.values, made.remembered[0].values)


def test_whatever_bytes_of_a_memory_are_changed_reading_it_raises_nothing(tmp_path: Path) -> None:
    random, content = np.random.default_rng(1), np.frombuffer(memory.pack([pump(50)]), np.uint8)
    for _ in range(300):
        damaged = content.copy()
        places = random.integers(0, len(content), random.integers(1, 4))
        damaged[places] = random.integers(0, 256, len(places))
        (tmp_path / memory.FILE).write_bytes(damaged.tobytes())
        memory.read(tmp_path)
