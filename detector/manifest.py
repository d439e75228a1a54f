"""Everything that was fitted, as it is written down in a bundle's `manifest.json`."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from detector.grid import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1

ImputationMethod = Literal["last", "mean", "median"]
ScalingMethod = Literal["standard", "minmax", "robust"]
ErrorKind = Literal["mse", "rmse", "mae"]


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
    """How missing values are filled; `fallback` has one value per sensor (mean or median)."""

    method: ImputationMethod
    fallback: tuple[float, ...]


class ScalerSpec(_Spec, frozen=True):
    """`scaled = (value - offset) / scale`, one pair per sensor, scale > 0."""

    method: ScalingMethod
    offset: tuple[float, ...]
    scale: tuple[float, ...]


class ErrorSpec(_Spec, frozen=True):
    """The reconstruction error of a window, and the weight of the past in its average."""

    kind: ErrorKind = "mse"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"error.smoothing: must be at least 0 and below 1, got {self.smoothing}")


class Threshold(_Spec, frozen=True):
    """The error above which normal windows are rare, with its evidence.

    Attributes:
        value: The threshold itself, > 0, in units of the reconstruction error.
        method: How it was found.
        k: Standard deviations above the mean, for `mean_std`.
        mean: Mean error of the calibration windows.
        std: Standard deviation of their errors.
        windows: Number of calibration windows.
        above: Share of them above the threshold.
    """

    value: float
    method: Literal["mean_std"]
    k: float
    mean: float
    std: float
    windows: int
    above: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ValueError(f"threshold.value: must be a finite number above 0, got {self.value}")


class ModelSpec(_Spec, frozen=True):
    """The autoencoder's shape, for people and for a warm start."""

    kind: str
    units: tuple[int, ...]
    code: int
    activation: str
    parameters: int
    ensemble: int = 1


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

    def __post_init__(self) -> None:
        count = len(self.sensors)
        if count == 0 or len(set(self.sensors)) != count:
            raise ValueError("sensors: must be one or more different names")
        for name, numbers in (
            ("imputer.fallback", self.imputer.fallback),
            ("scaler.offset", self.scaler.offset),
            ("scaler.scale", self.scaler.scale),
        ):
            if len(numbers) != count or not all(map(math.isfinite, numbers)):
                raise ValueError(f"{name}: must hold {count} finite numbers, one per sensor")
        if min(self.scaler.scale) <= 0:
            raise ValueError("scaler.scale: must be above 0 for every sensor")


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
    """Reads a manifest.

    Raises:
        UnreadableManifest: It is not JSON, has another schema, lacks or contradicts something, or was
            changed.
    """
    try:
        content: Any = msgspec.json.decode(text)
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema == SCHEMA:
            noted = content.pop("sha256", None)
            manifest = msgspec.convert(content, Manifest)
    except (ValueError, RecursionError) as error:  # msgspec raises more than its own errors on bad text
        raise UnreadableManifest(str(error)) from error
    if schema != SCHEMA:
        raise UnreadableManifest(f"schema: must be {SCHEMA} for this version, got {schema!r}")
    if noted != checksum(content):
        raise UnreadableManifest("was changed after it was written")
    return manifest
