"""Recorded histories through the pipeline, as if they arrived now."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from detector.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.events import Event
    from detector.history import History
    from detector.pipeline import Pipeline

CHUNK = 1024  # readings handed over at once; grouping changes nothing


def readings(history: History) -> Iterator[Reading]:
    """The rows as readings; an empty cell is a sensor that reported no value."""
    machine, sensors = history.machine, history.sensors
    for at, values in zip(history.at.tolist(), history.values, strict=True):
        yield Reading(machine, at, sensors, values)


def replay(histories: Sequence[History], pipeline: Pipeline) -> Iterator[Event]:
    """Feeds histories through a pipeline, all machines together in order of time.

    Readings of one time come in the order of the histories. The pipeline remembers where it is, so
    one history may also come in several pieces, one call after another.
    """
    stream = readings(histories[0]) if len(histories) == 1 else _together(histories)
    while chunk := list(islice(stream, CHUNK)):
        yield from pipeline.on_readings(chunk)


def _together(histories: Sequence[History]) -> Iterator[Reading]:
    """The readings of all histories in order of time."""
    if not histories:
        return
    streams = [readings(history) for history in histories]
    times = np.concatenate([history.at for history in histories])
    source = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    for i in source[np.argsort(times, kind="stable")].tolist():
        yield next(streams[i])
