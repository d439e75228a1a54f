"""One machine's history is read as often as it takes to count what a training would meet in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.manifest import WindowSpec
from trainer.facts import ColumnTally, Counts, MachineFacts, SlotsTally, TimesTally
from trainer.parts import Phase, WindowCounter, cuts, interval_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from config.training import Trainer
    from detector.grid import Grid
    from detector.history import History
    from trainer.facts import Source

PASSES = 3  # over the rows: for the interval, for the phase, for what lies on the grid


def window_spec(settings: Trainer) -> WindowSpec:
    """The windows that the settings ask for."""
    return WindowSpec(settings.window, settings.stride, settings.max_gap, settings.min_coverage)


class Look:
    """What was counted of one machine so far; its rows labelled anomalous are left out.

    Attributes:
        times: Of the times.
        columns: Of each sensor.
        anomalous: Rows labelled anomalous.
        windows: In the rows to fit on, to validate and to calibrate by; empty until `count_windows`.
    """

    def __init__(
        self, source: Source, sensors: tuple[str, ...], settings: Trainer, advance: Callable[[int], None]
    ) -> None:
        """Reads the rows for the first time."""
        self.times = TimesTally()
        self.columns = [ColumnTally(settings.window) for _ in sensors]
        self.anomalous = 0
        self.windows: list[WindowCounter] = []
        self._source, self._sensors, self._settings = source, sensors, settings
        self._advance = advance
        self._slots: SlotsTally | None = None
        for block in source.blocks():
            normal = block.normal()
            self.anomalous += len(block) - len(normal)
            self.times.add(normal.at)
            for column, values in zip(self.columns, normal.select(sensors).values.T, strict=True):
                column.add(values, normal.at)
            advance(len(block))
        self.fitted, self.used = cuts(self.times.rows, settings.calibration_share)

    @property
    def varies(self) -> bool:
        """Whether a sensor has different values in the rows to fit on."""
        return any(
            column.changed_at is not None and column.changed_at < self.fitted for column in self.columns
        )

    @property
    def firsts(self) -> list[float | None]:
        """The first value of each sensor in the rows to fit on; None without any."""
        return [column.first if column.first_at < self.fitted else None for column in self.columns]

    def normal(self) -> Iterator[History]:
        """Its rows once more."""
        for block in self._source.blocks():
            yield block.normal()
            self._advance(len(block))

    def count_windows(self, grid: Grid, kept: tuple[str, ...], counters: Collection[str]) -> None:
        """Counts what lies on the grid."""
        if self.times.start is None:
            self.windows = [WindowCounter(grid, window_spec(self._settings)) for _ in range(3)]
            return
        own, spec = grid.of_machine(self.times.start), window_spec(self._settings)
        self._slots = SlotsTally(own, spec.max_gap)
        self.windows = [WindowCounter(grid, spec, counters) for _ in range(3)]
        borders = (0, self.fitted, self.used, self.times.rows)
        row = 0
        for block in self.normal():
            self._slots.add(block.at)
            for counter, start, stop in zip(self.windows, borders[:-1], borders[1:], strict=True):
                some = slice(max(0, start - row), max(0, stop - row))
                if kept:
                    counter.add(block.rows(some).select(kept))
            row += len(block)

    def facts(self) -> MachineFacts:
        """What is known by now; what needs a grid is 0 without one."""
        times, slots = self.times, self._slots
        return MachineFacts(
            machine=self._source.machine,
            rows=times.rows,
            anomalous=self.anomalous,
            start=times.start,
            end=times.end,
            interval=times.steps.quantile(0.5),
            jitter=(slots.off.quantile(0.95) if slots else None) or 0.0,
            same_time=times.same_time,
            same_slot=slots.same_slot if slots else 0,
            holes=slots.holes if slots else 0,
            longest_hole=times.longest_hole,
        )


def learned_grid(looks: Sequence[Look], interval: int | None) -> Grid:
    """One grid for all machines; see `trainer.parts.learn_grid`.

    Raises:
        ValueError: No machine has two different times, and the interval is not known.
    """
    if interval is None:
        steps = Counts()
        for look in looks:
            steps.merge(look.times.steps)
        interval = interval_of(steps)
    phase = Phase(interval)
    for look in looks:
        for block in look.normal():
            phase.add(block.at)
    return phase.grid()
