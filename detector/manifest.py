"""Everything that was fitted, as it is written down in a bundle's `manifest.json`."""

from __future__ import annotations

import math
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from detector.channels import Channel
from detector.composition import Composition
from detector.grid import Grid
from detector.kinds import ImputationMethod, ScalingMethod

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 2  # since 2 the manifest has a checksum of its own
OLDEST = 1

ErrorKind = Literal["mse", "rmse", "mae"]
ThresholdMethod = Literal["mean_std", "quantile", "pot", "calibrated"]


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen, and refuses what it does not know: a newer bundle must not half-work."""


class WindowSpec(_Spec, frozen=True):
    """How samples become windows.

    Attributes:
        length: T, samples per window.
        stride: A window ends at every slot whose number is a multiple of this.
        max_gap: Samples that may be missing in a row; a longer hole restarts the window.
        min_coverage: Share of values that must be there for a window to be scored.
    """

    length: int
    stride: int = 1
    max_gap: int = 5
    min_coverage: float = 0.5

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or self.max_gap < 0 or not 0 <= self.min_coverage <= 1:
            raise ValueError(f"window: length, stride >= 1, max_gap >= 0, 0 <= min_coverage <= 1, got {self}")

    @overload
    def scorable(self, coverage: float) -> bool: ...
    @overload
    def scorable(self, coverage: NDArray[np.float64]) -> NDArray[np.bool_]: ...
    def scorable(self, coverage: float | NDArray[np.float64]) -> bool | NDArray[np.bool_]:
        """Whether windows with this share of their values there are scored; never one without any."""
        return (coverage > 0) & (coverage >= self.min_coverage)


class ImputerSpec(_Spec, frozen=True):
    """How missing values are filled; see `detector.inputs.Imputer`.

    Attributes:
        method: The way.
        fallback: One value per column, in the column's own unit.
        references: For `knn`, rows of scaled columns, shape (R, C).
        regressions: For `iterative`, of each scaled column its slope along each column (0 along
            itself) and its intercept, shape (C, C + 1).
    """

    method: ImputationMethod
    fallback: tuple[float, ...]
    references: tuple[tuple[float, ...], ...] = ()
    regressions: tuple[tuple[float, ...], ...] = ()

    def check(self, width: int) -> None:
        """Raises `ValueError` unless it fits so many columns."""
        _check_numbers("imputer.fallback", self.fallback, width)
        for row in self.references:
            _check_numbers("imputer.references", row, width)
        for row in self.regressions:
            _check_numbers("imputer.regressions", row, width + 1)
        if (self.method == "knn") != bool(self.references):
            raise ValueError("imputer.references: must be there for knn alone")
        if len(self.regressions) != (width if self.method == "iterative" else 0):
            raise ValueError("imputer.regressions: must be one per column for iterative, else none")


class Curve(_Spec, frozen=True):
    """A scaled column as a curve through points; both strictly ascending, of the same length."""

    values: tuple[float, ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        for numbers in (self.values, self.levels):
            ascends = all(a < b for a, b in pairwise(numbers)) and all(map(math.isfinite, numbers))
            if not ascends or not 0 < len(numbers) == len(self.values):
                raise ValueError("scaler.curves: must be points of ascending values and levels")


class ScalerSpec(_Spec, frozen=True):
    """`scaled = (value - offset) / scale`, one pair per column, scale > 0.

    Attributes:
        method: How they were found.
        offset: In the column's own unit.
        scale: In the column's own unit; beyond the ends of a curve, the same slope goes on.
        curves: For `quantile`, of each column the curve that replaces the straight line, if any.
    """

    method: ScalingMethod
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    curves: tuple[Curve | None, ...] = ()

    def check(self, width: int) -> None:
        """Raises `ValueError` unless it fits so many columns."""
        _check_numbers("scaler.offset", self.offset, width)
        _check_numbers("scaler.scale", self.scale, width)
        if min(self.scale) <= 0:
            raise ValueError("scaler.scale: must be above 0 for every column")
        if self.curves and len(self.curves) != width:
            raise ValueError(f"scaler.curves: must be {width}, one per column, or none")


def _check_numbers(name: str, numbers: tuple[float, ...], count: int) -> None:
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}: must hold {count} finite numbers, one per column")


class ErrorSpec(_Spec, frozen=True):
    """The reconstruction error of a window.

    Attributes:
        kind: What is done with the differences of window and reconstruction.
        smoothing: Weight of the past in the error's average.
        usual: Each sensor's mean error on normal rows, > 0, by which its errors are divided, so that
            1 is usual for every sensor; none: they are not divided.
    """

    kind: ErrorKind = "mse"
    smoothing: float = 0.0
    usual: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"error.smoothing: must be at least 0 and below 1, got {self.smoothing}")
        if self.usual is not None and not all(math.isfinite(mean) and mean > 0 for mean in self.usual):
            raise ValueError("error.usual: must be finite and above 0 for every sensor")


class Rate(_Spec, frozen=True):
    """How often something happens in a day, as far as it is known.

    Attributes:
        expected: The median of what it may be.
        low: With a confidence of 95 % it is not lower.
        high: With a confidence of 95 % it is not higher.
    """

    expected: float
    low: float
    high: float


class Candidate(_Spec, frozen=True):
    """What one method gives for a threshold, and what that would mean.

    Attributes:
        method: How it was found.
        options: The method's options.
        value: The threshold, > 0, in units of the reconstruction error.
        above: Share of the calibration windows above it.
        alerts_per_day: Alerts that would open on a normal day of one machine.
        low: With a confidence of 95 % the threshold that keeps what is wanted is not lower; None
            where nothing is wanted of the method.
        high: The same, not higher.
        precision: Share of the alarmed rows that are labelled anomalous; None without labels or alarms.
        recall: Share of the rows labelled anomalous that are alarmed; None without labels.
        f1: Their harmonic mean.
    """

    method: ThresholdMethod
    options: dict[str, float]
    value: float
    above: float
    alerts_per_day: Rate
    low: float | None = None
    high: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None

    @property
    def label(self) -> str:
        """The method with its options, for people: `mean_std (k 10)`."""
        return f"{self.method} ({', '.join(f'{name} {value:g}' for name, value in self.options.items())})"


class Evidence(_Spec, frozen=True):
    """What the calibration windows say about any threshold.

    Attributes:
        days: Normal time that they stand for, of all machines together.
        quiet: The lowest threshold at which no alert opens in them; what is said of a higher one is
            extrapolated.
        candidates: What each method gives.
    """

    days: float
    quiet: float
    candidates: tuple[Candidate, ...]

    def of(self, method: ThresholdMethod) -> Candidate:
        """What this method gives."""
        return next(each for each in self.candidates if each.method == method)


class Threshold(_Spec, frozen=True):
    """The error above which normal windows are rare, with its evidence.

    Attributes:
        value: The threshold itself, > 0, in units of the reconstruction error.
        method: How it was found.
        k: Standard deviations above the mean, for `mean_std`; None for other methods.
        mean: Mean error of the calibration windows.
        std: Standard deviation of their errors.
        windows: Number of calibration windows.
        above: Share of them above the threshold.
        evidence: What else is known; None in bundles of older versions.
    """

    value: float
    method: ThresholdMethod
    k: float | None
    mean: float
    std: float
    windows: int
    above: float
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ValueError(f"threshold.value: must be a finite number above 0, got {self.value}")


class ModelSpec(_Spec, frozen=True):
    """The autoencoder's shape, and where its fitting began, for people.

    Attributes:
        begun: In words; empty: at the principal components, as every fitting on recordings does.
    """

    kind: str
    units: tuple[int, ...]
    code: int
    activation: str
    parameters: int
    ensemble: int = 1
    begun: str = ""


class StretchSpec(_Spec, frozen=True):
    """How long each of the F sensors has stood still or been away in the history, in samples.

    Attributes:
        same: Most samples in a row with the same value.
        absent: Most samples in a row without a value.
        changes: How often the value has changed: of few changes the longest stretch tells little.
    """

    same: tuple[int, ...]
    absent: tuple[int, ...]
    changes: tuple[int, ...]


class HistorySpec(_Spec, frozen=True):
    """What the model was fitted on.

    Attributes:
        source: File names, or `store` for stored readings.
        machines: Whose readings they are.
        rows: Rows used, after those labelled anomalous were left out.
        fit_windows: Windows the weights were fitted on (and validated).
        start: First time used, ISO 8601.
        end: Last time used, ISO 8601.
        sha256: Fingerprint of times and values.
    """

    source: tuple[str, ...]
    machines: tuple[str, ...]
    rows: int
    fit_windows: int
    start: str
    end: str
    sha256: str


class Asked(_Spec, frozen=True):
    """Who asked for the retraining that made a bundle (`schedule`, `drift`, …), and why, for people."""

    by: str
    reason: str = ""


class Manifest(_Spec, frozen=True):
    """A bundle's description: all that the daemon needs beside the model file.

    Attributes:
        schema: Version of this layout.
        id: The bundle's name.
        created_at: ISO 8601, UTC.
        machine: The one machine it serves; None when it is shared by all without one of their own.
        sensors: Names of the F sensors, in the model's order.
        metrics: Figures of the training, by name.
        libraries: Versions that made it.
        files: sha256 of every other file of the bundle, by file name.
        channels: What those sensors stand for that are no plain measurements, by sensor.
        limits: The lowest and the highest scaled value that the model is given: a value beyond is to
            it the limit, and off by what is beyond; None: it is given every value.
        stretches: By which it is known that a sensor is stuck or silent; None in bundles of older versions.
        asked: Who asked for it; None: it was trained by hand, from files.
        composition: What of the stored readings it was fitted on; None: on recordings.
    """

    schema: int
    id: str
    created_at: str
    machine: str | None
    sensors: tuple[str, ...]
    grid: Grid
    window: WindowSpec
    imputer: ImputerSpec
    scaler: ScalerSpec
    error: ErrorSpec
    threshold: Threshold
    model: ModelSpec
    history: HistorySpec
    metrics: dict[str, float]
    libraries: dict[str, str]
    files: dict[str, str]
    channels: dict[str, Channel] = {}
    limits: tuple[float, float] | None = None
    stretches: StretchSpec | None = None
    asked: Asked | None = None
    composition: Composition | None = None

    def __post_init__(self) -> None:
        count = len(self.sensors)
        if count == 0 or len(set(self.sensors)) != count:
            raise ValueError("sensors: must be one or more different names")
        if not self.channels.keys() <= {*self.sensors}:
            raise ValueError("channels: must be of sensors")
        if self.error.usual is not None and len(self.error.usual) != count:
            raise ValueError(f"error.usual: must hold {count} numbers, one per sensor")
        if self.stretches is not None and {*map(len, msgspec.structs.astuple(self.stretches))} != {count}:
            raise ValueError(f"stretches: must hold {count} numbers each, one per sensor")
        self.imputer.check(self.width)
        self.scaler.check(self.width)
        if self.limits is not None and not -math.inf < self.limits[0] < self.limits[1] < math.inf:
            raise ValueError(f"limits: must be finite and ascend, got {self.limits}")

    @property
    def width(self) -> int:
        """C, the columns that the model sees of its F sensors."""
        return sum(self.channels[name].width if name in self.channels else 1 for name in self.sensors)


class UnreadableManifest(ValueError):
    """The text is not a manifest of this schema; the message says what is wrong."""


def encode(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, with the checksum of its content as `sha256`."""
    content = msgspec.json.decode(msgspec.json.encode(manifest))
    content["sha256"] = checksum(content)
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def checksum(content: dict[str, Any]) -> str:
    """sha256 of a manifest's content, however its text is laid out."""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def decode(text: bytes) -> Manifest:
    """Reads a manifest of this schema or an older one.

    Raises:
        UnreadableManifest: It is not JSON, has a newer schema, lacks or contradicts something, or was
            changed.
    """
    try:
        content: Any = msgspec.json.decode(text)
        schema = content.get("schema") if isinstance(content, dict) else None
        readable = type(schema) is int and OLDEST <= schema <= SCHEMA
        if readable:
            noted = content.pop("sha256", None)
            whole = noted == checksum(content) or (noted is None and schema == OLDEST)
            manifest = msgspec.convert(content | {"schema": SCHEMA}, Manifest)
    except (ValueError, RecursionError) as error:  # msgspec raises more than its own errors on bad text
        raise UnreadableManifest(str(error)) from error
    if type(schema) is int and schema > SCHEMA:
        raise UnreadableManifest(
            f"schema: must be at most {SCHEMA} for this version, got {schema}: made by a newer one"
        )
    if not readable:
        raise UnreadableManifest(f"schema: must be {OLDEST} to {SCHEMA} for this version, got {schema!r}")
    if not whole:
        raise UnreadableManifest("was changed after it was written")
    return manifest
