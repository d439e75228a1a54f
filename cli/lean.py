"""What the daemon imports first, less what it has no use for: it starts sooner and stays small."""

from __future__ import annotations

import os
import sys
from importlib import import_module

UNUSED = (
    "rich",  # structlog would draw tracebacks with it
    "typing_extensions",  # msgspec has it read annotations that `typing` reads as well
)
BLAS_THREADS = "OPENBLAS_NUM_THREADS"  # the daemon's matrices are LiteRT's: numpy's threads would only idle


def import_lean() -> None:
    """Imports numpy, msgspec and structlog without them; nothing changes for who imports them later."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    threads = os.environ.get(BLAS_THREADS)
    os.environ.setdefault(BLAS_THREADS, "1")
    try:
        for name in ("msgspec", "structlog", "numpy"):
            import_module(name)
    finally:
        for name in hidden:
            del sys.modules[name]
        if threads is None:
            del os.environ[BLAS_THREADS]  # a retraining inherits the rest
