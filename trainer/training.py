"""Histories become a bundle: checked, split, fitted, exported, calibrated by replay, described."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from config.policies import alert_policy, milliseconds
from detector.litert import LiteRTModel
from detector.manifest import (
    SCHEMA,
    ErrorSpec,
    HistorySpec,
    Manifest,
    Threshold,
)
from detector.scoring import Detector
from trainer.autoencoder import Autoencoder, build
from trainer.calibration import Replayed, replay_rows, threshold, together
from trainer.export import compare, export
from trainer.fitting import Epoch, best_epoch, fit, refit
from trainer.keras_backend import load
from trainer.parts import Parts, split, with_gate_apart
from trainer.preparation import Preparation, fit_imputer, fit_scaler
from trainer.problems import Unusable
from trainer.report import report
from trainer.verdict import Verdict, check, window_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from config.settings import Settings
    from config.training import Model as ModelSettings
    from detector.history import History

LIBRARIES = ("ai-edge-litert", "keras", "numpy", "scikit-learn", "tensorflow")
DAY = timedelta(days=1) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A bundle that is not written yet.

    Attributes:
        manifest: Its description; `files` is filled by the registry.
        files: Contents by file name.
        detector: The detector that the daemon would load from them.
        parts: What was done with which rows; none of them is labelled anomalous.
        verdict: What was found in the history.
        epochs: How the loss fell.
    """

    manifest: Manifest
    files: dict[str, bytes]
    detector: Detector
    parts: Parts
    verdict: Verdict
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a training is busy with, for people who wait; `done` is the share of it that is over."""

    text: str
    done: float = 0.0


def train(
    histories: Sequence[History],
    *,
    settings: Settings,
    machine: str | None,
    source: tuple[str, ...],
    created_at: datetime,
    bundle_id: str,
    progress: Callable[[Stage], None] = lambda _: None,
) -> Trained:
    """Fits one model on all histories together.

    Args:
        histories: Rows labelled anomalous are left out here.
        settings: Of which `trainer`, `readings.interval` and `alerts` are used.
        machine: Whom the bundle will serve; None: every machine without a bundle of its own.
        source: Where the histories came from, for people.
        created_at: For the manifest.
        bundle_id: The bundle's name, by `registry.bundle.new_id`.
        progress: Is told at every stage and after every epoch.

    Raises:
        Unusable: The history cannot carry a model; all reasons.
        ExportDiffers: LiteRT does not answer as Keras does.
    """
    started = time.monotonic()
    wishes = settings.trainer
    interval = settings.readings.interval
    verdict = check(histories, wishes, interval=None if interval is None else milliseconds(interval))
    if verdict.errors or verdict.grid is None:
        raise Unusable(*verdict.errors)
    used = [history.normal().select(verdict.kept) for history in histories]
    spec = window_spec(wishes)
    parts = with_gate_apart(split(used, wishes.calibration_share), verdict.grid, spec)

    progress(Stage("loading TensorFlow"))
    load()
    known = parts.not_held_back
    samples = np.concatenate([history.values for history in known])
    imputer = fit_imputer(samples, wishes.imputation)
    scaler = fit_scaler(samples, wishes.scaling)
    preparation = Preparation(verdict.grid, spec, imputer, scaler)
    epochs = _try_out(preparation, parts, wishes.model, wishes.seed, progress)
    windows = preparation.windows(known)
    model = _fit(windows, best_epoch(epochs).epoch, wishes.model, wishes.seed, progress)
    progress(Stage("exporting", 1.0))
    files = export(model)
    difference = compare(model, files, windows)

    progress(Stage("calibrating", 1.0))
    unjudged = Manifest(
        schema=SCHEMA,
        id=bundle_id,
        created_at=_iso(created_at),
        machine=machine,
        sensors=verdict.kept,
        grid=verdict.grid,
        window=spec,
        imputer=imputer,
        scaler=scaler,
        error=ErrorSpec(wishes.error, wishes.smoothing),
        threshold=Threshold(
            value=1.0, method=wishes.threshold.method, k=0.0, mean=0.0, std=0.0, windows=0, above=0.0
        ),
        model=model.spec,
        history=_describe(used, source, len(windows)),
        metrics={},
        libraries={name: version(name) for name in LIBRARIES},
        files={},
    )
    litert = LiteRTModel(files["model.tflite"], length=wishes.window, width=len(verdict.kept))
    policy = alert_policy(settings)
    errors = replay_rows(Detector(unjudged, litert), parts.calibration, policy).errors
    judged = msgspec.structs.replace(unjudged, threshold=threshold(errors, wishes.threshold))
    held_back = [
        replay_rows(Detector(judged, litert), rows, policy)
        for rows in ((parts.calibration, parts.gate) if parts.gate_apart else (parts.calibration,))
    ]
    metrics = _metrics(epochs, held_back, judged) | {
        "export_difference": difference,
        "seconds": time.monotonic() - started,
        "seed": wishes.seed,
    }
    manifest = msgspec.structs.replace(judged, metrics=metrics)
    files["report.html"] = report(manifest, verdict, epochs, held_back, policy).encode()
    return Trained(manifest, files, Detector(manifest, litert), parts, verdict, epochs)


def _try_out(
    preparation: Preparation,
    parts: Parts,
    wishes: ModelSettings,
    seed: int,
    progress: Callable[[Stage], None],
) -> tuple[Epoch, ...]:
    """Learns from the validation rows how long to fit."""

    def tell(epoch: Epoch) -> None:
        losses = f"loss {epoch.loss:.3g}, validation {epoch.validation_loss:.3g}"
        text = f"epoch {epoch.epoch}/{epoch.epochs}, {losses}"
        progress(Stage(text, epoch.epoch / epoch.epochs))

    progress(Stage("compiling"))
    windows, validation = preparation.windows(parts.fit), preparation.windows(parts.validation)
    model = build(windows, wishes, seed=seed)
    return fit(model.whole, windows, validation, wishes, seed=seed, progress=tell)


def _fit(
    windows: NDArray[np.float32],
    epochs: int,
    wishes: ModelSettings,
    seed: int,
    progress: Callable[[Stage], None],
) -> Autoencoder:
    """Fits all rows that are not held back."""

    def tell(epoch: int) -> None:
        progress(Stage(f"again with the validation rows, epoch {epoch}/{epochs}", epoch / epochs))

    progress(Stage("compiling"))
    model = build(windows, wishes, seed=seed)
    refit(model.whole, windows, wishes, epochs=epochs, seed=seed, progress=tell)
    return model


def _metrics(epochs: tuple[Epoch, ...], replays: Sequence[Replayed], manifest: Manifest) -> dict[str, float]:
    """Figures of the fit and of all held-back rows; of the gate's alone where they are apart."""
    best, held_back = best_epoch(epochs), together(replays)
    median, high, highest, largest = np.quantile(held_back.errors, [0.5, 0.95, 0.99, 1])
    days = len(held_back.scored) * manifest.window.stride * manifest.grid.interval / DAY
    gate = {"gate_windows": len(replays[1].scored), "gate_above": replays[1].above} if replays[1:] else {}
    return {
        "epochs": len(epochs) - 1,
        "best_epoch": best.epoch,
        "loss": best.loss,
        "validation_loss": best.validation_loss,
        "parameters": manifest.model.parameters,
        "held_back_windows": len(held_back.scored),
        "held_back_days": days,
        "held_back_error_median": float(median),
        "held_back_error_p95": float(high),
        "held_back_error_p99": float(highest),
        "held_back_error_max": float(largest),
        "held_back_above": held_back.above,
        "held_back_alerts": held_back.opened,
        "held_back_alerts_per_day": held_back.opened / days,
        **gate,
    }


def _describe(histories: Sequence[History], source: tuple[str, ...], windows: int) -> HistorySpec:
    return HistorySpec(
        source=source,
        machines=tuple(history.machine for history in histories),
        rows=sum(map(len, histories)),
        fit_windows=windows,
        start=_iso(_moment(min(int(history.at[0]) for history in histories if len(history)))),
        end=_iso(_moment(max(int(history.at[-1]) for history in histories if len(history)))),
        sha256=fingerprint(histories),
    )


def fingerprint(histories: Sequence[History]) -> str:
    """A sha256 of machines, sensors, times and values, the same on every computer."""
    digest = sha256()
    for history in histories:
        digest.update(msgspec.json.encode([history.machine, history.sensors, len(history)]))
        digest.update(history.at.astype("<i8").tobytes())
        digest.update(np.where(np.isnan(history.values), np.nan, history.values).astype("<f8").tobytes())
    return digest.hexdigest()


def _moment(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
