"""What is fitted, on which history, and when again."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from config.quantities import Duration, DurationOrOff, Positive, between
from config.section import AtLeastOne, ListToTuple, Section, Share, Text


class History(Section):
    """How files of past readings are laid out."""

    time_column: Text = "timestamp"
    machine_column: Text = "machine"
    label_column: Text = "label"
    ignore_columns: Annotated[tuple[Text, ...], ListToTuple] = ()


class Model(Section):
    """The autoencoder."""

    kind: Literal["dense"] = "dense"
    units: Annotated[tuple[AtLeastOne, ...] | None, ListToTuple] = None
    code: AtLeastOne | None = None
    activation: Literal["relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"] = "relu"
    learning_rate: float = Field(1e-3, gt=0, le=1)
    epochs: AtLeastOne = 100
    batch_size: AtLeastOne = 64
    patience: AtLeastOne = 8


class Threshold(Section):
    """The error above which normal windows are rare."""

    method: Literal["mean_std"] = "mean_std"
    k: float = Field(10.0, gt=0)


class Trainer(Section):
    """What is fitted, and how."""

    window: AtLeastOne = 30
    stride: AtLeastOne = 1
    max_gap: int = Field(5, ge=0)
    calibration_share: float = Field(0.3, gt=0, lt=1)
    min_coverage: Share = 0.5
    imputation: Literal["last", "mean", "median"] = "last"
    scaling: Literal["standard", "minmax", "robust"] = "standard"
    error: Literal["mse", "rmse", "mae"] = "mse"
    smoothing: float = Field(0.7, ge=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**32)
    model: Model = Field(default_factory=Model)
    threshold: Threshold = Field(default_factory=Threshold)


class Gate(Section):
    """What a challenger must prove on held-back normal readings."""

    max_alert_rate: float = Field(0.01, ge=0, le=1)
    max_error_ratio: float = Field(1.5, gt=0)


class Retrain(Section):
    """Fitting anew on the stored readings."""

    every: Annotated[DurationOrOff, AfterValidator(between(timedelta(minutes=1)))] = None
    by: Literal["child", "request"] = "child"
    look_back: Annotated[Duration, Positive] = timedelta(days=30)
    min_readings: AtLeastOne = 1000
    gate: Gate = Field(default_factory=Gate)
