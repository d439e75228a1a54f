"""Histories on disk, in the order in which they will be replayed, so that they may be larger than memory.

The file has no name, so that nothing of it is left however the process ends.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, TYPE_CHECKING, Self

import numpy as np

from detector.history import UNKNOWN, History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROWS = 16_384  # rows of a block: enough that its handling costs nothing, 1 MB at 8 sensors


@dataclass(frozen=True, slots=True)
class Extent:
    """Rows that lie in a row in the file: their times, then their values, then their labels.

    Attributes:
        offset: Where in the file, in bytes.
        rows: How many.
        first: Their earliest time, in milliseconds since the epoch.
        last: Their latest time.
    """

    offset: int
    rows: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Recording:
    """One machine's readings in a file; may be handed to other processes while the recorder is open.

    Attributes:
        machine: The machine's name.
        sensors: Names of the F sensors.
        extents: Where its rows are.
        back: How many times the time went back from row to row as they came.
        ordered: Whether the rows are in order of time, extent after extent.
        labelled: Whether any of its files had labels.
        file: The recorder's file.
    """

    machine: str
    sensors: tuple[str, ...]
    extents: tuple[Extent, ...]
    back: int
    ordered: bool
    labelled: bool
    file: Path

    def __len__(self) -> int:
        return sum(extent.rows for extent in self.extents)

    @property
    def first(self) -> int:
        """Time of the earliest row."""
        return min(extent.first for extent in self.extents)

    def blocks(self) -> Iterator[History]:
        """Its rows in order of time, in pieces of at most about `ROWS`; rows of one time keep their order.

        Rows that came in no order are taken into memory and sorted, all of this machine.
        """
        with self.file.open("rb", buffering=0) as file:
            if not self.ordered:
                whole = _joined([self._read(file, extent) for extent in self.extents])
                whole = whole.rows(np.argsort(whole.at, kind="stable"))
                yield from (whole.rows(slice(start, start + ROWS)) for start in range(0, len(whole), ROWS))
                return
            for extents in _groups(self.extents):
                yield _joined([self._read(file, extent) for extent in extents])

    def _read(self, file: IO[bytes], extent: Extent) -> History:
        rows, width = extent.rows, len(self.sensors)
        content = os.pread(file.fileno(), rows * _row_size(width), extent.offset)
        at = np.frombuffer(content, np.int64, rows)
        values = np.frombuffer(content, np.float64, rows * width, 8 * rows).reshape(rows, width)
        label = np.frombuffer(content, np.int8, rows, 8 * rows * (1 + width)) if self.labelled else None
        return History(self.machine, self.sensors, at, values, label)


class Recorder:
    """Writes pieces of histories; to be closed when the recordings are needed no more."""

    def __init__(self, folder: Path | None = None) -> None:
        """Opens the file.

        Args:
            folder: Where; by default $TMPDIR or where this host keeps large temporary files.
        """
        self._folder = folder or temporary_folder()
        self._file: IO[bytes] = TemporaryFile(dir=self._folder)  # noqa: SIM115 - see `__exit__`
        self._end = 0
        self._tracks: dict[str, _Track] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, piece: History) -> None:
        """Takes the next rows of a machine; their sensors are those of its first piece, in any order.

        Raises:
            OSError: The disk refuses.
        """
        track = self._tracks.setdefault(piece.machine, _Track(piece.sensors))
        piece = piece.select(track.sensors)
        for start in range(0, len(piece), ROWS):
            self._write(piece.rows(slice(start, start + ROWS)), track)

    def _write(self, rows: History, track: _Track) -> None:
        track.labelled |= rows.label is not None
        label = np.full(len(rows), UNKNOWN, dtype=np.int8) if rows.label is None else rows.label
        content = b"".join((rows.at.tobytes(), rows.values.tobytes(), label.tobytes()))
        with self._full_disk_named():
            self._file.write(content)
        track.add(rows.at, self._end)
        self._end += len(content)

    def recordings(self) -> list[Recording]:
        """What was written, by machine; to be used before the recorder is closed.

        Raises:
            OSError: The disk refuses.
        """
        with self._full_disk_named():
            self._file.flush()
        file = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        return [self._tracks[machine].recording(machine, file) for machine in sorted(self._tracks)]

    @contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = f"{error.strerror}; $TMPDIR names another folder for the copy that is replayed"
            raise OSError(error.errno, hint, str(self._folder)) from error


@dataclass(slots=True)
class _Track:
    """What is known of one machine while its rows are written."""

    sensors: tuple[str, ...]
    extents: list[Extent] = field(default_factory=list)
    newest: int | None = None  # time of the last row
    sorted_within: bool = True
    back: int = 0
    labelled: bool = False

    def add(self, at: NDArray[np.int64], offset: int) -> None:
        within = int((np.diff(at) < 0).sum())
        between = self.newest is not None and int(at[0]) < self.newest
        self.sorted_within &= within == 0
        self.back += within + between
        self.newest = int(at[-1])
        self.extents.append(Extent(offset, len(at), int(at.min()), int(at.max())))

    def recording(self, machine: str, file: Path) -> Recording:
        # Whole files in a wrong order are the usual case of rows out of order, and need no memory.
        extents = sorted(self.extents, key=lambda extent: extent.first)
        # Rows of one time keep the order in which they came.
        ordered = self.sorted_within and all(
            a.last < b.first or (a.last == b.first and a.offset < b.offset) for a, b in pairwise(extents)
        )
        return Recording(
            machine,
            self.sensors,
            tuple(extents if ordered else self.extents),
            back=self.back,
            ordered=ordered,
            labelled=self.labelled,
            file=file,
        )


def temporary_folder() -> Path:
    """Where a large temporary file belongs: /tmp is memory on many hosts, /var/tmp is a disk."""
    large = Path("/var/tmp")  # noqa: S108 - files in it have no name
    return large if "TMPDIR" not in os.environ and os.access(large, os.W_OK) else Path(gettempdir())


def _row_size(width: int) -> int:
    return 8 + 8 * width + 1


def _groups(extents: tuple[Extent, ...]) -> Iterator[list[Extent]]:
    """Neighbours that together have at most `ROWS` rows: of many machines in one file, each has few."""
    group: list[Extent] = []
    rows = 0
    for extent in extents:
        if group and rows + extent.rows > ROWS:
            yield group
            group, rows = [], 0
        group.append(extent)
        rows += extent.rows
    if group:
        yield group


def _joined(pieces: list[History]) -> History:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    return History(
        first.machine,
        first.sensors,
        np.concatenate([piece.at for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
        None if first.label is None else np.concatenate([p.label for p in pieces if p.label is not None]),
    )
