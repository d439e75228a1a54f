"""Whether numbers in a row rise, and how fast, whatever their distribution is."""

from __future__ import annotations

from math import erfc, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SURE = 0.01  # of numbers that do not rise, this share is taken to rise
FEWEST = 8


def rising(numbers: NDArray[np.float64]) -> bool:
    """By Mann and Kendall's test, allowing for neighbours that are alike.

    Numbers that follow each other closely rise and fall in waves that are no trend (corrected as by Hamed
    and Rao: A modified Mann-Kendall trend test for autocorrelated data, 1998).

    Args:
        numbers: In order of time, shape (B,).
    """
    count = len(numbers)
    if count < FEWEST:
        return False
    later = np.sign(numbers[None, :] - numbers[:, None])
    above = float(np.triu(later, 1).sum())
    variance = count * (count - 1) * (2 * count + 5) / 18 * _inflation(numbers)
    z = (above - 1) / sqrt(variance) if above > 0 else 0.0
    return erfc(z / sqrt(2)) / 2 < SURE


def slope(at: NDArray[np.int64], numbers: NDArray[np.float64]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs, in numbers per millisecond."""
    first, second = np.triu_indices(len(at), 1)
    if not len(first):
        return 0.0
    return float(np.median((numbers[second] - numbers[first]) / (at[second] - at[first])))


def _inflation(numbers: NDArray[np.float64]) -> float:
    """By what factor likeness of neighbours widens the test's distribution; what is left after the trend."""
    count = len(numbers)
    place = np.arange(count)
    rest = numbers - slope(place, numbers) * place
    ranks = rest.argsort().argsort() - (count - 1) / 2
    squares = float(ranks @ ranks)
    if squares == 0:
        return 1.0
    found = 1.0
    for lag in range(1, count // 4):
        alike = float(ranks[:-lag] @ ranks[lag:]) / squares
        if alike < 2 / sqrt(count):  # beyond, it is noise
            break
        found += (
            2
            * (count - lag)
            * (count - lag - 1)
            * (count - lag - 2)
            * alike
            / (count * (count - 1) * (count - 2))
        )
    return max(1.0, found)
