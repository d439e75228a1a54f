"""What processes that share a replay may be given to do; imports no more than they do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

from detector.events import Event
from detector.history import History
from detector.scoring import Detector

Blocks = Iterator[tuple[History, list[Event]]]


def imported(_: Detector, blocks: Blocks) -> Iterator[tuple[int, list[str]]]:
    """Says in which process it is done, and what that has imported."""
    assert all(len(events) > 0 for _, events in blocks)
    yield os.getpid(), sorted({name.partition(".")[0] for name in sys.modules})


def killed(_: Detector, blocks: Blocks) -> Iterator[int]:
    """Ends as one does for which there is no memory."""
    yield len(next(blocks)[0])
    os.kill(os.getpid(), signal.SIGKILL)
