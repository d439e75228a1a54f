"""The recordings, which of their rows are fitted on and which are judged."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import Settings
from detector.history import NORMAL, UNKNOWN, History
from trainer.history_files import read_histories

DATA = Path(os.environ.get("ANOMALYD_DATA", Path(__file__).parents[3] / "shared" / "data"))
CALIBRATED = 0.3  # of the training rows, the last ones: held back for the threshold
assert Settings().trainer.calibration_share == CALIBRATED


@dataclass(frozen=True, slots=True)
class Set:
    """Recordings of one kind.

    Attributes:
        what: In a few words.
        window: Rows in a window of the baselines; anomalyd has one window for all sets, its default.
        buffer: The longest buffer of VUS-PR, in rows; see `trainer.ranking`.
        counts: Whether it counts for the figures to reach.
    """

    what: str
    window: int
    buffer: int
    counts: bool = True


SETS = {
    "skab": Set("a pump, valves and a motor; one fault per file, 1 s", 30, 60),
    "tep": Set("Tennessee Eastman process, simulated; 52 sensors, 3 min", 1, 20),
    "smd": Set("servers, 38 sensors, 1 min, weeks", 10, 100),
    "asd": Set("application servers, 19 sensors, 5 min", 5, 20),
    "hrss": Set("high-rack conveyor, 18 sensors, 55 ms", 10, 100, counts=False),
    "nab": Set("one machine's temperature, 5 min", 24, 100, counts=False),
    "ims": Set("four bearings until one fails, 10 min; no labels", 6, 100, counts=False),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the manifest.

    Attributes:
        of: Its set.
        machine: Its name in the set.
        path: Below the folder of data.
        digest: SHA-256 of its bytes.
        rows, sensors: How many.
        train, test: Normal rows to learn from, and rows to judge; the latter may be none.
    """

    of: str
    machine: str
    path: str
    digest: str
    rows: int
    sensors: int
    train: tuple[int, int]
    test: tuple[int, int]

    def read(self) -> Recording:
        """The file's rows."""
        (history,) = read_histories([DATA / self.path], Settings().history, machine=self.machine)
        return Recording(self, history, self.train[1])


def sources() -> list[Source]:
    """All files of the manifest."""
    return [
        Source(
            of=entry["dataset"],
            machine=entry["machine"],
            path=entry["file"],
            digest=entry["sha256"],
            rows=entry["rows"],
            sensors=len(entry["sensors"]),
            train=tuple(entry["train_range"]),
            test=tuple(entry["test_range"]),
        )
        for entry in json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))["files"]
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A file's rows, of which those before `learned` may be learned from.

    Attributes:
        source: The file.
        history: All of its rows, with labels.
        learned: Where the rows to learn from end; they begin where the source's do.
    """

    source: Source
    history: History
    learned: int

    @property
    def kind(self) -> Set:
        return SETS[self.source.of]

    @property
    def fit(self) -> slice:
        """Rows to fit on: those to learn from but the last, which are held back."""
        start = self.source.train[0]
        return slice(start, self.learned - round((self.learned - start) * CALIBRATED))

    @property
    def held_back(self) -> slice:
        """Rows to learn the threshold from."""
        return slice(self.fit.stop, self.learned)

    def shortened(self) -> Recording:
        """The same with its held-back rows out of sight, to be judged on them: they are normal."""
        return dataclasses.replace(self, learned=self.fit.stop)

    def tested(self) -> History:
        """Labels for the rows to judge alone."""
        assert self.history.label is not None
        test = slice(*self.source.test)
        label = np.full(len(self.history), UNKNOWN, dtype=np.int8)
        label[test] = self.history.label[test]
        return dataclasses.replace(self.history, label=label)

    def normal(self, rows: slice) -> History:
        """These rows as normal ones, and no label for any other."""
        label = np.full(len(self.history), UNKNOWN, dtype=np.int8)
        label[rows] = NORMAL
        return dataclasses.replace(self.history, label=label)
