"""What is walked over: rows to learn the first model from, and those that are streamed after them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from bench.detection.protocol import Source
from detector.history import UNKNOWN, History


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One machine's time.

    Attributes:
        history: All rows, with labels for those who judge; nothing else looks at them.
        learned: Rows that the first model learns from.
        judged: Rows that count, after those.
        buffer: See `trainer.ranking`.
    """

    history: History
    learned: slice
    judged: slice
    buffer: int

    @property
    def unlabelled(self) -> History:
        """The rows as a store has them."""
        return dataclasses.replace(self.history, label=None)

    def labelled(self) -> History:
        """Labels for the rows to judge alone."""
        assert self.history.label is not None
        label = np.full(len(self.history), UNKNOWN, dtype=np.int8)
        label[self.judged] = self.history.label[self.judged]
        return dataclasses.replace(self.history, label=label)


def recorded(source: Source) -> Course:
    """A file of the manifest."""
    recording = source.read()
    return Course(recording.history, slice(*source.train), slice(*source.test), recording.kind.buffer)
