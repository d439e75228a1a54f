"""How much time, memory and how many processors a retraining may take, by the kernel's own means."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING

from cli.exits import Exit
from config.quantities import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config.training import Retrain

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LAST_WORDS = 10.0  # seconds to say that the time is over
LOOK_EVERY = 0.05  # seconds, at memory: what libraries ask for beyond it ends them without a word
RESERVE = 0.05  # of the memory, to say so
PAGE = resource.getpagesize()
STATM = Path("/proc/self/statm")
DATA = 5  # place in it of what is written to, in pages


def limit_cpus(most: int | None) -> None:
    """Keeps all threads to so many processors; before TensorFlow, which starts one for each it may use."""
    if most is None:
        return
    allowed = sorted(os.sched_getaffinity(0))[-most:]  # the first ones serve most interrupts
    for name in THREADS:
        os.environ[name] = str(len(allowed))
    for thread in Path("/proc/self/task").iterdir():  # numpy's were there before us
        with suppress(OSError):
            os.sched_setaffinity(int(thread.name), allowed)


@contextmanager
def within(settings: Retrain, give_up: Callable[[str, int], None]) -> Iterator[None]:
    """Holds the block to the time and the memory that are allowed.

    The kernel has the last word. Before it, `give_up` is called in another thread with what was too much
    and the exit code of `max_memory` or the signal of `max_time`, below 0; it need not return.

    Raises:
        MemoryError: More memory was asked for at once than is left.
    """
    with _memory(settings.max_memory, give_up), _time(settings, give_up):
        yield


@contextmanager
def _time(settings: Retrain, give_up: Callable[[str, int], None]) -> Iterator[None]:
    longest = settings.max_time
    if longest is None:
        yield
        return
    why = f"it took longer than retrain.max_time, {format_duration(longest)}"
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A library that does not let Python run can put off the words, and not this.
    signal.setitimer(signal.ITIMER_REAL, longest.total_seconds() + LAST_WORDS)
    timer = Timer(longest.total_seconds(), give_up, (why, -signal.SIGALRM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _memory(most: int | None, give_up: Callable[[str, int], None]) -> Iterator[None]:
    if most is None:
        yield
        return
    # What is written to counts, and not what is merely mapped: TensorFlow maps many times what it takes.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = min(each for each in (most, soft, hard) if each != resource.RLIM_INFINITY)
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            if int(STATM.read_text(encoding="ascii").split()[DATA]) * PAGE > most * (1 - RESERVE):
                give_up(out_of_memory(most), Exit.MEMORY)

    watcher = Thread(target=look, daemon=True)
    watcher.start()
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        over.set()
        watcher.join()


def out_of_memory(most: int | None) -> str:
    """What to say where memory was refused."""
    limit = (
        f"retrain.max_memory is {format_size(most)}; raise it" if most else "this host has no more; add some"
    )
    return f"out of memory: {limit}, or learn from less (retrain.look_back)"
