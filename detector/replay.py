"""Recorded histories through the pipeline, as if they arrived now."""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING

from detector.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.events import Event
    from detector.history import History
    from detector.pipeline import Pipeline

CHUNK = 1024  # readings handed over at once; grouping changes nothing


def readings(history: History) -> Iterator[Reading]:
    """The rows as readings; an empty cell is a sensor that reported no value."""
    for at, values in zip(history.at.tolist(), history.values, strict=True):
        yield Reading(history.machine, at, history.sensors, values)


def replay(histories: Sequence[History], pipeline: Pipeline) -> Iterator[Event]:
    """Feeds histories through a pipeline, all machines together in order of time."""
    stream = heapq.merge(*map(readings, histories), key=lambda reading: reading.at)
    while chunk := list(islice(stream, CHUNK)):
        yield from pipeline.on_readings(chunk)
