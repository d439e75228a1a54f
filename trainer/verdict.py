"""Whether a history can carry a model: what is in it, what is wrong with it, what is worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from config.problems import nearest
from config.training import Model
from trainer.facts import InMemory, MachineFacts, SensorFacts, Source, sensor_facts
from trainer.look import Look, learned_grid
from trainer.parts import cuts
from trainer.wording import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from config.streams import Channel
    from config.training import Trainer
    from detector.grid import Grid
    from detector.history import History

LEAST_TO_FIT = 50  # windows; a linear code of a few elements can be told from noise
LEAST_TO_VALIDATE = 10  # the loss of fewer jumps about
LEAST_TO_CALIBRATE = 30  # the standard deviation of fewer is off by more than a seventh
LARGEST = 1e100  # a value whose square is finite, summed over any history
NO_ROWS = "history: must hold rows that are not labelled anomalous, got none"
ONLY_WITH_LAYERS = (
    "ensemble", "units", "activation", "loss", "noise", "masking", "dropout", "sparsity", "contraction", "l2",
    "optimizer", "learning_rate", "epochs", "batch_size", "patience",
)  # fmt: skip
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


def rows_needed(settings: Trainer) -> int:
    """Rows without holes that are enough for each part to have its least number of windows."""

    def windows(rows: int) -> int:
        return max(0, (rows - settings.window - (settings.stride - 1)) // settings.stride + 1)

    rows = settings.window
    while True:
        fitted, used = cuts(rows, settings.calibration_share)
        if (
            windows(fitted) >= LEAST_TO_FIT
            and windows(used - fitted) >= LEAST_TO_VALIDATE
            and windows(rows - used) >= LEAST_TO_CALIBRATE
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
    """Looks at histories in memory; see `check_sources`."""
    sources = [InMemory(history) for history in histories]
    return check_sources(sources, settings, interval=interval, channels=channels)


def check_sources(
    sources: Sequence[Source],
    settings: Trainer,
    *,
    interval: int | None = None,
    channels: Mapping[str, Channel] = MappingProxyType({}),
    advance: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Looks at histories as training would, without training; reads each up to `PASSES` times.

    Args:
        sources: All machines would share one model.
        settings: The trainer's wishes.
        interval: The grid's interval in milliseconds where it is known.
        channels: What sensors are declared to be.
        advance: Is told of each number of rows when they were read once more.
    """
    if not sources:
        return Verdict((), (), (NO_ROWS,), (), None, ())
    errors = _strangers(sources)
    looks = [Look(source, () if errors else sources[0].sensors, settings, advance) for source in sources]
    if errors:
        return Verdict(tuple(look.facts() for look in looks), (), tuple(errors), (), None, ())
    grid = None
    rows = sum(look.times.rows for look in looks)
    if not rows:
        errors.append(NO_ROWS)
    else:
        try:
            grid = learned_grid(looks, interval)
        except ValueError:
            errors.append(
                "history: must hold two different times of one machine, so that the interval is learned, "
                f"got {counted(rows, 'row')}; or set readings.interval"
            )
    columns = [[look.columns[i] for look in looks] for i in range(len(sources[0].sensors))]
    sensors = tuple(map(sensor_facts, sources[0].sensors, columns))
    kept = tuple(
        facts.sensor
        for facts, of_machines in zip(sensors, columns, strict=True)
        if any(c.first_at < look.used for c, look in zip(of_machines, looks, strict=True) if c.count)
    )
    if rows > 1:
        errors += _about_values(sensors)
    if grid:
        counters = [name for name, channel in channels.items() if channel.kind == "counter"]
        for look in looks:
            look.count_windows(grid, kept, counters)
        if not errors:
            errors += _about_length(looks, settings) or _about_fit(looks)
    machines = tuple(look.facts() for look in looks)
    categories = {name for name, channel in channels.items() if channel.kind == "category"}
    warnings = _about_model(settings.model)
    warnings += _about_sensors(sensors, kept, categories)
    warnings += [text for facts in machines for text in _about_times(facts)]
    return Verdict(machines, sensors, tuple(errors), tuple(warnings), grid, kept)


def undeclarable(channels: Collection[str], sensors: Collection[str]) -> tuple[str, ...]:
    """What is declared of sensors that no history has, each with the name that was probably meant."""
    texts = []
    for name in sorted({*channels} - {*sensors}):
        close = nearest(name, {*sensors} - {*channels})
        known = f"nearest known: {close}" if close else f"known: {listed(sorted(sensors))}"
        texts.append(
            f"readings.channels.{name}: must be a sensor of the history, got none of this name; {known}"
        )
    return tuple(texts)


def _strangers(sources: Sequence[Source]) -> list[str]:
    first = sources[0]
    errors = []
    for source in sources[1:]:
        differing = sorted({*first.sensors} ^ {*source.sensors})
        if differing:
            errors.append(
                f"machine {source.machine}: must have the sensors of {first.machine} to share a model, "
                f"got a difference in {', '.join(differing)}; history.ignore_columns leaves columns out, "
                "--machine trains one machine alone"
            )
    return errors


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


def _about_fit(looks: Sequence[Look]) -> list[str]:
    """The values may change only where nothing is fitted any more."""
    rows = sum(look.fitted for look in looks)
    if not rows or any(look.varies for look in looks):
        return []
    firsts = zip(*(look.firsts for look in looks), strict=True)
    if any(len({first for first in of_machines if first is not None}) > 1 for of_machines in firsts):
        return []
    return [
        (
            f"history: must hold a sensor whose value changes in the first {counted(rows, 'row')}, which are "
            "fitted on, got constants alone"
        )
    ]


def _about_length(looks: Sequence[Look], settings: Trainer) -> list[str]:
    least = (LEAST_TO_FIT, LEAST_TO_VALIDATE, LEAST_TO_CALIBRATE)
    scorable = [sum(look.windows[part].scorable for look in looks) for part in range(3)]
    if all(got >= needed for got, needed in zip(scorable, least, strict=True)):
        return []
    hint = f"{rows_needed(settings):,} rows without holes are enough at trainer.window {settings.window}"
    sparse = sum(counter.ending - counter.scorable for look in looks for counter in look.windows)
    if sparse:
        hint += f"; {counted(sparse, 'more window')} with less than trainer.min_coverage of all values"
    text = (
        f"history: must give {least[0]} windows to fit on, {least[1]} to validate and {least[2]} to learn "
        f"the threshold from, got {scorable[0]}, {scorable[1]} and {scorable[2]} from "
        f"{counted(sum(look.times.rows for look in looks), 'row')}; {hint}"
    )
    return [text]


def _about_model(model: Model) -> list[str]:
    unused = [name for name in ONLY_WITH_LAYERS if getattr(model, name) != getattr(Model(), name)]
    if model.kind != "pca" or not unused:
        return []
    text = (
        f"trainer.model.{', '.join(unused)}: not used, as principal components have no layers; "
        "trainer.model.kind dense has some"
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
        texts.append(
            f"{where}: {counted(facts.same_time, 'row')} at the time of another one; the first one counts"
        )
    if facts.same_slot - facts.same_time > MUCH * facts.rows:
        texts.append(
            f"{where}: {facts.same_slot:,} of {counted(facts.rows, 'row')} share a slot of the grid with an "
            "earlier one and are not used; is readings.interval too long, or do machines with different "
            "intervals share a model?"
        )
    if facts.holes:
        longest = facts.longest_hole / 1000
        texts.append(
            f"{where}: {counted(facts.holes, 'hole')} too long for a window to bridge, "
            f"the longest of {longest:g} s"
        )
    return texts
