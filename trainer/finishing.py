"""A fitted autoencoder becomes a bundle: exported, calibrated by replay, described."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from config.policies import alert_policy
from detector.litert import LiteRTModel
from detector.manifest import SCHEMA, ErrorSpec, HistorySpec, Manifest, Threshold
from detector.scoring import Detector
from trainer import memory, warm
from trainer.advice import advice
from trainer.calibration import Replayed, replay_rows, replayed_errors, together, usual_errors
from trainer.examination import examine
from trainer.export import compare, export
from trainer.fitting import Epoch, best_epoch
from trainer.labelled import Labelled, labelled, watch, with_labels
from trainer.look import window_spec
from trainer.models import KINDS
from trainer.openings import Openings
from trainer.report import Contents, report
from trainer.stretches import longest_stretches
from trainer.thresholds import HeldBack, threshold
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.settings import Settings
    from config.training import Trainer
    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.scoring import Autoencoder
    from trainer.fleet import Fitted
    from trainer.jobs import Prepared
    from trainer.parts import Parts
    from trainer.stages import Teller
    from trainer.verdict import Verdict

LIBRARIES = ("ai-edge-litert", "keras", "numpy", "scikit-learn", "tensorflow")


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
        remembered: A sample of the rows, which is among the files.
        labelled: What any threshold finds where rows are labelled anomalous; None without labels.
        advice: What to try next, one sentence each.
    """

    manifest: Manifest
    files: dict[str, bytes]
    detector: Detector
    parts: Parts
    verdict: Verdict
    epochs: tuple[Epoch, ...]
    remembered: tuple[History, ...]
    labelled: Labelled | None
    advice: tuple[str, ...]


def finish(
    one: Prepared, fitted: Fitted, settings: Settings, created_at: datetime, teller: Teller
) -> Trained:
    """Exports, calibrates by replay, and describes."""
    wishes, verdict, parts = settings.trainer, one.verdict, one.parts
    teller.tell("exporting", machine=one.job.machine)
    files = export(fitted.model)
    if one.job.learned is not None and not KINDS[wishes.model.kind].linear:
        files[warm.FILE] = warm.pack(fitted.model, fitted.tried)
    difference = compare(fitted.model, files, fitted.windows)

    teller.tell("calibrating", machine=one.job.machine)
    unjudged = uncalibrated(one, fitted, settings, created_at)
    litert = LiteRTModel(files["model.tflite"], length=wishes.window, width=unjudged.width)
    unjudged = with_usual_errors(unjudged, litert, wishes, parts)
    policy = alert_policy(settings)
    found = threshold(_held_back(Detector(unjudged, litert), parts, policy), wishes.threshold)
    judged = msgspec.structs.replace(unjudged, threshold=found)
    watched = watch(Detector(judged, litert), one.job.histories, parts, policy)
    anomalies = labelled(watched)
    if anomalies is not None:
        judged = msgspec.structs.replace(judged, threshold=with_labels(found, anomalies))
    held_back = [
        replay_rows(Detector(judged, litert), rows, policy)
        for rows in ((parts.calibration, parts.gate) if parts.gate_apart else (parts.calibration,))
    ]
    metrics = _metrics(fitted.epochs, held_back, judged) | {
        "export_difference": difference,
        "seed": wishes.seed,
    }
    examined = None
    if wishes.report == "full":
        teller.tell("drawing the report", machine=one.job.machine)
        # products this small take ten times as long where others want the cores too
        with threadpool_limits(1):
            examined = examine(
                Detector(judged, litert),
                files["encoder.tflite"],
                parts=parts,
                windows=fitted.windows,
                replays=held_back,
                watched=watched,
                alerts=policy,
                wishes=wishes,
            )
        metrics |= examined.metrics
    metrics["seconds"] = time.monotonic() - one.started
    manifest = msgspec.structs.replace(judged, metrics=metrics)
    advised = advice(manifest, fitted.epochs, wishes.model)
    if wishes.report != "off":
        contents = Contents(
            manifest, verdict, fitted.epochs, held_back, policy, watched, anomalies, examined, advised
        )
        files["report.html"] = report(contents).encode()
    remembered = memory.sample(one.histories, judged.grid, judged.window, settings.retrain.remember)
    if remembered:
        files[memory.FILE] = memory.pack(remembered)
    return Trained(
        manifest,
        files,
        Detector(manifest, litert),
        parts,
        verdict,
        fitted.epochs,
        remembered,
        anomalies,
        advised,
    )


def _metrics(epochs: tuple[Epoch, ...], replays: Sequence[Replayed], manifest: Manifest) -> dict[str, float]:
    """Figures of the fit and of all held-back rows; of the gate's alone where they are apart."""
    best, held_back = best_epoch(epochs), together(replays)
    median, high, highest, largest = np.quantile(held_back.errors, [0.5, 0.95, 0.99, 1])
    days = _days(len(held_back.scored), manifest)
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


def _held_back(detector: Detector, parts: Parts, policy: AlertPolicy) -> HeldBack:
    """What the threshold is learned from."""

    def of(histories: Sequence[History], fitted: HeldBack | None = None) -> HeldBack:
        errors = replayed_errors(detector, histories, policy)
        return HeldBack(errors, _days(sum(map(len, errors)), detector.manifest), policy, fitted)

    vouched = Openings(replayed_errors(detector, parts.vouched, policy), policy).quiet
    lately = Openings(replayed_errors(detector, parts.lately, policy), policy).above(parts.alarmed)
    held_back = of(parts.calibration, of(parts.not_held_back))
    return dataclasses.replace(held_back, least=max(0.0, vouched), lately=max(0.0, lately))


def _days(windows: int, manifest: Manifest) -> float:
    """Time of one machine that so many windows stand for."""
    return windows * manifest.window.stride * manifest.grid.interval / DAY


def uncalibrated(one: Prepared, fitted: Fitted, settings: Settings, created_at: datetime) -> Manifest:
    """All that is known of a bundle before anything is replayed: its threshold is 1, and it has no files."""
    wishes, verdict = settings.trainer, one.verdict
    assert verdict.grid is not None
    return Manifest(
        schema=SCHEMA,
        id=one.job.bundle_id,
        created_at=_iso(created_at),
        machine=one.job.machine,
        sensors=verdict.kept,
        grid=verdict.grid,
        window=window_spec(wishes),
        imputer=one.fit.imputer,
        scaler=one.fit.scaler,
        error=ErrorSpec(wishes.error, wishes.smoothing),
        threshold=Threshold(
            value=1.0, method=wishes.threshold.method, k=None, mean=0.0, std=0.0, windows=0, above=0.0
        ),
        model=fitted.model.spec(wishes.model.kind, fitted.begun),
        history=_describe(one.histories, one.job.source, len(fitted.windows)),
        metrics={},
        libraries={name: version(name) for name in LIBRARIES},
        files={},
        channels=one.fit.channels,
        limits=one.fit.limits,
        asked=one.job.asked,
        composition=one.job.learned.composition if one.job.learned else None,
        stretches=longest_stretches(one.histories, verdict.grid, wishes.max_gap, one.fit.columns.counters),
    )


def with_usual_errors(manifest: Manifest, model: Autoencoder, wishes: Trainer, parts: Parts) -> Manifest:
    """The same, with what errors are divided by, where that is wished for; see `usual_errors`."""
    if wishes.sensor_errors == "absolute":
        return manifest
    usual = usual_errors(Detector(manifest, model), parts)
    return msgspec.structs.replace(manifest, error=msgspec.structs.replace(manifest.error, usual=usual))


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
