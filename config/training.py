"""What is fitted, on which history, and when again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from config.quantities import Duration, DurationOrOff, Positive, between
from config.section import After, AtLeastOne, Limits, Section, Share, Text


class History(Section, frozen=True):
    """How files of past readings are laid out."""

    time_column: Text = "timestamp"
    machine_column: Text = "machine"
    label_column: Text = "label"
    ignore_columns: tuple[Text, ...] = ()


class Model(Section, frozen=True):
    """The autoencoder."""

    kind: Literal["dense"] = "dense"
    units: tuple[AtLeastOne, ...] | None = None
    code: AtLeastOne | None = None
    activation: Literal["relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"] = "relu"
    learning_rate: Annotated[float, Limits(gt=0, le=1)] = 1e-3
    epochs: AtLeastOne = 100
    batch_size: AtLeastOne = 64
    patience: AtLeastOne = 8


class Threshold(Section, frozen=True):
    """The error above which normal windows are rare."""

    method: Literal["mean_std"] = "mean_std"
    k: Annotated[float, Limits(gt=0)] = 10.0


class Trainer(Section, frozen=True):
    """What is fitted, and how."""

    window: AtLeastOne = 30
    stride: AtLeastOne = 1
    max_gap: Annotated[int, Limits(ge=0)] = 5
    calibration_share: Annotated[float, Limits(gt=0, lt=1)] = 0.3
    min_coverage: Share = 0.5
    imputation: Literal["last", "mean", "median"] = "last"
    scaling: Literal["standard", "minmax", "robust"] = "standard"
    error: Literal["mse", "rmse", "mae"] = "mse"
    smoothing: Annotated[float, Limits(ge=0, lt=1)] = 0.7
    seed: Annotated[int, Limits(ge=0, lt=2**32)] = 0
    report: Literal["auto", "full", "brief", "off"] = "auto"
    model: Model = Model()
    threshold: Threshold = Threshold()


class Gate(Section, frozen=True):
    """What a challenger must prove on held-back normal readings."""

    max_alert_rate: Annotated[float, Limits(ge=0, le=1)] = 0.01
    max_error_ratio: Annotated[float, Limits(gt=0)] = 1.5


class Retrain(Section, frozen=True):
    """Fitting anew on the stored readings."""

    every: Annotated[DurationOrOff, After(between(timedelta(minutes=1)))] = None
    by: Literal["child", "request"] = "child"
    look_back: Annotated[Duration, Positive] = timedelta(days=30)
    min_readings: AtLeastOne = 1000
    gate: Gate = Gate()
