"""Finds options of `trainer:` that suit a history, by trying them; no label is needed.

The options as they are configured are tried first: what is found must beat them in the same exam.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from config.policies import milliseconds
from config.schema import plain
from detector.history import ANOMALOUS
from trainer.exam import exam
from trainer.finishing import fingerprint
from trainer.jobs import Job
from trainer.parts import split
from trainer.problems import Unusable
from trainer.space import Span, described, searchable, value_of, with_options
from trainer.stages import Stage
from trainer.study import Outcome, Study
from trainer.training import fit_detector
from trainer.verdict import check, rows_needed
from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from config.settings import Settings
    from config.training import Trainer
    from detector.history import History
    from trainer.exam import Exam, Marks
    from trainer.space import Range, Value
    from trainer.study import Proposal, Sampler

CREATED = datetime(1970, 1, 1, tzinfo=UTC)  # of detectors that live for one exam


class Ended(StrEnum):
    """Why a search is over."""

    TRIALS = "trials"
    TIME = "time"
    EVERYTHING_TRIED = "everything_tried"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a search is over; without any, when everything was tried.

    Attributes:
        trials: Trials in the study, those of earlier searches included.
        seconds: Of this search. The configured options are tried to their end however long it takes.
    """

    trials: int | None
    seconds: float | None


class Search:
    """A search over one history, to be closed; whatever breaks `run` off, what it found stays."""

    def __init__(
        self,
        histories: Sequence[History],
        *,
        settings: Settings,
        over: Sequence[str],
        sampler: Sampler,
        path: Path | None,
    ) -> None:
        """Looks at the history, and begins a study or goes on with one.

        Args:
            histories: What one model would be fitted on; rows labelled anomalous are never fitted on.
            settings: Of which `trainer` and `readings.interval` are used.
            over: The options that are searched, each of `searchable()`.
            sampler: How they are searched.
            path: The file of the study; None: it is forgotten.

        Raises:
            Unusable: The history cannot carry a search, or the file no study of it.
        """
        wishes = settings.trainer
        self._settings = settings
        self.default: Mapping[str, Value] = {name: value_of(wishes, name) for name in over}
        self.space = _space(histories, settings, self.default)
        self.exam: Exam = exam(
            histories,
            calibration_share=wishes.calibration_share,
            longest=int(_most(self.space, wishes, "window")),
            smoothing=_most(self.space, wishes, "smoothing"),
            stride=wishes.stride,
            seed=wishes.seed,
            channels=settings.readings.channels,
        )
        self.study = Study(
            self.space,
            self.default,
            sampler=sampler,
            seed=wishes.seed,
            path=path,
            purpose={
                "options": [*over],
                "history": fingerprint(histories),
                "labels": [
                    0 if one.label is None else int((one.label == ANOMALOUS).sum()) for one in histories
                ],
                "configuration": [
                    plain(wishes),
                    plain(settings.readings.interval),
                    plain(settings.readings.channels),
                ],
                "version of anomalyd": version("anomalyd"),
            },
        )

    def close(self) -> None:
        """Lets other processes have the study's file."""
        self.study.close()

    @property
    def best(self) -> Outcome | None:
        """The trial with the highest score, of equal ones the first; None: none succeeded."""
        good = [outcome for outcome in self.study.outcomes if outcome.marks is not None]
        return max(good, key=_score, default=None)

    @property
    def configured(self) -> Outcome | None:
        """The trial of the options as they are configured; None: it was cut off."""
        return next((outcome for outcome in self.study.outcomes if outcome.options == self.default), None)

    def winner(self) -> Trainer:
        """The wishes for a training with the best options, or as configured where none succeeded."""
        best = self.best
        trainer = with_options(self._settings.trainer, {} if best is None else best.options)
        assert not isinstance(trainer, list), trainer
        return trainer

    def run(
        self,
        limits: Limits,
        *,
        progress: Callable[[Proposal, Stage], None] = lambda *_: None,
        ended: Callable[[Outcome], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Ended:
        """Tries options until a limit is reached.

        Args:
            limits: When it is over.
            progress: Is told what a trial is busy with.
            ended: Is told how a trial ended.
            clock: Seconds.
        """
        until = math.inf if limits.seconds is None else clock() + limits.seconds
        while True:
            tried = len(self.study.outcomes)
            if limits.trials is not None and tried >= limits.trials:
                return Ended.TRIALS
            deadline = until if tried else math.inf
            if clock() >= deadline:
                return Ended.TIME
            proposal = self.study.ask()
            if proposal is None:
                return Ended.EVERYTHING_TRIED
            try:
                outcome = self._tried(proposal, progress, deadline, clock)
            except _TimeIsUp:
                return Ended.TIME
            self.study.tell(outcome)
            ended(outcome)

    def _tried(
        self,
        proposal: Proposal,
        progress: Callable[[Proposal, Stage], None],
        deadline: float,
        clock: Callable[[], float],
    ) -> Outcome:
        def tell(stage: Stage) -> None:
            if clock() >= deadline:
                raise _TimeIsUp
            progress(proposal, stage)

        began, marks, problem = clock(), None, None
        try:
            marks = self._examined(proposal.options, tell)
        except Unusable as error:
            problem = str(error)
        return Outcome(
            number=proposal.number,
            options=proposal.options,
            marks=marks,
            problem=problem,
            seconds=clock() - began,
        )

    def _examined(self, options: Mapping[str, Value], tell: Callable[[Stage], None]) -> Marks:
        trainer = with_options(self._settings.trainer, options)
        if isinstance(trainer, list):
            raise Unusable(*described(trainer))
        job = Job(self.exam.fitted_on, None, (), "")
        settings = msgspec.structs.replace(self._settings, trainer=trainer)
        detector = fit_detector(job, settings=settings, created_at=CREATED, progress=tell)
        tell(Stage("looking for faults"))
        return self.exam.judge(detector)


class _TimeIsUp(Exception):
    """A trial would take longer than the search may."""


def _score(outcome: Outcome) -> float:
    assert outcome.marks is not None
    return outcome.marks.score


def _space(
    histories: Sequence[History], settings: Settings, default: Mapping[str, Value]
) -> dict[str, Range]:
    """What is searched, less the windows for which the history is too short.

    Raises:
        Unusable: It is too short for any, or no good at all.
    """
    ranges = searchable()
    space = {name: ranges[name] for name in default}
    shortest = settings.trainer
    window = space.get("window")
    if isinstance(window, Span):
        rows = sum(len(history.normal()) for history in histories)
        fitting = [
            length
            for length in range(int(window.low), int(window.high) + 1)
            if _rows_needed(msgspec.structs.replace(shortest, window=length)) <= rows
        ]
        space["window"] = window.up_to(max(fitting, default=window.low))
        least = min(int(window.low), shortest.window)
        shortest = msgspec.structs.replace(shortest, window=least)
    _check(histories, shortest, settings)
    return {name: some.including(default[name]) for name, some in space.items()}


def _check(histories: Sequence[History], wishes: Trainer, settings: Settings) -> None:
    """Looks at the history as training does, and then at the part of it that a trial is given.

    Raises:
        Unusable: Either cannot carry a model; all reasons.
    """
    readings = settings.readings
    interval = None if readings.interval is None else milliseconds(readings.interval)
    errors = check(histories, wishes, interval=interval, channels=readings.channels).errors
    if errors:
        raise Unusable(*errors)
    normal = [history.normal() for history in histories]
    usable = split(normal, wishes.calibration_share).not_held_back
    errors = check(usable, wishes, interval=interval, channels=readings.channels).errors
    rows, needed = sum(map(len, normal)), _rows_needed(wishes)
    if errors and rows < needed:
        raise Unusable(
            f"history: must give windows to learn from and others to compare by, beside those that are "
            f"held back for the threshold, got {counted(rows, 'row')}; {needed:,} rows without holes are "
            f"enough at trainer.window {wishes.window}"
        )
    if errors:
        raise Unusable(
            *(f"{error} (of the rows that are not held back for the threshold)" for error in errors)
        )


def _rows_needed(wishes: Trainer) -> int:
    """Rows without holes of which enough are left to a trial."""
    needed = rows_needed(wishes)
    rows = needed
    while rows - round(rows * wishes.calibration_share) < needed:
        rows += 1
    return rows


def _most(space: Mapping[str, Range], wishes: Trainer, option: str) -> float:
    """The largest number that may be tried for an option."""
    some = space.get(option)
    number: float = some.high if isinstance(some, Span) else value_of(wishes, option)
    return number
