"""The detector of a machine without a bundle: how far each sensor is from where it usually is.

It minds limits, too. It is made of the readings of the first minutes and hours, by NumPy alone, and serves
until a bundle does. The pipeline runs it like any other; only what it makes of a window is another thing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from detector.alerts import Reason
from detector.grid import Grid
from detector.history import merged
from detector.manifest import (
    SCHEMA,
    ErrorSpec,
    HistorySpec,
    ImputerSpec,
    Manifest,
    ModelSpec,
    ScalerSpec,
    Threshold,
    WindowSpec,
)
from detector.scoring import Detector, Errors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from detector.history import History

PREFIX = "provisional-"  # of its id, where a bundle's would be
WINDOW = 5  # samples whose median counts: two outliers in a row are none
CROSSED = 1.5  # score, at least, of a value beyond a limit: above 1, and no more severe than a warning
SHARPNESS = 4  # power by which the sensor that is furthest off stands out among those that are blamed
WIDE = 1e12  # times a sensor's own size: a scale on which nothing is far
NORMAL = 1.4826  # median absolute deviations in a standard deviation of a normal distribution
TAILS = (0.005, 0.995)
APART = 5.15  # standard deviations of a normal distribution between them
SELDOM = 0.1  # share of rows below which a sensor's values are too few

LARGEST = 1e100  # a measurement; computing with larger ones, they become infinite


class Provisional(Detector):
    """Judges windows by the sensor that is furthest from its median, and by limits."""

    provisional: ClassVar[bool] = True

    def __init__(self, manifest: Manifest, limits: Mapping[str, tuple[float, float]]) -> None:
        """Prepares.

        Args:
            manifest: As `fit` makes it; its threshold is the z-score above which a window is an anomaly.
            limits: The lowest and the highest value of some sensors.
        """
        super().__init__(manifest, _Median())
        ends = np.array([limits.get(name, (-inf, inf)) for name in manifest.sensors])
        # On the scale of the windows, where infinite ends stay so.
        offset, scale = np.array(manifest.scaler.offset), np.array(manifest.scaler.scale)
        self._low, self._high = ((ends.T - offset) / scale).astype(np.float32)
        self._crossed = CROSSED * manifest.threshold.value

    def errors(self, windows: NDArray[np.float32]) -> Errors:
        """See `Detector.errors`: each sensor's part of the largest z-score of a window's medians, squared."""
        missing = np.isnan(windows)
        there = windows.shape[1] - missing.sum(axis=1)
        # NaN comes last, so this is the lower median of what is there.
        middle = np.sort(windows, axis=1)
        middle = np.take_along_axis(middle, np.maximum(there - 1, 0)[:, None] // 2, axis=1)[:, 0]
        middle = np.where(there > 0, middle, 0.0).astype(np.float64)
        low, high = middle < self._low, middle > self._high
        distance = np.abs(middle)
        distance[low | high] = np.maximum(distance[low | high], self._crossed)
        largest = distance.max(axis=1, keepdims=True)
        weight = np.divide(distance, largest, out=np.zeros_like(distance), where=largest > 0) ** SHARPNESS
        last = np.zeros(middle.shape, np.float32)
        last[low] = np.broadcast_to(self._low, low.shape)[low]
        last[high] = np.broadcast_to(self._high, high.shape)[high]
        last[(low | high) & (last == 0)] = np.finfo(np.float32).tiny  # the median is the limit
        return Errors(
            share=np.square(largest) * weight / np.maximum(weight.sum(axis=1, keepdims=True), 1.0),
            coverage=there.sum(axis=1) / (windows.shape[1] * windows.shape[2]),
            missing=there < windows.shape[1],
            last=last,
        )

    def reason(self, last: NDArray[np.float32]) -> Reason:
        """See `Detector.reason`."""
        return Reason.LIMIT if last.any() else Reason.ANOMALY


class _Median:
    """Reconstructs what is scaled by its medians: zero."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Autoencoder`."""
        return np.zeros_like(windows)


def fit(
    history: History,
    *,
    machine: str,
    number: str,
    created_at: str,
    z: float,
    least: int,
    interval: int | None = None,
    without: Collection[str] = (),
    alerted: NDArray[np.bool_] | None = None,
) -> Manifest | None:
    """Learns where each sensor usually is.

    Args:
        history: The readings so far, or some of them, in order of time.
        machine: Whose they are.
        number: Ends its id, which no other fit may have.
        created_at: ISO 8601, UTC.
        z: The robust z-score from which on a window is none of the usual.
        least: Rows below which only limits are judged.
        interval: The grid's interval in milliseconds where it is known.
        without: Sensors that are no plain measurements.
        alerted: The rows that were in alert, shape (N,), which are not learned unless they are most.

    Returns:
        The description of the detector; None where nothing can be said yet: of a single time no interval is
        known, and a machine may have no plain measurement.
    """
    sensors = tuple(name for name in history.sensors if name not in without)
    try:
        grid = Grid.learn(history.at, interval)
    except ValueError:
        return None
    if alerted is not None and alerted.any() and 2 * np.count_nonzero(alerted) < len(alerted):
        history = history.rows(~alerted)
    rows = merged(history.select(sensors), grid)
    # What some controllers send in place of a value is the largest number that there is.
    measured = np.where(np.abs(rows.values) <= LARGEST, rows.values, np.nan)
    seen = np.isfinite(measured).sum(axis=0)
    kept = seen >= max(1.0, SELDOM * len(rows))
    if not len(rows) or not kept.any():
        return None
    sensors = tuple(name for name, keeps in zip(sensors, kept.tolist(), strict=True) if keeps)
    values = measured[:, kept]
    offset, scale = usual(values)
    scale = np.where(seen[kept] >= least, scale, _wide(offset))
    return Manifest(
        schema=SCHEMA,
        id=f"{PREFIX}{number}",
        created_at=created_at,
        machine=machine,
        sensors=sensors,
        grid=grid,
        window=WindowSpec(length=WINDOW),
        imputer=ImputerSpec("median", tuple(offset.tolist())),
        scaler=ScalerSpec("robust", tuple(offset.tolist()), tuple(scale.tolist())),
        error=ErrorSpec("rmse"),
        threshold=Threshold(z, "mean_std", z, 0.0, 1.0, len(rows), 0.0),
        model=ModelSpec("median", (), 0, "linear", 2 * len(sensors)),
        history=HistorySpec(("store",), (machine,), len(rows), 0, created_at, created_at, ""),
        metrics={"readings": float(len(history))},
        libraries={},
        files={},
    )


def judged(manifest: Manifest) -> int:
    """How many of its sensors are judged by where they usually are, not by limits alone."""
    wide = _wide(np.array(manifest.scaler.offset)) / 2
    return int((np.array(manifest.scaler.scale) < wide).sum())


def usual(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each sensor usually is, and how far it usually is from there, shapes (F,), of values (N, F).

    How far is the median absolute deviation, or what the tails say if that is more: of a sensor that stands
    still most of the time, or jumps between two states, the former says too little. Of a sensor that has not
    moved nobody knows how far it may: nothing is far from there.
    """
    middle = np.nanmedian(values, axis=0)
    deviation = NORMAL * np.nanmedian(np.abs(values - middle), axis=0)
    low, high = np.nanquantile(values, TAILS, axis=0)
    scale = np.maximum(deviation, (high - low) / APART)
    still = scale <= np.abs(middle) * 1e-9  # rounding
    return middle, np.where(still, _wide(middle), scale)


def _wide(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = WIDE * np.maximum(np.abs(offset), 1.0)
    return wide
