"""anomalyd itself: trained as `anomalyd train` does it, judged by what its pipeline says in replay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args, get_type_hints

from msgspec.structs import replace

from bench.detection.judging import Detector, Laid
from bench.detection.protocol import Recording
from config import Model, Settings, Trainer
from config.policies import alert_policy, health_policy, operation_policy, stream_policy
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from trainer.evaluation import rows
from trainer.jobs import Job
from trainer.training import train

CREATED = datetime(2026, 1, 1, tzinfo=UTC)

EPOCHS = 30
"""At most, of kinds that are not the default, which may take 100: all files of all kinds would take hours.

It costs little where it was tried: on asd omi-3, 100 gave the gru a VUS-PR of .305 and 30 gave it .298; the
attention .301 and .336.
"""


def detectors() -> dict[str, Detector]:
    """The default configuration, and each other kind of model with the rest of it left as it is.

    Only the report is left out, which says much and changes nothing.
    """
    default = Trainer(report="off")
    kinds = [kind for kind in get_args(get_type_hints(Model)["kind"]) if kind != default.model.kind]
    named = {"anomalyd": default} | {
        f"anomalyd, {kind}": replace(default, model=replace(default.model, kind=kind, epochs=EPOCHS))
        for kind in kinds
    }
    return {name: Ours(Settings(trainer=trainer)) for name, trainer in named.items()}


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
            Champions(shared=trained.detector),
            stream=stream_policy(settings),
            alerts=alert_policy(settings),
            health=health_policy(settings),
            operation=operation_policy(settings),
        )
        events = list(replay([history], pipeline))
        manifest = trained.manifest
        return lambda labelled: rows(labelled, events, grid=manifest.grid, stride=manifest.window.stride)
