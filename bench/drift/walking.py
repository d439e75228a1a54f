"""A machine's time streamed through the pipeline, with a turn of the shipped code whenever one is due."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from bench.drift.courses import Course
from bench.drift.operator import Alert, Operator
from cli.gathering import suspected
from config import Settings
from config.policies import alert_policy, health_policy, milliseconds, stream_policy
from detector.alerts import Change
from detector.events import AlertChanged, Event
from detector.history import History
from detector.labels import Label
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.replay import readings, replay
from detector.scoring import Detector
from registry.champions import Registry
from trainer import memory
from trainer.composition import Stored, compose
from trainer.drift_follow import Watched, drift_of, follow
from trainer.drift_memory import Followed
from trainer.evaluation import Counts, Rows, counts, rows
from trainer.jobs import Job
from trainer.problems import Unusable
from trainer.training import train
from trainer.turn import take_turn

CURVE = 400  # points of a score over time, for a picture


class Policy(StrEnum):
    """How a machine's models are kept up to date."""

    NONE = "no retraining"
    BLIND = "blind retraining"  # on all of the last days, alerts or not; the new one always serves
    SHIPPED = "as shipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One turn.

    Attributes:
        at: When, in milliseconds since the epoch.
        promoted: Whether its bundle serves now.
        reason: Why, in a word.
        text: Why, in a sentence.
        rows: How many it learned from.
        left_out: How many it left out, by reason.
    """

    at: int
    promoted: bool
    reason: str
    text: str
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What a walk came to.

    Attributes:
        counts: Of the rows to judge.
        turns: In order of time.
        answered: What was said about alerts, by kind.
        days: Length of the rows to judge.
        at, score, event: At `CURVE` moments of the rows to judge, the highest score since the one before,
            and whether a labelled event touched that time; the time in days since the first.
    """

    counts: Counts
    turns: tuple[Took, ...]
    answered: dict[str, int]
    days: float
    at: tuple[float, ...]
    score: tuple[float | None, ...]
    event: tuple[bool, ...]


def walk(
    course: Course, policy: Policy, settings: Settings, every: timedelta, operator: Operator | None = None
) -> Walked:
    """Trains on the rows to learn from, then streams the others.

    Args:
        course: The machine's time.
        policy: How its model is kept up to date.
        settings: The configuration.
        every: How often a turn is due.
        operator: Who answers alerts; None: nobody does.

    Raises:
        Unusable: The rows to learn from cannot carry a model.
    """
    with tempfile.TemporaryDirectory() as folder:
        walker = _Walker(course, policy, settings, Path(folder), operator)
        step = milliseconds(every)
        at = course.unlabelled.at
        begin, end = course.learned.stop, course.judged.stop
        dues = np.searchsorted(at, np.arange(at[begin] + step, at[end - 1], step)).tolist()
        for due in dues:
            walker.stream(due)
            walker.take_turn()
        walker.stream(end)
        return walker.walked()


class _Walker:
    """Where a walk is."""

    def __init__(
        self, course: Course, policy: Policy, settings: Settings, folder: Path, operator: Operator | None
    ) -> None:
        self._course, self._policy, self._settings, self._operator = course, policy, settings, operator
        self._history = course.unlabelled
        self._registry = Registry(folder)
        self._turns: list[Took] = []
        self._alerts: list[Alert] = []
        self._labels: dict[str, Label] = {}
        self._events: list[Event] = []
        self._followed: Followed | None = None
        first = self._history.rows(course.learned)
        detector = self._fit([first], serve=True)
        self._grid, self._stride = detector.manifest.grid, detector.manifest.window.stride
        self._pipeline = Pipeline(
            self._serving(detector),
            stream=stream_policy(settings),
            alerts=alert_policy(settings),
            health=health_policy(settings),
        )
        self._row = course.learned.start
        self.stream(course.learned.stop)
        # These rows are here so that windows are full: nobody watched the machine then.
        self._alerts = [alert for alert in self._alerts if alert.closed is None]

    def stream(self, until: int) -> None:
        """Sends the rows up to this one."""
        piece = self._history.rows(slice(self._row, until))
        self._row = until
        for event in replay([piece], self._pipeline):
            self._events.append(event)
            if isinstance(event, AlertChanged):
                self._follow(event)

    def take_turn(self) -> None:
        """Does what is due by the policy at the row that comes next."""
        if self._policy is Policy.NONE:
            return
        now = self._now()
        oldest = now - milliseconds(self._settings.retrain.look_back)
        if self._policy is Policy.BLIND:
            seen = self._history.rows(slice(self._course.learned.start, self._row))
            learned = seen.rows(seen.at >= oldest)
            try:
                self._swap(self._fit([learned], serve=True))
            except Unusable as error:
                self._note("unusable", str(error), promoted=False)
                return
            self._note("always", "whatever it is worth", promoted=True, rows=len(learned))
            return
        self._learn(self._read(oldest), now)

    def walked(self) -> Walked:
        """What it came to."""
        judged = self._course.judged
        laid = rows(self._course.labelled(), self._events, grid=self._grid, stride=self._stride)
        at, score, event = _curve(laid, judged)
        answered = [label.kind.value for label in self._labels.values()]
        return Walked(
            counts=counts(laid, self._course.buffer),
            turns=tuple(self._turns),
            answered={kind: answered.count(kind) for kind in sorted(set(answered))},
            days=(judged.stop - judged.start) * laid.interval / 86_400_000,
            at=at,
            score=score,
            event=event,
        )

    def _learn(self, stored: History, now: int) -> None:
        """A turn as `anomalyd retrain` takes it."""
        machine = self._history.machine
        champion = self._pipeline.champions.of(machine)
        assert champion is not None
        if self._operator is not None:
            for alert in self._alerts:
                said = self._operator.answer(alert, self._course.history, now)
                if said is not None:
                    self._labels[alert.id] = said
        remembered = memory.read(self._registry.bundles / champion.manifest.id)
        alerted = [(alert.opened, alert.closed) for alert in self._alerts]
        labels = list(self._labels.values())
        watched = Watched(machine, champion, remembered, self._read, now, alerted, labels)
        self._followed = follow(watched, self._followed, self._settings)
        developing = suspected(drift_of(watched, self._followed, self._settings, now))
        learned = compose([Stored(stored, alerted, labels, developing)], champion, self._settings, remembered)
        left_out = {reason.value: count for reason, count in learned.composition.left_out.items()}
        size = sum(map(len, learned.histories))
        if not learned.histories:
            self._note("too_few_readings", "", promoted=False, left_out=left_out)
            return
        try:
            turn = take_turn(
                learned.histories,
                settings=self._settings,
                registry=self._registry,
                machine=machine,
                source=("store",),
                now=_moment(now),
                learned=learned,
            )
        except Unusable as error:
            self._note("unusable", str(error), promoted=False, rows=size, left_out=left_out)
            return
        decision = turn.decision
        if decision.promote:
            self._swap(turn.trained.detector)
        self._note(
            decision.reason.value, decision.text, promoted=decision.promote, rows=size, left_out=left_out
        )

    def _read(self, since: int) -> History:
        """What was streamed from a time on."""
        seen = self._history.rows(slice(self._course.learned.stop, self._row))
        return seen.rows(seen.at >= since)

    def _fit(self, histories: list[History], *, serve: bool) -> Detector:
        """A bundle from recordings, as `anomalyd train` makes it, that serves whatever a gate would say."""
        number = f"{self._now():013}-recorded" if self._turns else "0-recorded"
        job = Job(histories, self._history.machine, ("recording",), number)
        trained = train(job, settings=self._settings, created_at=_moment(self._now()))
        if serve and self._policy is Policy.SHIPPED:
            bundle = self._registry.add(trained.manifest, trained.files)
            self._registry.promote(bundle.manifest.id)
        return trained.detector

    def _serving(self, detector: Detector) -> Champions:
        return Champions(own={self._history.machine: detector})

    def _swap(self, detector: Detector) -> None:
        """Puts it into service with the rows that fill a window of it."""

        def recent(_machine: str, chosen: Detector) -> Iterator[Reading]:
            window = chosen.manifest.window
            first = max(0, self._row - window.length - window.max_gap)
            return readings(self._history.rows(slice(first, self._row)))

        self._pipeline.swap(self._serving(detector), recent)

    def _follow(self, event: AlertChanged) -> None:
        if event.change is Change.OPENED:
            self._alerts.append(Alert(event.id, event.opened_at))
        elif event.change is Change.CLOSED:
            for alert in reversed(self._alerts):
                if alert.id == event.id:
                    alert.closed = event.at
                    break

    def _now(self) -> int:
        """The time of the newest row that was streamed."""
        row = getattr(self, "_row", self._course.learned.stop)
        return int(self._history.at[row - 1])

    def _note(
        self,
        reason: str,
        text: str,
        *,
        promoted: bool,
        rows: int = 0,
        left_out: dict[str, int] | None = None,
    ) -> None:
        self._turns.append(
            Took(
                at=self._now(),
                promoted=promoted,
                reason=reason,
                text=text,
                rows=rows,
                left_out=left_out or {},
            )
        )


def _curve(laid: Rows, judged: slice) -> tuple[tuple[float, ...], tuple[float | None, ...], tuple[bool, ...]]:
    """See `Walked.at`."""
    pieces = np.array_split(np.arange(judged.start, judged.stop), min(CURVE, judged.stop - judged.start))
    begin = laid.at[judged.start]
    at = tuple(float(laid.at[piece[-1]] - begin) / 86_400_000 for piece in pieces)
    score = tuple(
        float(np.nanmax(laid.score[piece])) if not np.isnan(laid.score[piece]).all() else None
        for piece in pieces
    )
    return at, score, tuple(bool((laid.label[piece] == 1).any()) for piece in pieces)


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, tz=UTC)
