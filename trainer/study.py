"""The trials of a search: proposed by Optuna, kept in a file that outlives the process.

The file is Optuna's own journal, so that Optuna's tools read it too.
"""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from trainer.exam import Marks
from trainer.problems import Unusable
from trainer.space import Choice, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from optuna.distributions import BaseDistribution

    from trainer.space import Range, Value

Sampler = Literal["tpe", "random", "grid"]

NAME = "anomalyd"  # of the study within its file
FIRST = b'{"op_code":'  # every line of a journal begins so
DIGITS = 3  # of a number that is tried
LEAST_TO_COMPARE = 8  # trials; the importances of fewer are chance
MOST_REPEATS = 100  # proposals in a row that were tried before: there is hardly anything else left


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a trial.

    Attributes:
        number: Its number, from 0; numbers of trials that were cut off are missing.
        options: What was tried, by the option's name within `trainer:`.
        marks: How the detector did; None: it could not be made.
        problem: Why it could not; None: it could.
        seconds: What the trial took.
    """

    number: int
    options: Mapping[str, Value]
    marks: Marks | None
    problem: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial that is to be made."""

    number: int
    options: Mapping[str, Value]


class Study:
    """Trials over one space: ask for a proposal, and tell its outcome; to be closed when it is done."""

    def __init__(
        self,
        space: Mapping[str, Range],
        default: Mapping[str, Value],
        *,
        sampler: Sampler,
        seed: int,
        path: Path | None,
        purpose: Mapping[str, Any],
    ) -> None:
        """Begins a study, or goes on with one; a trial that was cut off is forgotten.

        Args:
            space: What is searched.
            default: What is tried first; within the space.
            sampler: How it is searched.
            seed: Of what is proposed.
            path: The file that it is kept in; None: in memory.
            purpose: What the outcomes depend on, as JSON has it: they count only with the same.

        Raises:
            Unusable: The file holds something else, or another process works on it.
        """
        self._space = space
        self._sampler = sampler
        self._file = None if path is None else _held(path)
        try:
            self._begin(default, seed, path, purpose)
        except BaseException:
            self.close()
            raise

    def _begin(
        self, default: Mapping[str, Value], seed: int, path: Path | None, purpose: Mapping[str, Any]
    ) -> None:
        self._study = _loaded(path)
        attributes = self._study.user_attrs
        if "purpose" not in attributes:
            self._study.set_user_attr("purpose", dict(purpose))
        elif differing := [
            name for name, value in purpose.items() if attributes["purpose"].get(name) != value
        ]:
            raise Unusable(
                f"{path}: must be a study of the same search, got another {', '.join(differing)}; "
                "name a new file by --study"
            )
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
        if not self._waits() and _key(default) not in self._tried():
            self._wait_for(default)
        # As many trials later, another seed: or else the same would be proposed again.
        seed += len(self._study.trials)
        self._study.sampler = TPESampler(seed=seed) if self._sampler == "tpe" else RandomSampler(seed=seed)
        self._grid = _shuffled(self._space, seed) if self._sampler == "grid" else []

    def close(self) -> None:
        """Lets other processes have the file."""
        if self._file is not None:
            self._file.close()

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all trials that ended, in their order; the same options once."""
        return [
            _outcome(trial.number, trial.user_attrs["outcome"])
            for trial in self._study.get_trials(deepcopy=False)
            if "outcome" in trial.user_attrs
        ]

    def importances(self) -> Mapping[str, float]:
        """Each option's share in how much the scores differ, the largest first; empty after few trials.

        By PED-ANOVA: Watanabe et al.: Efficiently quantifying hyperparameter importance in arbitrary
        subspaces (2023).
        """
        if sum(outcome.marks is not None for outcome in self.outcomes) < LEAST_TO_COMPARE:
            return {}
        return optuna.importance.get_param_importances(self._study)

    def ask(self) -> Proposal | None:
        """What to try next; None: everything was tried."""
        tried = self._tried()
        distributions = {name: _distribution(some) for name, some in self._space.items()}
        for _ in range(MOST_REPEATS):
            if self._sampler == "grid" and not self._waits():
                left = next((options for options in self._grid if _key(options) not in tried), None)
                if left is None:
                    return None
                self._wait_for(left)
            self._asked = self._study.ask(distributions)
            options = {name: _value(self._space[name], given) for name, given in self._asked.params.items()}
            before = tried.get(_key(options))
            if before is None:
                return Proposal(self._asked.number, options)
            self._end(before.marks)
        return None

    def tell(self, outcome: Outcome) -> None:
        """Keeps what came of the latest proposal."""
        self._asked.set_user_attr("outcome", asdict(outcome))
        self._end(outcome.marks)

    def _end(self, marks: Marks | None) -> None:
        if marks is None:
            self._study.tell(self._asked, state=TrialState.FAIL)
        else:
            self._study.tell(self._asked, marks.score)

    def _tried(self) -> Mapping[str, Outcome]:
        return {_key(outcome.options): outcome for outcome in self.outcomes}

    def _waits(self) -> bool:
        """Whether options wait to be asked for."""
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _wait_for(self, options: Mapping[str, Value]) -> None:
        self._study.enqueue_trial({name: _given(self._space[name], value) for name, value in options.items()})


def _outcome(number: int, kept: Mapping[str, Any]) -> Outcome:
    marks = kept["marks"]
    return Outcome(**{**kept, "number": number, "marks": None if marks is None else Marks(**marks)})


def _loaded(path: Path | None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if path is None:
        return optuna.create_study(direction="maximize")
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Alone(str(path))))
        return optuna.create_study(
            study_name=NAME, storage=storage, direction="maximize", load_if_exists=True
        )
    except ValueError as error:
        raise Unusable(
            f"{path}: must be a whole study, got a damaged one: {error}; name a new file by --study"
        ) from error


class _Alone(JournalFileOpenLock):
    """No lock: Optuna's would outlive a process that is killed, and the file is ours alone anyway."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _held(path: Path) -> BinaryIO:
    """The file of a study, for this process alone until it ends or closes it."""
    file = path.open("ab+")
    try:
        _take(file, path)
    except BaseException:
        file.close()
        raise
    return file


def _take(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Unusable(f"{path}: must not be in use, got another process that works on it") from error
    file.seek(0)
    content = file.read()
    if content and not content.startswith(FIRST):
        raise Unusable(
            f"{path}: must be a study, as --study writes it, got another file; name a new file by --study"
        )
    # A last line that was not written to its end would get the next one added to it.
    file.truncate(content.rfind(b"\n") + 1)


def _shuffled(space: Mapping[str, Range], seed: int) -> list[dict[str, Value]]:
    """All of the grid; in random order, so that a search that is cut short has seen all of each option."""
    points = [
        dict(zip(space, values, strict=True)) for values in product(*(some.grid for some in space.values()))
    ]
    return [points[i] for i in np.random.default_rng(seed).permutation(len(points))]


def _key(options: Mapping[str, Value]) -> str:
    return json.dumps(options, sort_keys=True)


def _distribution(some: Range) -> BaseDistribution:
    if isinstance(some, Choice):
        return CategoricalDistribution([shown(value) for value in some.values])
    if some.whole:
        return IntDistribution(int(some.low), int(some.high), log=some.logarithmic)
    return FloatDistribution(some.low, some.high, log=some.logarithmic)


def _given(some: Range, value: Value) -> Value:
    """An option's value as Optuna has it."""
    return shown(value) if isinstance(some, Choice) else value


def _value(some: Range, given: Value) -> Value:
    """The inverse of `_given`; a number of many digits is rounded, for people."""
    if isinstance(some, Choice):
        return next(value for value in some.values if shown(value) == given)
    return given if some.whole or given in some.grid else float(f"{given:.{DIGITS}g}")
