"""Manifests, models and streams that the tests of the detector share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.categories import number_of
from detector.channels import Channel, Columns
from detector.events import AlertChanged, Event, ReadingDropped
from detector.expression import parse
from detector.grid import Grid
from detector.health import HealthPolicy
from detector.kinds import ImputationMethod
from detector.manifest import (
    SCHEMA,
    Curve,
    ErrorKind,
    ErrorSpec,
    HistorySpec,
    ImputerSpec,
    Manifest,
    ModelSpec,
    ScalerSpec,
    Threshold,
    WindowSpec,
)
from detector.modes import OperationPolicy
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.scoring import Autoencoder, Detector
from detector.stream import StreamPolicy
from tests.detector.tiny_model import linear_model

START = 1_767_519_000_000
SECOND = 1_000


class Projection:
    """A linear autoencoder: a projection of the window onto half of its dimensions."""

    def __init__(self, length: int, width: int) -> None:
        size = length * width
        basis = np.linalg.qr(np.random.default_rng(7).normal(size=(size, max(1, size // 2))))[0]
        self.matrix = (basis @ basis.T).astype(np.float32)

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        flat: NDArray[np.float32] = windows.reshape(len(windows), -1) @ self.matrix
        return flat.reshape(windows.shape)


def manifest(
    name: str = "bundle-1",
    *,
    machine: str | None = None,
    sensors: tuple[str, ...] = ("flow", "load"),
    grid: Grid | None = None,
    window: WindowSpec | None = None,
    imputation: ImputationMethod = "last",
    error: ErrorSpec | None = None,
    threshold: float = 0.731,
    channels: dict[str, Channel] | None = None,
    curved: bool = False,
) -> Manifest:
    """A complete manifest; values are small, so scaling is mild."""
    channels = channels or {}
    width = Columns(sensors, channels).width
    random = np.random.default_rng(5)
    slopes = random.uniform(-0.2, 0.2, (width, width + 1)) * (1 - np.eye(width, width + 1))
    references = random.normal(size=(8, width))
    curves = (Curve((-1.0, 0.0, 0.5, 2.0, 3.0), (0.0, 0.25, 0.4, 0.75, 1.0)),) * width if curved else ()
    return Manifest(
        schema=SCHEMA,
        id=name,
        created_at="2026-01-03T22:00:00Z",
        machine=machine,
        sensors=sensors,
        grid=grid or Grid(SECOND),
        window=window or WindowSpec(length=3, max_gap=2),
        imputer=ImputerSpec(
            method=imputation,
            fallback=tuple(0.25 * (i % 3 + 1) for i in range(width)),
            references=tuple(map(tuple, references.tolist())) if imputation == "knn" else (),
            regressions=tuple(map(tuple, slopes.tolist())) if imputation == "iterative" else (),
        ),
        scaler=ScalerSpec(
            method="quantile" if curved else "standard",
            offset=tuple(0.1 * (i % 3) for i in range(width)),
            scale=tuple(1 + 0.5 * (i % 3) for i in range(width)),
            curves=curves,
        ),
        error=error or ErrorSpec(kind="mse", smoothing=0.4),
        threshold=Threshold(
            value=threshold, method="mean_std", k=3.0, mean=0.4, std=0.1, windows=100, above=0.01
        ),
        model=ModelSpec(kind="dense", units=(4,), code=2, activation="relu", parameters=10),
        history=HistorySpec(
            source=("normal.csv",),
            machines=("press-1",),
            rows=400,
            fit_windows=280,
            start="2026-01-01T00:00:00Z",
            end="2026-01-02T00:00:00Z",
            sha256="00",
        ),
        metrics={"loss": 0.1},
        libraries={"numpy": np.__version__},
        files={},
        channels=channels,
    )


def detector(made: Manifest | None = None, model: Autoencoder | None = None) -> Detector:
    """A detector with a cheap model."""
    made = made or manifest()
    return Detector(made, model or Projection(made.window.length, made.width))


def reading(
    at: float, machine: str = "press-1", received_at: float | None = None, **values: float
) -> Reading:
    """A reading; times in seconds after `START`."""
    received = None if received_at is None else START + round(received_at * SECOND)
    numbers = np.array(list(values.values()), dtype=np.float64)
    return Reading(machine, START + round(at * SECOND), tuple(values), numbers, received)


def pipeline(
    champions: Champions | Detector,
    *,
    stream: StreamPolicy | None = None,
    alerts: AlertPolicy | None = None,
    health: HealthPolicy | None = None,
    operation: OperationPolicy | None = None,
) -> Pipeline:
    """A pipeline; a lone detector is shared."""
    if isinstance(champions, Detector):
        champions = Champions(shared=champions)
    return Pipeline(
        champions,
        stream=stream or StreamPolicy(),
        alerts=alerts or AlertPolicy(),
        health=health,
        operation=operation,
    )


ROUNDING = 1e-4  # of the squares of single-precision values of up to 6


def machine_of(event: Event) -> str:
    """The machine that an event is about."""
    return event.reading.machine if isinstance(event, ReadingDropped) else event.machine


def assert_same(actual: Sequence[Event], expected: Sequence[Event]) -> None:
    """The same events in the same order; floats up to the rounding of a batch."""
    assert [_brief(event) for event in actual] == [_brief(event) for event in expected]
    for one, other in zip(actual, expected, strict=True):
        assert _close(_blaming(one), _blaming(other)), f"{one}\nis not\n{other}"


def _blaming(event: Event) -> Event:
    """The event; without shares where the error is rounding alone, and so are they."""
    if isinstance(event, AlertChanged) and (event.reconstruction_error or 0) < ROUNDING:
        return msgspec.structs.replace(event, sensors=())
    return event


def _brief(event: Event) -> tuple[str, ...]:
    if isinstance(event, ReadingDropped):
        return "ReadingDropped", event.reading.machine, str(event.reading.at), event.reason
    return type(event).__name__, event.machine, str(event.at)


def _close(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=2e-4)
    if isinstance(one, Reading) and isinstance(other, Reading):
        return one.at == other.at and one.sensors == other.sensors
    if isinstance(one, msgspec.Struct) and isinstance(other, msgspec.Struct):
        return _close(msgspec.structs.astuple(one), msgspec.structs.astuple(other))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_close, one, other))
    return one == other


VALUES = (0.0, 0.5, 1.25, -0.75, 2.0, 3.5, 6.0, math.nan)
# What the sensor `mode` sends: categories, of which no bundle knows the third, or nothing.
MODES = (number_of("run"), number_of("stop"), number_of("explode"), math.nan)
STEPS = (1, 1, 1, 1, 1, 1, 0, -1, 2, 3, -3, 7)  # slots from a machine's last reading to its next
SENSORS = (("flow", "load"),) * 6 + (
    ("load", "flow"),
    ("flow",),
    ("load",),
    ("flow", "load", "oil"),
    ("oil",),
    ("flow", "load", "mode"),
    ("flow", "mode", "load"),
    ("mode",),
)


@st.composite
def streams(
    draw: st.DrawFn, machines: tuple[str, ...] = ("press-1", "press-2", "lathe"), size: int = 50
) -> list[Reading]:
    """Readings of several machines in order of arrival, with all that goes wrong on the way."""
    step = st.tuples(
        st.sampled_from(machines),
        st.sampled_from(STEPS),
        st.sampled_from((0, 0, 0, -400, 450, 90)),
        st.sampled_from(SENSORS),
        st.lists(st.sampled_from(VALUES), min_size=3, max_size=3),
        st.sampled_from((None, None, None, 0, 300, -3_000, -4_000_000)),
    )
    slot = dict.fromkeys(machines, 0)
    least = draw(st.sampled_from((1, size // 2, size)))  # short ones shrink, long ones find
    readings = []
    for machine, advance, jitter, sensors, values, delay in draw(
        st.lists(step, min_size=least, max_size=size)
    ):
        slot[machine] += advance
        at = START + slot[machine] * SECOND + jitter
        numbers = np.array(
            [
                MODES[VALUES.index(value) % len(MODES)] if name == "mode" else value
                for name, value in zip(sensors, values, strict=False)
            ]
        )
        readings.append(Reading(machine, at, sensors, numbers, None if delay is None else at + delay))
    return readings


MANY = ("run", "stop", *(f"recipe {i}" for i in range(20)))


@st.composite
def manifests(draw: st.DrawFn, name: str = "bundle-1") -> Manifest:
    """Manifests that differ in everything the stream's treatment depends on."""
    kind: ErrorKind = draw(st.sampled_from(("mse", "rmse", "mae")))
    sensors = draw(
        st.sampled_from(
            (("flow", "load"), ("flow", "load"), ("load",), ("load", "oil", "flow"), ("mode", "load", "flow"))
        )
    )
    kinds = {
        "flow": (None, None, Channel("counter")),
        "load": (None, None, Channel("angle", 4.0), Channel("binary")),
        "oil": (None,),
        "mode": (Channel("category", categories=("run", "stop")), Channel("category", categories=MANY)),
    }
    chosen = {sensor: draw(st.sampled_from(kinds[sensor])) for sensor in sensors}
    return manifest(
        name,
        sensors=sensors,
        channels={sensor: channel for sensor, channel in chosen.items() if channel},
        curved=draw(st.sampled_from((False, False, True))),
        grid=Grid(draw(st.sampled_from((SECOND, SECOND, 700))), draw(st.sampled_from((0, 3, 350)))),
        window=WindowSpec(
            length=draw(st.integers(1, 4)),
            stride=draw(st.sampled_from((1, 1, 2, 3))),
            max_gap=draw(st.integers(0, 3)),
            min_coverage=draw(st.sampled_from((0.0, 0.5, 0.8))),
        ),
        imputation=draw(st.sampled_from(("last", "last", "mean", "knn", "iterative", "model"))),
        error=ErrorSpec(
            kind=kind,
            smoothing=draw(st.sampled_from((0.0, 0.4))),
            usual=draw(st.sampled_from((None, tuple(0.2 * (i + 1) for i in range(len(sensors)))))),
        ),
    )


stream_policies = st.builds(
    StreamPolicy, lateness=st.sampled_from((0, 0, 400, 1_000, 2_500)), max_ahead=st.just(3_600_000)
)
alert_policies = st.builds(
    AlertPolicy,
    open_after=st.sampled_from((1, 1, 2)),
    open_within=st.integers(2, 3),
    close_after=st.integers(1, 2),
    critical_score=st.just(3.0),
    repeat_every=st.sampled_from((None, 2_000)),
)
health_policies = st.builds(
    HealthPolicy,
    stuck_after=st.sampled_from((None, 1_000, 2_000, 2_500)),
    silent_after=st.sampled_from((None, 1_000, 3_000)),
    limits=st.sampled_from(({}, {}, {"load": (0.0, 3.0)}, {"flow": (-math.inf, 2.0), "mode": (0.0, 1.0)})),
    ignored=st.sampled_from((frozenset(), frozenset(), frozenset({"load"}))),
    leave_out=st.sampled_from((True, True, False)),
)

operation_policies = st.builds(
    OperationPolicy,
    running_when=st.sampled_from(
        (None, parse("load > 1"), parse("flow != 2 or load < 0"), parse('not (mode == "stop")'), parse("oil"))
    ),
    settle=st.sampled_from((0, 1_000, 2_500)),
)


def whole(sensors: Sequence[str], rows: Iterable[Sequence[float]], machine: str = "press-1") -> list[Reading]:
    """One reading of all sensors per second."""
    return [
        Reading(machine, START + i * SECOND, tuple(sensors), np.array(row, dtype=np.float64))
        for i, row in enumerate(rows)
    ]


@cache
def tflite(length: int = 3, width: int = 2) -> bytes:
    """`Projection` as a real `.tflite` file."""
    return linear_model(Projection(length, width).matrix, length, width)
