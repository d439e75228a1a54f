"""What a detector makes of the windows of recorded rows, for those who look inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from detector.scoring import total
from trainer.scorable import scorable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.history import History
    from detector.scoring import Detector


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """N windows in the order of the histories and of time, as the daemon would see them.

    Attributes:
        history: Which history each is from, shape (N,).
        at: Time of its newest sample, in milliseconds since the epoch, shape (N,).
        fresh: Whether it does not continue the window before, shape (N,).
        windows: Scaled columns, missing values filled as the detector does, shape (N, T, C), no NaN.
        there: Which values were measured, shape (N, T, C).
        rebuilt: What the model answers, shape (N, T, C).
        error: The reconstruction error before smoothing, shape (N,).
    """

    history: NDArray[np.intp]
    at: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    windows: NDArray[np.float32]
    there: NDArray[np.bool_]
    rebuilt: NDArray[np.float32]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Of neighbouring parts, at least one, the whole."""
        fields = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def inspect(detector: Detector, histories: Sequence[History], *, most: int) -> Inspected | None:
    """Looks at most at so many windows, spread evenly over the histories; None where there is none."""
    manifest = detector.manifest
    count = sum(
        len(stretch.starts)
        for history in histories
        for stretch in scorable(history, manifest.grid, manifest.window, detector)
    )
    parts = list(inspections(detector, histories, step=max(1, -(-count // most))))
    return Inspected.together(parts) if parts else None


def inspections(detector: Detector, histories: Sequence[History], *, step: int = 1) -> Iterator[Inspected]:
    """Looks at every scorable window, or at every `step`-th, some at a time."""
    manifest = detector.manifest
    skip = 0  # windows until the next one that is looked at
    for number, history in enumerate(histories):
        for stretch in scorable(history, manifest.grid, manifest.window, detector):
            starts = stretch.starts[skip::step]
            skip = (skip - len(stretch.starts)) % step
            done = 0
            for windows in stretch.windows(starts):
                there = ~np.isnan(windows)
                errors, rebuilt = detector.reconstructed(windows)  # fills what is missing
                some = starts[done : done + len(windows)]
                fresh = np.zeros(len(some), np.bool_)
                fresh[0] = done == 0
                done += len(some)
                yield Inspected(
                    history=np.full(len(some), number),
                    at=stretch.at[some + stretch.length - 1],
                    fresh=fresh,
                    windows=windows,
                    there=there,
                    rebuilt=rebuilt,
                    error=total(errors.share, manifest.error.kind),
                )
