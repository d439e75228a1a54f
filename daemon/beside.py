"""The store's file, for who reads and changes a little of it beside a running daemon."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from daemon.opening import StoreError
from daemon.schema import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 30.0  # seconds to wait for the file


def open_beside(path: Path) -> sqlite3.Connection:
    """Opens the store in this file; changes are to be short transactions.

    Raises:
        StoreError: There is none, it was written by another version, or cannot be opened.
    """
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None
        )
        (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be used as the store: {error}") from error
    if version != SCHEMA:
        raise StoreError(f"{path}: must have schema {SCHEMA}, got {version}: start the daemon first")
    return database
