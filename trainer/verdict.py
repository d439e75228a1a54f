"""Whether a history can carry a model: what is in it, what is wrong with it, what is worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from detector.grid import Grid
from detector.manifest import WindowSpec
from trainer.facts import MachineFacts, SensorFacts, machine_facts, sensor_facts
from trainer.parts import VALIDATION_SHARE, Parts, count_windows, learn_grid, split

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from config.streams import Channel
    from config.training import Trainer
    from detector.history import History

LEAST_TO_FIT = 50  # windows; a linear code of a few elements can be told from noise
LEAST_TO_VALIDATE = 10  # the loss of fewer jumps about
LEAST_TO_CALIBRATE = 30  # the standard deviation of fewer is off by more than a seventh
LARGEST = 1e100  # a value whose square is finite, summed over any history
NO_ROWS = "history: must hold rows that are not labelled anomalous, got none"
MUCH = 0.05  # share of rows whose loss is worth a warning


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of `check`.

    Attributes:
        machines: Facts per machine.
        sensors: Facts per sensor.
        errors: What forbids training, one line each.
        warnings: What is worth knowing.
        grid: The grid that would be used; None where it cannot be learned.
        kept: Sensors that the model would have.
    """

    machines: tuple[MachineFacts, ...]
    sensors: tuple[SensorFacts, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    grid: Grid | None
    kept: tuple[str, ...]


def window_spec(settings: Trainer) -> WindowSpec:
    """The windows that the settings ask for."""
    return WindowSpec(settings.window, settings.stride, settings.max_gap, settings.min_coverage)


def rows_needed(settings: Trainer) -> int:
    """Rows without holes that are enough for each part to have its least number of windows."""

    def windows(rows: int) -> int:
        return max(0, (rows - settings.window - (settings.stride - 1)) // settings.stride + 1)

    rows = settings.window
    while True:
        held_back = round(rows * settings.calibration_share)
        validated = round((rows - held_back) * VALIDATION_SHARE)
        if (
            windows(rows - held_back - validated) >= LEAST_TO_FIT
            and windows(validated) >= LEAST_TO_VALIDATE
            and windows(held_back) >= LEAST_TO_CALIBRATE
        ):
            return rows
        rows += 1


def check(
    histories: Sequence[History],
    settings: Trainer,
    *,
    interval: int | None = None,
    channels: Mapping[str, Channel] = MappingProxyType({}),
) -> Verdict:
    """Looks at histories as training would, without training.

    Args:
        histories: All machines would share one model.
        settings: The trainer's wishes.
        interval: The grid's interval in milliseconds where it is known.
        channels: What sensors are declared to be.
    """
    if not histories:
        return Verdict((), (), (NO_ROWS,), (), None, ())
    errors = _strangers(histories)
    if errors:
        machines = tuple(machine_facts(history, None, settings.max_gap) for history in histories)
        return Verdict(machines, (), tuple(errors), (), None, ())
    histories = [history.select(histories[0].sensors) for history in histories]
    normal = [history.normal() for history in histories]
    grid = None
    if not any(map(len, normal)):
        errors.append(NO_ROWS)
    else:
        try:
            grid = learn_grid(normal, interval)
        except ValueError:
            errors.append(
                "history: must hold two different times of one machine, so that the interval is learned, "
                f"got {sum(map(len, normal))} row(s); or set readings.interval"
            )
    machines = tuple(machine_facts(history, grid, settings.max_gap) for history in histories)
    sensors = sensor_facts(histories)
    parts = split(normal, settings.calibration_share)
    kept = _with_values(parts)
    if sum(map(len, normal)) > 1:
        errors += _about_values(sensors)
    if grid and not errors:
        counters = [name for name, channel in channels.items() if channel.kind == "counter"]
        errors += _about_length(parts, kept, grid, settings, counters) or _about_fit(parts)
    categories = {name for name, channel in channels.items() if channel.kind == "category"}
    warnings = _about_sensors(sensors, kept, categories)
    warnings += [text for facts in machines for text in _about_times(facts)]
    return Verdict(machines, sensors, tuple(errors), tuple(warnings), grid, kept)


def _strangers(histories: Sequence[History]) -> list[str]:
    first = histories[0]
    errors = []
    for history in histories[1:]:
        differing = sorted({*first.sensors} ^ {*history.sensors})
        if differing:
            errors.append(
                f"machine {history.machine}: must have the sensors of {first.machine} to share a model, "
                f"got a difference in {', '.join(differing)}; history.ignore_columns leaves columns out, "
                "--machine trains one machine alone"
            )
    return errors


def _with_values(parts: Parts) -> tuple[str, ...]:
    sensors = parts.fit[0].sensors
    there = np.any([np.isfinite(history.values).any(axis=0) for history in parts.not_held_back], axis=0)
    return tuple(name for name, some in zip(sensors, there, strict=True) if some)


def _about_values(sensors: tuple[SensorFacts, ...]) -> list[str]:
    valued = [facts for facts in sensors if facts.minimum is not None and facts.maximum is not None]
    if not valued:
        return ["history: must hold values, got empty cells alone"]
    if all(facts.constant for facts in valued):
        names = ", ".join(facts.sensor for facts in valued)
        return [f"history: must hold a sensor whose value changes, got constants alone ({names})"]
    return [
        f"sensor {facts.sensor}: must hold values between -{LARGEST:g} and {LARGEST:g}, got {value:g}"
        for facts in valued
        for value in (facts.minimum, facts.maximum)
        if value is not None and abs(value) > LARGEST
    ]


def _about_fit(parts: Parts) -> list[str]:
    """The values may change only where nothing is fitted any more."""
    rows = np.concatenate([history.values for history in parts.fit])
    there = rows[:, np.isfinite(rows).any(axis=0)]
    if len(there) == 0 or (there.size and (np.nanmin(there, axis=0) < np.nanmax(there, axis=0)).any()):
        return []
    return [
        (
            f"history: must hold a sensor whose value changes in the first {len(rows)} rows, which are "
            "fitted on, got constants alone"
        )
    ]


def _about_length(
    parts: Parts, kept: tuple[str, ...], grid: Grid, settings: Trainer, counters: Collection[str]
) -> list[str]:
    spec = window_spec(settings)
    least = (LEAST_TO_FIT, LEAST_TO_VALIDATE, LEAST_TO_CALIBRATE)
    counts = [
        count_windows([history.select(kept) for history in part], grid, spec, counters)
        for part in (parts.fit, parts.validation, parts.calibration)
    ]
    scorable = [count for _, count in counts]
    if all(got >= needed for got, needed in zip(scorable, least, strict=True)):
        return []
    rows = sum(map(len, (*parts.fit, *parts.validation, *parts.calibration)))
    hint = f"{rows_needed(settings)} rows without holes are enough at trainer.window {settings.window}"
    sparse = sum(ending for ending, _ in counts) - sum(scorable)
    if sparse:
        hint += f"; {sparse} more windows hold less than trainer.min_coverage of their values"
    text = (
        f"history: must give {least[0]} windows to fit on, {least[1]} to validate and {least[2]} to learn "
        f"the threshold from, got {scorable[0]}, {scorable[1]} and {scorable[2]} from {rows} rows; {hint}"
    )
    return [text]


def _about_sensors(
    sensors: tuple[SensorFacts, ...], kept: tuple[str, ...], categories: Collection[str]
) -> list[str]:
    texts = []
    for facts in sensors:
        if facts.minimum is None:
            texts.append(f"sensor {facts.sensor}: has no value and is left out of the model")
        elif facts.sensor not in kept:
            texts.append(
                f"sensor {facts.sensor}: has no value in the rows to fit on and is left out of the model"
            )
        elif facts.constant and facts.sensor in categories:
            texts.append(f"sensor {facts.sensor}: has a single category; any other will count as missing")
        elif facts.constant:
            texts.append(
                f"sensor {facts.sensor}: is always {facts.minimum:g}; the model will take any other value "
                "for an anomaly, in proportion to the difference; history.ignore_columns leaves it out"
            )
        elif facts.missing > MUCH:
            texts.append(f"sensor {facts.sensor}: has no value in {facts.missing:.1%} of the rows")
    return texts


def _about_times(facts: MachineFacts) -> list[str]:
    where, texts = f"machine {facts.machine}", []
    if facts.same_time:
        texts.append(f"{where}: {facts.same_time} row(s) repeat the time of another; the first one counts")
    if facts.same_slot - facts.same_time > MUCH * facts.rows:
        texts.append(
            f"{where}: {facts.same_slot} of {facts.rows} rows share a slot of the grid with an earlier one "
            "and are not used; is readings.interval too long, or do machines with different intervals "
            "share a model?"
        )
    if facts.holes:
        longest = facts.longest_hole / 1000
        texts.append(
            f"{where}: {facts.holes} hole(s) are not bridged by windows, the longest of {longest:g} s"
        )
    return texts
