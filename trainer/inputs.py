"""The constants before the autoencoder: what categories there are, how columns are filled and scaled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - allows the import below
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

from detector.channels import Channel, Columns
from detector.history import segments
from detector.inputs import NEIGHBOURS, ROUNDS, Inputs, Scaler
from detector.manifest import Curve, ImputerSpec, ScalerSpec
from trainer.problems import Unusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from config.streams import Channel as Declared
    from config.training import Trainer as Wishes
    from detector.grid import Grid
    from detector.history import History
    from detector.kinds import ImputationMethod, ScalingMethod

QUANTILES = 101  # points of a curve: percentiles; more follow the noise of the history
REFERENCES = 256  # rows that `knn` looks for neighbours in; see docs/inputs.md for what fewer cost
MOST_TO_CLUSTER = 4000  # rows, spread evenly: the centres of more are the same
MOST_TO_REGRESS = 2000
DIGITS = 6  # of numbers in a bundle by the ten thousand


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What was learned of the rows before the autoencoder is fitted.

    Attributes:
        channels: What sensors are that are no plain measurements.
        imputer: What missing values are filled with.
        scaler: What columns are scaled by.
        limits: Beyond which no scaled value is shown to the model, where there are any.
        columns: Those of the sensors.
        inputs: All of it, as the detector uses it.
    """

    channels: dict[str, Channel]
    imputer: ImputerSpec
    scaler: ScalerSpec
    limits: tuple[float, float] | None
    columns: Columns
    inputs: Inputs


def fit_inputs(
    histories: Sequence[History], declared: Mapping[str, Declared], wishes: Wishes, grid: Grid
) -> Fit:
    """Fits what stands before the autoencoder.

    Args:
        histories: The rows to fit on, of the same sensors.
        declared: What sensors are said to be; others than those of the histories do not matter.
        wishes: The trainer's.
        grid: On which counters are looked at.

    Raises:
        Unusable: A counter has no two values in adjoining slots, or no text of a category is known.
    """
    channels = fit_channels(histories, declared)
    columns = Columns(histories[0].sensors, channels)
    samples = np.concatenate([_samples(history, columns, grid, wishes.max_gap) for history in histories])
    encoded = columns.encode(samples)
    empty = columns.first(np.isnan(encoded)).all(axis=0)
    if empty.any():
        raise Unusable(*(_why_empty(name) for name in np.array(columns.sensors)[empty].tolist()))
    scaler = fit_scaler(encoded, wishes.scaling, columns)
    imputer = fit_imputer(encoded, wishes.imputation, columns, scaler, seed=wishes.seed)
    limits = fit_limits(encoded, columns, scaler)
    return Fit(channels, imputer, scaler, limits, columns, Inputs(columns, imputer, scaler))


def _samples(history: History, columns: Columns, grid: Grid, max_gap: int) -> NDArray[np.float64]:
    if not columns.counters:
        return history.values
    rows = [segment.values for segment in segments(history, grid, max_gap, columns.counters)]
    return np.concatenate([np.empty((0, len(history.sensors))), *rows])


def _why_empty(sensor: str) -> str:
    return (
        f"sensor {sensor}: must have a value in the rows to fit on, as a counter two in samples that "
        "adjoin, got none; history.ignore_columns leaves it out"
    )


def fit_channels(histories: Sequence[History], declared: Mapping[str, Declared]) -> dict[str, Channel]:
    """What those sensors are that are declared, with the categories that occur in the rows."""
    texts = {number: text for history in histories for number, text in history.texts.items()}
    channels, problems = {}, []
    for column, name in enumerate(histories[0].sensors):
        wish = declared.get(name)
        if wish is None:
            continue
        seen: list[str] = []
        if wish.kind == "category":
            numbers = np.unique(np.concatenate([history.values[:, column] for history in histories]))
            seen = sorted(texts[number] for number in numbers.tolist() if number in texts)
            if not 0 < len(seen) <= MOST_CATEGORIES:
                problems.append(
                    f"sensor {name}: must have 1 to {MOST_CATEGORIES} categories in the rows to fit on, "
                    f"got {len(seen)}; is it the name of a single thing? history.ignore_columns leaves it out"
                )
                continue
        channels[name] = Channel(wish.kind, wish.turn, tuple(seen))
    if problems:
        raise Unusable(*problems)
    return channels


MOST_CATEGORIES = 1000  # more are names of single things, of which the next one will be new again


def fit_scaler(encoded: NDArray[np.float64], method: ScalingMethod, columns: Columns) -> ScalerSpec:
    """Fits offset and scale per column by scikit-learn: NaN is left out, a constant gets a scale of 1.

    The method is that of measurements and counters. Columns of 0 and 1 stay as they are, and so do
    embedded categories. Sine and cosine of an angle get one scale for both, so that an error is the
    same wherever the angle's 0 is.

    Args:
        encoded: Columns, shape (N, C); NaN may occur, but every column has a value.
        method: How measurements are made comparable.
        columns: What they are.
    """
    offset, scale = np.zeros(columns.width), np.ones(columns.width)
    curves: list[Curve | None] = [None] * columns.width
    for channel, part in columns.parts:
        values = encoded[:, part]
        if channel is None or channel.kind == "counter":
            offset[part], scale[part] = _line(values, method)
            curves[part.start] = _curve(values) if method == "quantile" else None
        elif channel.kind == "angle":
            offset[part] = np.nanmean(values, axis=0)
            spread = float(np.sqrt(np.nanvar(values, axis=0).mean()))
            scale[part] = spread if spread > SMALLEST_ARC else 1.0
    kept = tuple(curves) if any(curves) else ()
    return ScalerSpec(method, tuple(offset.tolist()), tuple(scale.tolist()), kept)


SMALLEST_ARC = 1e-6  # radians; an angle that moves less stands still


def _line(values: NDArray[np.float64], method: ScalingMethod) -> tuple[float, float]:
    """Offset and scale of a column of shape (N, 1)."""
    match method:
        case "standard":
            standard = StandardScaler().fit(values)
            return standard.mean_[0], standard.scale_[0]
        case "minmax":
            minmax = MinMaxScaler().fit(values)
            return minmax.data_min_[0], 1 / minmax.scale_[0]
        case "robust" | "quantile":
            low, quarter, middle, three_quarters, high = np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])
            # The middle half takes a unit, or as quantiles half of one. Where it is one value, all take a
            # unit: a sensor that mostly rests must not be measured in its own unit.
            half = three_quarters - quarter
            return middle, (half if method == "robust" else 2 * half) or high - low or 1.0


def _curve(values: NDArray[np.float64]) -> Curve:
    """From values to quantiles, by scikit-learn; a value that is several quantiles gets their mean."""
    there = values[~np.isnan(values[:, 0])]
    table = QuantileTransformer(n_quantiles=min(QUANTILES, len(there)), subsample=None).fit(there)
    points, group = np.unique(table.quantiles_[:, 0], return_inverse=True)
    levels = np.bincount(group, table.references_) / np.bincount(group)
    return Curve(tuple(points.tolist()), tuple(levels.tolist()))


def fit_limits(
    encoded: NDArray[np.float64], columns: Columns, scaler: ScalerSpec
) -> tuple[float, float] | None:
    """`DEVIATIONS` around the mean of a lone measurement or counter, scaled; None for all other machines.

    No other sensor contradicts a lone one: the code holds its level, and so reproduces any level. Several
    sensors would gain little by limits: where a machine settles at another level, they stay beyond them.

    Args:
        encoded: Columns, shape (N, C); NaN may occur, but every column has a value.
        columns: What they are.
        scaler: How they are scaled.
    """
    channel, _ = columns.parts[0]
    if len(columns.parts) > 1 or (channel is not None and channel.kind != "counter"):
        return None
    scaled = Scaler(scaler).scale(encoded).astype(np.float64)
    mean, spread = float(np.nanmean(scaled)), float(np.nanstd(scaled))
    return (mean - DEVIATIONS * spread, mean + DEVIATIONS * spread) if spread else None


DEVIATIONS = 4.0


def fit_imputer(
    encoded: NDArray[np.float64],
    method: ImputationMethod,
    columns: Columns,
    scaler: ScalerSpec,
    *,
    seed: int = 0,
) -> ImputerSpec:
    """Fits what fills missing values; see `detector.inputs.Imputer`.

    Args:
        encoded: Columns, shape (N, C); NaN may occur, but every column has a value.
        method: How missing values will be filled.
        columns: What they are.
        scaler: How they are scaled.
        seed: Of the clusters that the rows for `knn` are thinned out to.
    """
    fallback = tuple(_fallback(encoded, method, columns).tolist())
    if method == "knn":
        scaled = Scaler(scaler).scale(encoded)
        return ImputerSpec(method, fallback, references=_references(scaled, seed))
    if method == "iterative":
        return ImputerSpec(method, fallback, regressions=_regressions(Scaler(scaler).scale(encoded)))
    return ImputerSpec(method, fallback)


def _fallback(
    encoded: NDArray[np.float64], method: ImputationMethod, columns: Columns
) -> NDArray[np.float64]:
    """The mean for what averages, else the median; a category or binary sensor has a most frequent value."""
    if method in {"mean", "knn", "iterative"}:
        mean: NDArray[np.float64] = np.nanmean(encoded, axis=0)
        return mean
    centre: NDArray[np.float64] = np.nanmedian(encoded, axis=0)
    for channel, part in columns.parts:
        kind = channel.kind if channel else None
        if kind in {"category", "binary"} or (method == "mode" and kind != "angle"):
            centre[part] = _most_frequent(encoded[:, part], centre[part])
    return centre


def _most_frequent(rows: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """The row that occurs most often; of several the one nearest to the centre.

    A continuous sensor shows each value once: scikit-learn would take the smallest one.
    """
    found, counts = np.unique(rows[~np.isnan(rows).any(axis=1)], axis=0, return_counts=True)
    often = found[counts == counts.max()]
    nearest: NDArray[np.float64] = often[np.abs(often - centre).sum(axis=1).argmin()]
    return nearest


def _references(scaled: NDArray[np.float32], seed: int) -> tuple[tuple[float, ...], ...]:
    """Centres of the rows, by k-means; holes in them are filled by scikit-learn's own `KNNImputer`."""
    rows = _spread(scaled, MOST_TO_CLUSTER)
    if np.isnan(rows).any():
        rows = KNNImputer(n_neighbors=NEIGHBOURS).fit_transform(rows)
    count = min(REFERENCES, len(np.unique(rows, axis=0)))
    centres = KMeans(count, n_init=1, random_state=seed).fit(rows).cluster_centers_
    return _rounded(centres)


def _regressions(scaled: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    """The Bayesian ridge regressions of scikit-learn's `IterativeImputer` in its last round."""
    rows = _spread(scaled, MOST_TO_REGRESS).astype(np.float64)
    width = rows.shape[1]
    found = np.zeros((width, width + 1))
    found[:, -1] = np.nanmean(rows, axis=0)  # what is said of a lone column
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is learned is good enough, or not better
        imputer: Any = IterativeImputer(max_iter=ROUNDS, keep_empty_features=True).fit(rows)
    for column, others, regression in imputer.imputation_sequence_:
        found[column, others] = regression.coef_
        found[column, -1] = regression.intercept_
    return _rounded(found)


def _spread(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many of the rows that hold anything, evenly spread."""
    some = rows[~np.isnan(rows).all(axis=1)]
    return some[:: max(1, -(-len(some) // most))]


def _rounded(numbers: NDArray[np.floating[Any]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{number:.{DIGITS}g}") for number in row) for row in numbers.tolist())
