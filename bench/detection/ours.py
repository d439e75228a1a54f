"""anomalyd itself: trained as `anomalyd train` does it, judged by what its pipeline says in replay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args, get_type_hints

import msgspec

from bench.detection.judging import Detector, Laid
from bench.detection.protocol import Recording
from config import Model, Settings, Trainer
from config.policies import alert_policy, stream_policy
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from trainer.evaluation import rows
from trainer.jobs import Job
from trainer.training import train

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def detectors() -> dict[str, Detector]:
    """The default configuration, and each other kind of model with the rest of it left as it is.

    Only the report is left out, which says much and changes nothing.
    """
    kinds = get_args(get_type_hints(Model)["kind"])
    default = Settings(trainer=Trainer(report="off"))
    named = {"anomalyd": default} | {
        f"anomalyd, {kind}": msgspec.structs.replace(
            default,
            trainer=msgspec.structs.replace(
                default.trainer, model=msgspec.structs.replace(default.trainer.model, kind=kind)
            ),
        )
        for kind in kinds
        if kind != default.trainer.model.kind
    }
    return {name: Ours(settings) for name, settings in named.items()}


class Ours:
    """Trains with one configuration, and replays the whole file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, recording: Recording) -> Laid:
        """Scores every row.

        Raises:
            Unusable: The rows cannot carry a model.
        """
        settings, history = self._settings, recording.history
        learned = history.rows(slice(recording.source.train[0], recording.learned))
        job = Job([learned], history.machine, (recording.source.path,), "bench")
        trained = train(job, settings=settings, created_at=CREATED)
        pipeline = Pipeline(
            Champions(shared=trained.detector), stream=stream_policy(settings), alerts=alert_policy(settings)
        )
        events = list(replay([history], pipeline))
        manifest = trained.manifest
        return lambda labelled: rows(labelled, events, grid=manifest.grid, stride=manifest.window.stride)
