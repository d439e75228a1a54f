"""Histories become bundles: checked, split, fitted, exported, calibrated by replay, described."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from msgspec.structs import replace

from detector.scoring import Detector
from trainer.export import ExportDiffers
from trainer.finishing import Trained, finish, uncalibrated, with_usual_errors
from trainer.fleet import fit_groups, groups
from trainer.jobs import Job, prepare
from trainer.keras_backend import load
from trainer.problems import Unusable
from trainer.stack import answers
from trainer.stages import Stage, Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from config.settings import Settings
    from trainer.autoencoder import Ensemble

MOST_FULL = 10  # bundles of one training: more reports than that nobody reads to the end


def train(
    job: Job,
    *,
    settings: Settings,
    created_at: datetime,
    progress: Callable[[Stage], None] = lambda _: None,
) -> Trained:
    """Makes one bundle; see `train_each`.

    Raises:
        Unusable: The history cannot carry a model; all reasons.
        ExportDiffers: LiteRT does not answer as the fitted model does.
    """
    ((_, made),) = train_each([job], settings=settings, created_at=created_at, progress=progress)
    if isinstance(made, Exception):
        raise made
    return made


def train_each(
    jobs: Sequence[Job],
    *,
    settings: Settings,
    created_at: datetime,
    progress: Callable[[Stage], None] = lambda _: None,
) -> Iterator[tuple[Job, Trained | Unusable | ExportDiffers]]:
    """Makes a bundle for each job, and fits those of one shape together.

    Each gets what it would get alone, up to rounding: what is fitted together does not touch. There
    is a group on each core, so that a fleet takes no more memory than they do; more than twenty
    machines or so in one would not make it faster.

    Args:
        jobs: In any order.
        settings: Of which `trainer`, `readings.interval`, `alerts` and `sensors.limits` are used.
        created_at: For the manifests.
        progress: Is told at every stage and after every epoch.

    Yields:
        Each job with its bundle, or with what kept it from getting one.
    """
    settings = _reported(settings, len(jobs))
    prepared = []
    for number, job in enumerate(jobs, start=1):
        which = f"{number} of {len(jobs)} histories" if len(jobs) > 1 else "the history"
        progress(Stage(f"looking at {which}"))
        try:
            prepared.append(prepare(job, settings))
        except Unusable as error:
            yield job, error
    if not prepared:
        return
    progress(Stage("loading TensorFlow"))
    load()
    teller = Teller(progress, len(jobs), len(jobs) - len(prepared))
    for one, fitted in fit_groups(groups(prepared, settings.trainer.model), settings.trainer, teller):
        made: Trained | Unusable | ExportDiffers
        if isinstance(fitted, Unusable):
            made = fitted
        else:
            try:
                made = finish(one, fitted, settings, created_at, teller)
            except (Unusable, ExportDiffers) as error:
                made = error
        teller.finished += 1
        yield one.job, made


def _reported(settings: Settings, bundles: int) -> Settings:
    """The settings with the kind of report that suits so many bundles."""
    if settings.trainer.report != "auto":
        return settings
    kind = "full" if bundles <= MOST_FULL else "brief"
    return replace(settings, trainer=replace(settings.trainer, report=kind))


def fit_detector(
    job: Job, *, settings: Settings, created_at: datetime, progress: Callable[[Stage], None]
) -> Detector:
    """Fits a detector that scores as the bundle would that `train` makes, without making the bundle.

    It has no threshold (1), and the model is not exported: that takes longer than fitting a small one.
    Nothing is learned from the rows that are held back; the usual errors of the sensors are learned from
    the newest of the others instead.

    Raises:
        Unusable: The history cannot carry a model; all reasons.
    """
    prepared = prepare(job, settings)
    progress(Stage("loading TensorFlow"))
    load()
    ((_, fitted),) = fit_groups([[prepared]], settings.trainer, Teller(progress, 1, 0))
    if isinstance(fitted, Unusable):
        raise fitted
    model, parts = _Fitted(fitted.model), prepared.parts
    parts = dataclasses.replace(parts, calibration=parts.validation, gate=parts.validation)
    manifest = replace(uncalibrated(prepared, fitted, settings, created_at), stretches=None)
    return Detector(with_usual_errors(manifest, model, settings.trainer, parts), model)


class _Fitted:
    """A model as it was fitted; see `detector.scoring.Autoencoder`."""

    def __init__(self, model: Ensemble) -> None:
        self._model = model

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        _, rebuilt = answers(self._model, windows)
        return rebuilt
