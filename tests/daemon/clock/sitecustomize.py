"""Python runs this at its start: the clock of the process is off by the seconds in a file, at any moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

FILE = Path(os.environ["OFFSET_OF_CLOCK"])
time_ns = time.time_ns


def offset_time_ns() -> int:
    """What the clock shows: as if it were set by NTP or by hand, which moves no monotonic clock."""
    return time_ns() + int(FILE.read_text(encoding="ascii") or "0") * 10**9


time.time_ns = offset_time_ns
time.time = lambda: offset_time_ns() / 1e9
