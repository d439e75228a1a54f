"""What a bundle remembers of the rows that its model was fitted on, for the next one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detector.history import History
from registry.files import UNREADABLE_ARRAYS
from trainer.blocks import choose, cut, length, regimes, shares, spread_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector.grid import Grid
    from detector.manifest import WindowSpec

FILE = "learned.npz"


class _Machine(msgspec.Struct):
    """What is written beside a machine's arrays."""

    machine: str
    sensors: tuple[str, ...]
    texts: list[tuple[float, str]]


def sample(histories: Sequence[History], grid: Grid, spec: WindowSpec, most: int) -> tuple[History, ...]:
    """At most so many rows of all machines together, in whole blocks.

    Every regime is among them, and all times of it: the newest rows the store has anyway.
    """
    remembered = []
    for history, room in zip(histories, shares([*map(len, histories)], most), strict=True):
        blocks = cut(history, grid, spec.max_gap, length(spec.length, room))
        chosen = choose(blocks, regimes(history, blocks), room, spread_out(blocks))
        remembered.append(history.rows(blocks.rows(chosen)))
    return tuple(history for history in remembered if len(history))


def pack(histories: Sequence[History]) -> bytes:
    """Histories as a file of numpy arrays alone, so that reading it runs nothing; labels are not kept."""
    machines = [
        _Machine(one.machine, one.sensors, [(float(number), text) for number, text in one.texts.items()])
        for one in histories
    ]
    arrays: dict[str, Any] = {"machines": np.frombuffer(msgspec.json.encode(machines), np.uint8)}
    for number, one in enumerate(histories):
        arrays |= {f"at_{number}": one.at, f"values_{number}": one.values}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read(bundle: Path) -> tuple[History, ...]:
    """What the bundle in a folder remembers; nothing where it is of an older version or cannot be read.

    Without its memory a retraining learns from the stored readings alone, as it would have to anyway.
    """
    try:
        with np.load(io.BytesIO((bundle / FILE).read_bytes()), allow_pickle=False) as file:
            machines = msgspec.json.decode(file["machines"].tobytes(), type=list[_Machine])
            return tuple(
                History(
                    one.machine,
                    one.sensors,
                    file[f"at_{number}"],
                    file[f"values_{number}"],
                    texts=dict(one.texts),
                )
                for number, one in enumerate(machines)
            )
    except UNREADABLE_ARRAYS:
        return ()
