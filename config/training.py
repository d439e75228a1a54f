"""What is fitted, on which history, and when again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from config.problems import UnmetError
from config.quantities import (
    AUTO,
    Duration,
    DurationOrAuto,
    DurationOrOff,
    Positive,
    Size,
    SizeOrOff,
    between,
)
from config.section import After, AtLeastOne, Limits, Rule, Section, Share, Text, rule
from detector.kinds import ImputationMethod, ScalingMethod


class History(Section, frozen=True):
    """How files of past readings are laid out."""

    time_column: Text = "timestamp"
    machine_column: Text = "machine"
    label_column: Text = "label"
    ignore_columns: tuple[Text, ...] = ()


Kind = Literal["dense", "convolutional", "lstm", "gru", "variational", "attention", "pca"]
Activation = Literal["relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
ShareLeftOut = Annotated[float, Limits(ge=0, lt=1)]
Weight = Annotated[float, Limits(ge=0)]


def _check_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if not sizes:
        raise UnmetError("must hold at least one size", got="an empty list", hint="null derives the sizes")
    return sizes


Sizes = Annotated[tuple[AtLeastOne, ...], After(_check_sizes)]


class Model(Section, frozen=True):
    """The autoencoder."""

    kind: Kind = "pca"
    ensemble: AtLeastOne = 1
    units: Sizes | None = None
    code: AtLeastOne | None = None
    activation: Activation | None = None
    loss: Literal["mse", "mae", "huber"] = "huber"
    noise: Weight = 0.0
    masking: ShareLeftOut = 0.0
    dropout: ShareLeftOut = 0.0
    sparsity: Weight = 0.0
    contraction: Weight = 0.0
    l2: Weight = 1e-3
    optimizer: Literal["adam", "adamw", "nadam", "rmsprop", "sgd"] = "adam"
    learning_rate: Annotated[float, Limits(gt=0, le=1)] = 1e-3
    epochs: AtLeastOne = 100
    batch_size: AtLeastOne = 64
    patience: AtLeastOne = 8
    warm_start: Literal["auto", "off"] = "auto"


def _of(option: str, *methods: str) -> Rule:
    """Only these methods take the option."""

    def check(value: object, before: Mapping[str, Any]) -> None:
        method = before.get("method")
        if value is not None and method is not None and method not in methods:
            raise UnmetError(
                f"must be left out where trainer.threshold.method is {method}",
                hint=f"{option} belongs to method {' or '.join(methods)}; "
                f"{method} takes {', '.join(DEFAULTS[method])}",
            )

    return Rule((option,), check)


class Threshold(Section, frozen=True):
    """The error above which normal windows are rare; an option that is None has its method's default."""

    method: Literal["mean_std", "quantile", "pot", "calibrated"] = "calibrated"
    k: Annotated[float, Limits(gt=0)] | None = None
    q: Annotated[float, Limits(gt=0, lt=1)] | None = None
    false_alerts_per_day: Annotated[float, Limits(gt=0)] | None = None
    false_alarm_rate: Annotated[float, Limits(gt=0, lt=1)] | None = None

    _k = _of("k", "mean_std")
    _q = _of("q", "quantile")
    _alerts = _of("false_alerts_per_day", "calibrated")
    _rate = _of("false_alarm_rate", "pot", "calibrated")

    @rule("false_alarm_rate")
    @staticmethod
    def _one_wish(rate: float | None, before: Mapping[str, Any]) -> None:
        if rate is not None and before.get("false_alerts_per_day") is not None:
            raise UnmetError(
                "must be left out beside trainer.threshold.false_alerts_per_day",
                hint="wish for alerts a day or for a share of windows",
            )

    def options(self, method: str) -> dict[str, float]:
        """The options that a method works with: those given, if it is the chosen one, or its defaults."""
        names = ("k", "q", "false_alerts_per_day", "false_alarm_rate") if method == self.method else ()
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given or DEFAULTS[method]


DEFAULTS = {
    "mean_std": {"k": 10.0},
    "quantile": {"q": 0.999},
    "pot": {"false_alarm_rate": 1e-4},
    "calibrated": {"false_alerts_per_day": 0.3},
}


class Trainer(Section, frozen=True):
    """What is fitted, and how."""

    window: AtLeastOne = 5
    stride: AtLeastOne = 1
    max_gap: Annotated[int, Limits(ge=0)] = 5
    calibration_share: Annotated[float, Limits(gt=0, lt=1)] = 0.3
    min_coverage: Share = 0.5
    imputation: ImputationMethod = "last"
    scaling: ScalingMethod = "standard"
    error: Literal["mse", "rmse", "mae"] = "mse"
    sensor_errors: Literal["relative", "absolute"] = "relative"
    smoothing: Annotated[float, Limits(ge=0, lt=1)] = 0.8
    seed: Annotated[int, Limits(ge=0, lt=2**32)] = 0
    report: Literal["auto", "full", "brief", "off"] = "auto"
    model: Model = Model()
    threshold: Threshold = Threshold()


class Bundles(Section, frozen=True):
    """What was fitted, on disk."""

    max_size: Size = 2 * 1024**3


class Gate(Section, frozen=True):
    """In what a challenger must not be worse than the champion."""

    max_alert_rate: Annotated[float, Limits(ge=0, le=1)] = 0.01
    max_error_ratio: Annotated[float, Limits(ge=1)] = 1.5
    alert_rate_margin: Annotated[float, Limits(ge=0, le=1)] = 0.005
    alerts_margin: Annotated[float, Limits(ge=0)] = 0.5
    faults_margin: Annotated[float, Limits(ge=0, le=1)] = 0.1
    delay_margin: Annotated[float, Limits(ge=0, le=1)] = 0.05
    equal_alarms: bool = True
    stream: Annotated[DurationOrOff, Positive] = timedelta(days=7)


def _check_memory(size: int | None) -> int | None:
    if size is not None and size < 2**29:
        raise UnmetError("must be at least 512MiB", hint="TensorFlow alone takes as much")
    return size


class Retrain(Section, frozen=True):
    """Fitting anew on the stored readings."""

    every: Annotated[DurationOrOff, After(between(timedelta(minutes=1)))] = None
    jitter: DurationOrAuto = AUTO
    max_age: Annotated[DurationOrOff, After(between(timedelta(minutes=1)))] = None
    on_drift: bool = True
    by: Literal["child", "request"] = "child"
    look_back: Annotated[Duration, Positive] = timedelta(days=30)
    min_readings: AtLeastOne = 1000
    max_readings: AtLeastOne = 200_000
    margin: DurationOrAuto = "auto"
    remember: Annotated[int, Limits(ge=0)] = 20_000
    max_time: Annotated[DurationOrOff, After(between(timedelta(seconds=1)))] = timedelta(hours=6)
    max_memory: Annotated[SizeOrOff, After(_check_memory)] = 4 * 1024**3
    max_cpus: AtLeastOne | None = None
    gate: Gate = Gate()
    promote: Literal["managed", "manual"] = "managed"
    shadow: Annotated[DurationOrOff, After(between(timedelta(minutes=1)))] = None
    incidents_size: Size = 100_000_000
    keep_turns: AtLeastOne = 500
