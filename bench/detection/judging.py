"""What a detector's scores and alerts on one file are worth, as numbers that can be kept and summed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.detection.protocol import Recording
from detector.history import History
from trainer.evaluation import Counts, Rows, counts
from trainer.problems import Unusable

Laid = Callable[[History], Rows]
"""Lays what was said about a file over its rows, which are given with the labels that count."""

Detector = Callable[[Recording], Laid]
"""Learns from a recording's rows to learn from, and scores all of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One detector on one file.

    Attributes:
        test: On the rows to judge; None if the file has none, or if it was refused.
        held_back: On the normal rows from which the threshold was learned.
        unseen: On the same rows by a detector that has not seen them; None where not asked for.
        alerts: Shares of the rows to judge that had passed when alerts opened.
        seconds: For learning and scoring, once; of wall time, on one core.
        problem: Why the detector refused the file.
    """

    test: Counts | None = None
    held_back: Counts | None = None
    unseen: Counts | None = None
    alerts: tuple[float, ...] = ()
    seconds: float = 0.0
    problem: str = ""


def judge(detector: Detector, recording: Recording, *, unseen: bool) -> Judged:
    """Learns and scores once, and where `unseen` is asked for, once more from fewer rows."""
    buffer, (start, stop) = recording.kind.buffer, recording.source.test
    before = time.monotonic()
    try:
        laid = detector(recording)
        seconds = time.monotonic() - before
        shorter = detector(recording.shortened()) if unseen else None
    except Unusable as error:
        return Judged(problem=str(error))
    tested = laid(recording.tested())
    rows = recording.held_back
    return Judged(
        test=counts(tested, buffer) if stop > start else None,
        held_back=counts(laid(recording.normal(rows))),
        unseen=counts(shorter(recording.normal(rows))) if shorter else None,
        alerts=tuple((np.flatnonzero(tested.opened[start:stop]) / max(1, stop - start)).tolist()),
        seconds=seconds,
    )
