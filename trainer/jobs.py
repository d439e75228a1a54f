"""A bundle that is asked for, and what is learned of its history before the autoencoder is fitted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from config.policies import milliseconds, operation_policy
from detector.modes import running
from trainer.dealing import deal
from trainer.inputs import Fit, fit_inputs
from trainer.look import window_spec
from trainer.models import KINDS
from trainer.parts import split, with_gate_apart
from trainer.preparation import Preparation
from trainer.problems import Unusable
from trainer.start import begin
from trainer.stretches import within
from trainer.verdict import check
from trainer.warm import Warm, code_of, warm_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.settings import Settings
    from detector.history import History
    from detector.manifest import Asked
    from trainer.composition import Learned
    from trainer.parts import Parts
    from trainer.start import Start
    from trainer.verdict import Verdict
    from trainer.warm import Champion


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A bundle that is asked for.

    Attributes:
        histories: What one model is fitted on; rows labelled anomalous are left out.
        machine: Whom the bundle will serve; None: every machine without a bundle of its own.
        source: Where the histories came from, for people.
        bundle_id: The bundle's name, by `registry.bundle.new_id`.
        learned: How the histories were composed; None: they are recordings, of which the newest rows are
            held back.
        asked: Who asked for a retraining, and why.
        champion: At whose weights fitting may begin.
    """

    histories: Sequence[History]
    machine: str | None
    source: tuple[str, ...]
    bundle_id: str
    learned: Learned | None = None
    asked: Asked | None = None
    champion: Champion | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A job whose history can carry a model.

    Attributes:
        job: What is asked for.
        histories: Rows and sensors that are used.
        verdict: What was found in the history.
        parts: What will be done with which rows.
        preparation: Makes windows of rows.
        fit: What it encodes, fills and scales by.
        start: Where fitting to the fit rows starts.
        warm: Where it may start as well, and why not if it cannot.
        fit_windows: How many windows there are in the fit rows.
        started: When it was begun, by the monotonic clock.
    """

    job: Job
    histories: tuple[History, ...]
    verdict: Verdict
    parts: Parts
    preparation: Preparation
    fit: Fit
    start: Start
    warm: Warm
    fit_windows: int
    started: float


def prepare(job: Job, settings: Settings) -> Prepared:
    """Looks at a job's history and learns what stands before the autoencoder.

    Raises:
        Unusable: The history cannot carry a model; all reasons.
    """
    started = time.monotonic()
    wishes = settings.trainer
    interval = settings.readings.interval
    histories = job.histories
    if job.learned is None:
        operation = operation_policy(settings)
        histories = [history.rows(running(history, operation)) for history in histories]
    verdict = check(
        histories,
        wishes,
        interval=None if interval is None else milliseconds(interval),
        channels=settings.readings.channels,
    )
    if verdict.errors or verdict.grid is None:
        raise Unusable(*verdict.errors)
    limits = settings.sensors.limits
    used = tuple(within(history.normal().select(verdict.kept), limits) for history in histories)
    spec = window_spec(wishes)
    counters = {name for name, channel in settings.readings.channels.items() if channel.kind == "counter"}
    if job.learned is None:
        parts = with_gate_apart(split(used, wishes.calibration_share), verdict.grid, spec, counters)
    else:
        vouched, lately = (
            tuple(within(one.select(verdict.kept), limits) for one in some)
            for some in (job.learned.vouched, job.learned.lately)
        )
        dealt = deal(used, wishes.calibration_share, verdict.grid, spec, counters)
        parts = replace(dealt, vouched=vouched, lately=lately, alarmed=job.learned.alarmed)
    fit = fit_inputs(parts.not_held_back, settings.readings.channels, wishes, verdict.grid)
    preparation = Preparation(verdict.grid, spec, fit.inputs)
    windows = preparation.windows(parts.fit)
    cells = windows.length * windows.rows.shape[1]
    if wishes.model.code is not None and wishes.model.code >= cells:
        raise Unusable(
            f"trainer.model.code: must be smaller than a window, which has {cells} numbers, "
            f"got {wishes.model.code}; null derives it from the history"
        )
    start = begin(windows, wishes.model, seed=wishes.seed, binary=preparation.binary)
    warm = Warm()
    if job.learned is not None and KINDS[wishes.model.kind].linear:
        warm = Warm(reason=f"{wishes.model.kind} finds its best weights at once")
    elif job.learned is not None:
        code = code_of(job.champion, start.architecture.code, wishes.model)
        if code != start.architecture.code:
            sized = msgspec.structs.replace(wishes.model, code=code)
            start = begin(windows, sized, seed=wishes.seed, binary=preparation.binary)
        warm = warm_start(job.champion, start.architecture, verdict.kept, fit, wishes.model)
    return Prepared(job, used, verdict, parts, preparation, fit, start, warm, len(windows), started)
