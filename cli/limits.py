"""How much time, memory and how many processors a retraining may take, by the kernel's own means."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from config.quantities import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from config.training import Retrain

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit(settings: Retrain) -> None:
    """Limits this process; before TensorFlow is loaded, which starts a thread for each processor."""
    if settings.max_cpus is not None:
        _limit_cpus(settings.max_cpus)
    if settings.max_memory is not None:
        # What is written to counts, and not what is merely mapped: TensorFlow maps many times what it takes.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = settings.max_memory if hard == resource.RLIM_INFINITY else min(settings.max_memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _limit_cpus(most: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))[-most:]  # the first ones serve most interrupts
    for name in THREADS:
        os.environ[name] = str(len(allowed))
    for thread in Path("/proc/self/task").iterdir():  # numpy's were there before us
        with suppress(OSError):
            os.sched_setaffinity(int(thread.name), allowed)


@contextmanager
def at_most(longest: timedelta | None) -> Iterator[None]:
    """Ends this process by SIGALRM if the block takes longer; no library can put that off."""
    if longest is None:
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, longest.total_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def too_little(settings: Retrain) -> str:
    """What to say where memory was refused."""
    most = format_size(settings.max_memory) if settings.max_memory else "this host's"
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (
        f"out of memory: retrain.max_memory is {most}, and {format_size(highest)} were in use at most; "
        "raise it, or learn from less (retrain.look_back)"
    )
