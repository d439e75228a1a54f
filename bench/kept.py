"""What takes long is done in other processes, on all cores, and once: results are kept in files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import msgspec

from registry.files import write_whole

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip

Work = TypeVar("Work")
Result = TypeVar("Result")


def done(
    paths: Mapping[Work, Path],
    do: Callable[[Work], Result],
    kind: type[Result],
    *,
    size: Callable[[Work], float],
    told: Callable[[str], None],
) -> dict[Work, Result]:
    """The results of all works; the largest first, so that no core waits long for another.

    Args:
        paths: Where each work's result is, or will be; the name says all that it follows from.
        do: Does one, in another process.
        kind: What it returns.
        size: How much there is to do, roughly.
        told: Is told how it goes on.
    """
    found = {
        work: msgspec.json.decode(path.read_bytes(), type=kind)
        for work, path in paths.items()
        if path.exists()
    }
    left = sorted(paths.keys() - found.keys(), key=size, reverse=True)
    if found:
        told(f"{len(found)} of {len(paths)} were done before")
    if not left:
        return found
    for path in paths.values():
        path.parent.mkdir(exist_ok=True)
    before, whole, finished = time.monotonic(), sum(map(size, left)), 0.0
    context = get_context("spawn")  # a fork would take over threads of TensorFlow in any state
    count = min(len(os.sched_getaffinity(0)), len(left))
    with _environment(ONE_CORE), ProcessPoolExecutor(count, mp_context=context) as pool:
        futures = {pool.submit(_do, do, work, paths[work]): work for work in left}
        for number, future in enumerate(as_completed(futures), start=1):
            work = futures[future]
            found[work] = future.result()
            finished += size(work)
            spent = time.monotonic() - before
            minutes = spent * (whole - finished) / finished / 60
            told(f"{number} of {len(left)}: {work}; about {minutes:.0f} min left")
    return found


def _do(do: Callable[[Work], Result], work: Work, path: Path) -> Result:
    """In another process; the result is kept there, so that whoever waits for it may be stopped."""
    result = do(work)
    write_whole(path, msgspec.json.encode(result))
    return result


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """For processes that start inside."""
    before = dict(os.environ)
    os.environ |= variables
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
