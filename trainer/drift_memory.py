"""What is kept of a machine between two measurements of its drift, so that the next one reads what is new."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from registry.files import UNREADABLE_ARRAYS, write_whole
from trainer.drift_blocks import Course

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FOLDER = "drift"


class About(msgspec.Struct, frozen=True):
    """Whose blocks they are.

    Attributes:
        machine: Its name.
        model: The bundle that scored them.
        length: Of a block, in milliseconds.
        until: Where the next block begins, in milliseconds since the epoch.
    """

    machine: str
    model: str
    length: int
    until: int


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """One machine under one bundle.

    Attributes:
        about: Whose blocks they are.
        usual: Blocks of the time that the model knows.
        newest: Those after it.
    """

    about: About
    usual: Course
    newest: Course


def path_of(state_dir: Path, machine: str) -> Path:
    """Its file; a name may hold what no file's name may."""
    return state_dir / FOLDER / f"{sha256(machine.encode()).hexdigest()[:16]}.npz"


def read(state_dir: Path, machine: str) -> Followed | None:
    """What is kept; None where nothing is, or where it cannot be read: it is measured anew then."""
    try:
        content = path_of(state_dir, machine).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            about = msgspec.json.decode(file["about"].tobytes(), type=About)
            usual, newest = (
                Course(*(file[f"{part}_{field.name}"] for field in fields(Course)))
                for part in ("usual", "newest")
            )
    except UNREADABLE_ARRAYS:
        return None
    return Followed(about, usual, newest) if about.machine == machine else None


def write(state_dir: Path, followed: Followed) -> None:
    """Replaces what is kept.

    Raises:
        OSError: The disk refuses.
    """
    arrays: dict[str, Any] = {"about": np.frombuffer(msgspec.json.encode(followed.about), np.uint8)}
    for part in ("usual", "newest"):
        course = getattr(followed, part)
        arrays |= {f"{part}_{field.name}": getattr(course, field.name) for field in fields(Course)}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    path = path_of(state_dir, followed.about.machine)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, file.getvalue())


def forget(state_dir: Path, machines: Collection[str]) -> None:
    """Deletes what is kept of all machines but these."""
    known = {path_of(state_dir, machine) for machine in machines}
    for path in (state_dir / FOLDER).glob("*.npz"):
        if path not in known:
            with suppress(OSError):
                path.unlink()
