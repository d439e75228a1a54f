"""Readings around confirmed incidents, kept when the store has forgotten them: a gate replays them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.history import History
from registry.files import UNREADABLE_ARRAYS, write_whole

if TYPE_CHECKING:
    from pathlib import Path

INCIDENTS = "incidents"
MOST_BYTES = 64 * 1024**2  # of one file, which says how much it holds: a damaged one must not fill the memory


@dataclass(frozen=True, slots=True, eq=False)
class Incident:
    """What went wrong on a machine, with the readings before, in and after it.

    Attributes:
        start: Its first moment, in milliseconds since the epoch.
        end: Its last one.
        code: What kind of incident it was, in the words of the plant.
        note: What somebody wrote about it.
        history: The readings; those after the end may be missing.
    """

    start: int
    end: int
    code: str
    note: str
    history: History

    @property
    def name(self) -> str:
        """For people: `press 2026-01-03T22:00:00Z`."""
        moment = np.datetime64(self.start, "ms").astype("datetime64[s]")
        return f"{self.history.machine} {moment}Z" + (f" ({self.code})" if self.code else "")


class _Head(msgspec.Struct, frozen=True):
    machine: str
    start: int
    end: int
    sensors: tuple[str, ...]
    code: str = ""
    note: str = ""


class Incidents:
    """The incidents of one state directory, in NumPy's files, which run no code when they are read."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / INCIDENTS

    def keep(self, incident: Incident) -> bool:
        """Writes an incident whole, unless it is kept already with the same end; returns whether it did.

        Raises:
            OSError: The disk refuses.
        """
        history = incident.history
        file = self._file(history.machine, incident.start)
        try:
            if _read(file).end == incident.end:
                return False
        except (FileNotFoundError, DamagedIncident):
            pass
        head = _Head(
            history.machine, incident.start, incident.end, history.sensors, incident.code, incident.note
        )
        content = io.BytesIO()
        np.savez_compressed(
            content,
            head=np.frombuffer(msgspec.json.encode(head), np.uint8),
            at=history.at,
            values=history.values,
        )
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.getvalue())
        return True

    def forget(self, machine: str, start: int) -> bool:
        """Deletes an incident that was none; returns whether there was one.

        Raises:
            OSError: The disk refuses.
        """
        file = self._file(machine, start)
        there = file.exists()
        file.unlink(missing_ok=True)
        return there

    def all(self) -> tuple[list[Incident], list[str]]:
        """Every incident, oldest first, and what is wrong with files that cannot be used."""
        found, problems = [], []
        for file in sorted(self.path.glob("*.npz")):
            try:
                found.append(_read(file))
            except DamagedIncident as error:
                problems.append(str(error))
            except FileNotFoundError:
                continue  # another process has deleted it
        return sorted(found, key=lambda one: (one.start, one.history.machine)), problems

    def bound(self, most_bytes: int) -> list[str]:
        """Deletes the oldest until the rest takes no more than so many bytes; returns their names.

        Raises:
            OSError: The disk refuses.
        """
        gone = []
        excess = sum(file.stat().st_size for file in self.path.glob("*.npz")) - most_bytes
        for incident in self.all()[0] if excess > 0 else []:
            if excess <= 0:
                break
            file = self._file(incident.history.machine, incident.start)
            excess -= file.stat().st_size
            file.unlink(missing_ok=True)
            gone.append(incident.name)
        return gone

    def _file(self, machine: str, start: int) -> Path:
        # A machine's name may hold what no file's name can.
        name = blake2b(f"{machine}\0{start}".encode(), digest_size=16).hexdigest()
        return self.path / f"{name}.npz"


class DamagedIncident(Exception):
    """A file that is no incident; the message names it and says why."""


def _read(file: Path) -> Incident:
    """Reads one file.

    Raises:
        DamagedIncident: It is not what was written.
        FileNotFoundError: There is none.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise DamagedIncident(f"{file}: must hold at most {MOST_BYTES} bytes, got {size}")
        with np.load(file, allow_pickle=False) as content:
            head = msgspec.json.decode(content["head"].tobytes(), type=_Head)
            at, values = content["at"], content["values"]
        if at.dtype != np.int64 or values.dtype != np.float64 or at.ndim != 1 or (np.diff(at) < 0).any():
            raise DamagedIncident(f"{file}: must hold times in ascending order and their values")
        history = History(head.machine, head.sensors, at, values)
    except FileNotFoundError:
        raise
    except UNREADABLE_ARRAYS as error:
        raise DamagedIncident(f"{file}: is no incident that can be read: {error}") from error
    return Incident(head.start, head.end, head.code, head.note, history)
