"""Waits for what must come, instead of sleeping and hoping."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 90.0  # seconds; reached only when something is broken


def wait_until(seen: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Returns the first result that is true; fails with `what` and the last result if none comes."""
    until = time.monotonic() + patience
    while not (result := seen()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {patience:g} s for {what}, got {result!r}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this host."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
