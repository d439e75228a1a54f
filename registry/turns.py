"""What became of each retraining: a record for machines and a page for people, beside the bundles."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from detector.composition import Composition
from detector.manifest import Asked
from registry.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TURNS = "turns"
MOST_BYTES = 4 * 1024**2  # of a record; one holds a few kilobytes


class Verdict(StrEnum):
    """How a challenger compares with the champion in one respect."""

    BETTER = "better"
    AS_GOOD = "as_good"
    WORSE = "worse"
    NOT_COMPARED = "not_compared"


class Unit(StrEnum):
    """What a figure counts."""

    SHARE = "share"  # between 0 and 1
    NUMBER = "number"
    DAYS = "days"
    RATIO = "ratio"  # to the champion's


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """One respect in which a challenger is compared with the champion.

    Attributes:
        name: The reason of a decision that is made by it.
        what: The figure, in words.
        unit: Of the three numbers.
        challenger: Its figure; None: it has none.
        champion: The same of what serves.
        allowed: The worst figure that a challenger may have; None: any.
        verdict: What follows.
        note: What else is to be said.
    """

    name: str
    what: str
    unit: Unit
    challenger: float | None
    champion: float | None
    allowed: float | None
    verdict: Verdict
    note: str = ""


class Outcome(StrEnum):
    """What became of a challenger."""

    PROMOTED = "promoted"
    WAITS = "waits"  # for a person, or for its time beside the champion to be over
    REFUSED = "refused"
    NONE = "none"  # there is none: the turn ended before


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One turn.

    Attributes:
        id: Its name, sortable by time.
        at: When it ended, ISO 8601 in UTC.
        machine: Whose bundle it was about; None: the shared one.
        outcome: What became of the challenger.
        reason: Why, in a word.
        text: Why, in a sentence.
        bundle: The challenger; None: there is none.
        champion: What it was compared with; None: nothing served.
        criteria: In which respects.
        asked: Who asked for the turn, and why; None: a person trained from files.
        source: Where the readings came from.
        composition: What was learned from; None: files.
        notes: What else is to be known, such as damaged files.
        seconds: How long its parts took.
    """

    id: str
    at: str
    machine: str | None
    outcome: Outcome
    reason: str
    text: str
    bundle: str | None = None
    champion: str | None = None
    criteria: tuple[Criterion, ...] = ()
    asked: Asked | None = None
    source: tuple[str, ...] = ()
    composition: Composition | None = None
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = {}


class UnknownTurn(Exception):
    """There is no such turn, or its record cannot be read; the message names it."""


class Turns:
    """The records of one state directory, bounded in number; safe for several processes."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / TURNS

    def ids(self) -> list[str]:
        """All turns, oldest first."""
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            names = (entry.name for entry in entries if entry.name[0] != ".")
            return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        return []

    def add(self, record: Record, page: str | None, *, most: int) -> None:
        """Writes a turn whole, its page before its record, and deletes the oldest beyond so many.

        Args:
            record: What became of it.
            page: The same for people; None: no page is wished for.
            most: How many are kept, at least 1.

        Raises:
            OSError: The disk refuses.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if page is not None:
            write_whole(self.page(record.id), page.encode())
        content = msgspec.json.format(msgspec.json.encode(record), indent=2)
        write_whole(self._record(record.id), content + b"\n")
        for turn in self.ids()[:-most]:
            self._record(turn).unlink(missing_ok=True)
            self.page(turn).unlink(missing_ok=True)

    def read(self, turn: str) -> Record:
        """A turn by its id.

        Raises:
            UnknownTurn: There is none, or its record was damaged.
        """
        if turn not in self.ids():
            raise UnknownTurn(f"turn {turn}: there is none in {self.path}")
        try:
            with self._record(turn).open("rb") as file:
                return msgspec.json.decode(file.read(MOST_BYTES), type=Record)
        except (OSError, ValueError, RecursionError) as error:
            raise UnknownTurn(f"turn {turn}: {self._record(turn)} cannot be read: {error}") from error

    def all(self) -> Iterator[Record | UnknownTurn]:
        """Every turn, oldest first; of a damaged one what is wrong with it."""
        for turn in self.ids():
            try:
                yield self.read(turn)
            except UnknownTurn as error:
                yield error

    def of_bundle(self, bundle: str) -> Record | None:
        """The newest turn that a bundle was judged in."""
        for turn in reversed(self.ids()):
            with suppress(UnknownTurn):
                record = self.read(turn)
                if record.bundle == bundle:
                    return record
        return None

    def page(self, turn: str) -> Path:
        """Where the page of a turn lies, if there is one."""
        return self.path / f"{turn}.html"

    def _record(self, turn: str) -> Path:
        return self.path / f"{turn}.json"
