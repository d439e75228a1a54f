"""What the numbers of a sensor stand for, and the columns of numbers that the autoencoder sees of it.

Readings hold one number per sensor from end to end; of a category see `detector.categories`.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.categories import number_of
from detector.kinds import ChannelKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MOST_ONE_HOT = 16  # categories with a column each; of more columns nearly all would always be 0
EMBEDDED = 16  # numbers of each of more categories


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the numbers of a sensor stand for; a sensor without a channel is a plain measurement.

    Attributes:
        kind: `category`: one of some texts; `binary`: 0 or 1; `angle`: returns to 0 after `period`;
            `counter`: only grows, and what it grows by from sample to sample is what matters.
        period: A full turn of an angle, in the sensor's own unit.
        categories: The texts of a category that were seen in training.
    """

    kind: ChannelKind
    period: float = 360.0
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.period) and self.period > 0):
            raise ValueError(f"channel.period: must be a finite number above 0, got {self.period}")
        if (self.kind == "category") != bool(self.categories):
            raise ValueError(
                f"channel.categories: must be the texts of a category, got {len(self.categories)} "
                f"of kind {self.kind}"
            )
        if len(set(map(number_of, self.categories))) != len(self.categories):
            raise ValueError("channel.categories: must be different texts")

    @property
    def width(self) -> int:
        """How many columns the sensor has."""
        if self.kind == "angle":
            return 2
        if self.kind == "category":
            return len(self.categories) if len(self.categories) <= MOST_ONE_HOT else EMBEDDED
        return 1


def increase(now: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """What counters grew by; NaN where that is unknown, as it is where one was set back."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is unknown, too
        grown = now - before
    return np.where(grown < 0, np.nan, grown)


def embedding(text: str) -> NDArray[np.float64]:
    """A category of many as `EMBEDDED` numbers: a random direction, drawn from the text itself.

    Random directions are about as far from each other as the corners that one-hot encoding takes
    (Johnson and Lindenstrauss, 1984), in a network of bounded size; drawn from the text they need
    no place in the bundle and stay the same at the next training.
    """
    drawn = np.frombuffer(blake2b(text.encode(), digest_size=4 * EMBEDDED).digest(), "<i4").astype(np.float64)
    unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return unit


class Columns:
    """F sensors as C columns of numbers: one, sine and cosine for an angle, several for a category.

    Attributes:
        sensors: Names of the F sensors.
        parts: What each sensor is (None: a plain measurement), and its columns.
        width: C.
        starts: The first column of each sensor, shape (F,).
        binary: The columns that are 0 or 1: binary sensors and one-hot encoded categories.
        counters: Names of the counters.
        known: Of each category, by its place among the sensors, what its numbers mean.
    """

    def __init__(self, sensors: tuple[str, ...], channels: Mapping[str, Channel]) -> None:
        self.sensors = sensors
        kinds = [channels.get(name) for name in sensors]
        ends = np.cumsum([channel.width if channel else 1 for channel in kinds]).tolist()
        slices = [slice(start, end) for start, end in pairwise([0, *ends])]
        self.parts = tuple(zip(kinds, slices, strict=True))
        self.width: int = ends[-1]
        self.starts = np.array([part.start for part in slices])
        pairs = zip(sensors, kinds, strict=True)
        self.counters = tuple(name for name, channel in pairs if channel and channel.kind == "counter")
        self.known: dict[int, dict[float, str]] = {}
        self._tables: dict[int, _Table] = {}
        self._angles: list[tuple[int, int, float]] = []  # place, first column, period
        binary: list[int] = []
        for place, (channel, part) in enumerate(self.parts):
            if channel is None:
                continue
            if channel.kind == "angle":
                self._angles.append((place, part.start, channel.period))
            if channel.kind == "category":
                self.known[place] = {number_of(text): text for text in channel.categories}
                self._tables[place] = _Table(channel.categories)
            if channel.kind == "binary" or 0 < len(channel.categories) <= MOST_ONE_HOT:
                binary += range(part.start, part.stop)
        self.binary = tuple(binary)
        self._single = self.width == len(sensors)
        self._copied = not self._angles and not self._tables  # one number per sensor, as it is

    def encode(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns, shape (..., C), of samples, shape (..., F); counters are increases in both.

        NaN where a value is missing or a category is none that was seen in training.
        """
        if self._copied:
            return samples
        encoded = np.empty((*samples.shape[:-1], self.width))
        encoded[..., self.starts] = samples
        for place, table in self._tables.items():
            start = self.starts[place]
            encoded[..., start : start + table.width] = table.rows(samples[..., place])
        for place, start, period in self._angles:
            # The remainder is exact, while the sine of a large number is not.
            with np.errstate(invalid="ignore"):  # infinity has no direction
                angle = np.mod(samples[..., place], period) * (2 * np.pi / period)
            encoded[..., start], encoded[..., start + 1] = np.sin(angle), np.cos(angle)
        return encoded

    def decode(self, row: NDArray[np.float64]) -> list[float | str]:
        """What a row of columns, shape (C,), says of each sensor: the inverse of `encode`.

        Of a category the most likely one, of a binary sensor the nearer of 0 and 1, and an angle from
        0 to its period. Of a counter the increase.
        """
        said: list[float | str] = []
        for place, (channel, part) in enumerate(self.parts):
            numbers = row[part]
            if channel is None or channel.kind == "counter":
                said.append(float(numbers[0]))
            elif channel.kind == "binary":
                said.append(float(numbers[0] >= 0.5))
            elif channel.kind == "angle":
                turned = math.atan2(*numbers) / (2 * math.pi) * channel.period
                said.append(turned % channel.period)
            else:
                said.append(self._tables[place].nearest(numbers))
        return said

    def say(self, sample: NDArray[np.float64]) -> list[float | str | None]:
        """A sample, shape (F,), as people know it: a category's text; None for what is missing or new."""
        said: list[float | str | None] = [None if math.isnan(value) else value for value in sample.tolist()]
        for place, known in self.known.items():
            said[place] = known.get(sample[place])
        return said

    def say_one(self, place: int, value: float) -> float | str | None:
        """A sensor's value as people know it; see `say`."""
        if place in self.known:
            return self.known[place].get(value)
        return None if math.isnan(value) else value

    def strange(self, sample: NDArray[np.float64]) -> list[str]:
        """The sensors of a sample, shape (F,), whose category was not seen in training."""
        return [
            self.sensors[place]
            for place, known in self.known.items()
            if sample[place] not in known and not math.isnan(sample[place])
        ]

    def first(self, columns: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Shape (..., F) of (..., C), for what is the same in all columns of a sensor: what is missing."""
        return columns if self._single else columns[..., self.starts]

    def spread(self, sensors: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Shape (C,) of (F,): what holds for a sensor holds for all of its columns."""
        return sensors if self._single else np.repeat(sensors, np.diff(self.starts, append=self.width))

    def summed(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the columns of each sensor, shape (..., F) of (..., C)."""
        return columns if self._single else np.add.reduceat(columns, self.starts, axis=-1)


class _Table:
    """The rows of numbers of a sensor's categories."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        one_hot = len(categories) <= MOST_ONE_HOT
        vectors = np.eye(len(categories)) if one_hot else np.array([embedding(text) for text in categories])
        self.width = vectors.shape[1]
        self._categories = categories
        self._vectors = vectors
        numbers = np.array([number_of(text) for text in categories])
        order = np.argsort(numbers)
        self._numbers = numbers[order]
        self._ordered = np.vstack([vectors[order], np.full(self.width, np.nan)])

    def rows(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (..., width); NaN for what is missing or no known category."""
        place = np.searchsorted(self._numbers, values)  # NaN comes last
        found = self._numbers[np.minimum(place, len(self._numbers) - 1)] == values
        return self._ordered[np.where(found, place, len(self._numbers))]

    def nearest(self, vector: NDArray[np.float64]) -> str:
        return self._categories[int(np.argmax(self._vectors @ vector))]
