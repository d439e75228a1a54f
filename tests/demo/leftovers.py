"""Finds processes by a mark in their environment, which children inherit however deep."""

from __future__ import annotations

import contextlib
from pathlib import Path

MARK = "DEMO_TEST_MARK"


def marked(value: str) -> list[str]:
    """The command lines of the living processes that were started with that mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if f"{MARK}={value}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " "))
    return found
