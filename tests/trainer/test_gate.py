from __future__ import annotations

import msgspec
import numpy as np
import pytest

from config.training import Gate
from detector.history import History
from detector.manifest import ErrorSpec, ScalerSpec
from detector.scoring import Detector
from tests.detector.examples import Projection, manifest
from tests.trainer.examples import pump
from trainer.gate import Decision, GateFigures, Reason, decide, figures

GATE = Gate(max_alert_rate=0.01, max_error_ratio=1.5)
GOOD = GateFigures(windows=1000, alert_rate=0.01, errors={"flow": 4.0, "load": 1.0})


def gate_figures(flow: float, load: float, *, rate: float = 0.0, windows: int = 1000) -> GateFigures:
    return GateFigures(windows=windows, alert_rate=rate, errors={"flow": flow, "load": load})


@pytest.mark.parametrize(
    ("challenger", "champion", "promote", "reason"),
    [
        (gate_figures(1, 1, windows=0), None, False, Reason.NO_WINDOWS),
        (gate_figures(1, 1, rate=0.01), None, True, Reason.FIRST_MODEL),
        (gate_figures(1, 1, rate=0.0101), None, False, Reason.ALERT_RATE),
        (gate_figures(1, 1, rate=0.0101), gate_figures(1, 1, rate=0.9), False, Reason.ALERT_RATE),
        (gate_figures(4, 1), GOOD, True, Reason.PASSED),
        (gate_figures(8, 1.1), GOOD, True, Reason.PASSED),
        (gate_figures(8, 1.2), GOOD, False, Reason.ERROR_RATIO),
        (gate_figures(6.1, 1.5), GOOD, False, Reason.ERROR_RATIO),
        (gate_figures(0.1, 0.1, windows=0), GOOD, False, Reason.NO_WINDOWS),
    ],
)
def test_the_gate_decides_by_alert_rate_then_by_error(
    challenger: GateFigures, champion: GateFigures | None, *, promote: bool, reason: Reason
) -> None:
    decision = decide(challenger, champion, GATE)
    assert (decision.promote, decision.reason) == (promote, reason)


@pytest.mark.parametrize(
    ("challenger", "champion", "text"),
    [
        (
            gate_figures(1, 1, windows=0),
            None,
            "no window could be scored in the held-back rows",
        ),
        (
            gate_figures(1, 1, rate=0.25),
            GOOD,
            (
                "25.00% of 1000 held-back normal windows are above the threshold, "
                "more than retrain.gate.max_alert_rate 1.00%"
            ),
        ),
        (
            gate_figures(1, 1, rate=0.001),
            None,
            "the first model, with 0.10% of 1000 held-back normal windows above the threshold",
        ),
        (
            gate_figures(16, 4),
            GOOD,
            (
                "its error on held-back normal rows is 4.00 times the champion's, "
                "more than retrain.gate.max_error_ratio 1.5"
            ),
        ),
        (
            gate_figures(2, 0.5),
            GOOD,
            (
                "0.00% of 1000 held-back normal windows above the threshold (champion 1.00%), "
                "error 0.50 times the champion's"
            ),
        ),
        (
            gate_figures(2, 0.5),
            GateFigures(windows=9, alert_rate=0, errors={"pressure": 1.0}),
            (
                "0.00% of 1000 held-back normal windows above the threshold; "
                "errors were not compared, as the models share no sensor"
            ),
        ),
    ],
)
def test_the_decision_is_a_sentence(challenger: GateFigures, champion: GateFigures | None, text: str) -> None:
    decision = decide(challenger, champion, GATE)
    assert isinstance(decision, Decision)
    assert decision.text == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (
            0.25,
            (
                "25.00% of 60 held-back normal windows (from which the threshold was learned, "
                "as the history is short) are above the threshold, more than "
                "retrain.gate.max_alert_rate 1.00%"
            ),
        ),
        (
            0.0,
            (
                "the first model, with 0.00% of 60 held-back normal windows (from which the "
                "threshold was learned, as the history is short) above the threshold"
            ),
        ),
    ],
)
def test_the_decision_says_when_the_threshold_is_from_the_same_windows(rate: float, text: str) -> None:
    assert decide(gate_figures(1, 1, rate=rate, windows=60), None, GATE, apart=False).text == text


def detector(scaler: ScalerSpec, error: ErrorSpec) -> Detector:
    described = manifest(sensors=("flow", "pressure", "current"))
    length = described.window.length
    described = msgspec.structs.replace(
        described,
        scaler=scaler,
        error=error,
        imputer=msgspec.structs.replace(described.imputer, fallback=(0.0, 0.0, 0.0)),
    )
    return Detector(described, Zeros(length, 3))


class Zeros(Projection):
    """A model that always answers the middle of each sensor."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__(length, width)
        self.matrix[:] = 0


def test_errors_are_squares_in_the_sensors_own_units_whatever_the_model_scales_and_judges_by() -> None:
    history = pump(80)
    plain = ScalerSpec("standard", (3.0, 30.0, 0.5), (1.0, 1.0, 1.0))
    scaled = ScalerSpec("minmax", (3.0, 30.0, 0.5), (20.0, 0.5, 0.01))
    first = figures(detector(plain, ErrorSpec("mse")), [history])
    second = figures(detector(scaled, ErrorSpec("mae", smoothing=0.9)), [history])
    length = manifest().window.length
    windows = np.lib.stride_tricks.sliding_window_view(history.values, length, axis=0)
    off = np.square(windows - np.array([3.0, 30.0, 0.5])[None, :, None]).mean(axis=(0, 2))
    expected = dict(zip(history.sensors, off.tolist(), strict=True))
    assert first.errors == pytest.approx(expected, rel=1e-4)
    assert second.errors == pytest.approx(expected, rel=1e-4)


def test_a_sensor_that_stands_still_is_not_compared() -> None:
    history = pump(80)
    values = history.values.copy()
    values[:, 1] = 30.0
    still = History("pump-1", history.sensors, history.at, values)
    scaler = ScalerSpec("standard", (3.0, 30.0, 0.5), (1.0, 1.0, 1.0))
    assert set(figures(detector(scaler, ErrorSpec()), [still]).errors) == {"flow", "current"}


def test_rows_labelled_anomalous_are_no_part_of_the_figures() -> None:
    history = pump(160, label=True)
    assert history.label is not None
    history.label[80:] = 1
    history.values[80:] *= 100
    scaler = ScalerSpec("standard", (3.0, 30.0, 0.5), (1.0, 1.0, 1.0))
    judge = detector(scaler, ErrorSpec())
    assert figures(judge, [history]) == figures(judge, [history.rows(slice(0, 80))])


def test_the_alert_rate_is_the_share_of_windows_above_the_threshold() -> None:
    history = pump(80)
    scaler = ScalerSpec("standard", (3.0, 30.0, 0.5), (1.0, 1.0, 1.0))
    judge = detector(scaler, ErrorSpec())
    length = manifest().window.length
    windows = np.lib.stride_tricks.sliding_window_view(history.values, length, axis=0)
    errors = np.square(windows - np.array([3.0, 30.0, 0.5])[None, :, None]).mean(axis=(1, 2))
    middle = msgspec.structs.replace(judge.manifest.threshold, value=float(np.median(errors)) * 1.001)
    found = figures(
        Detector(msgspec.structs.replace(judge.manifest, threshold=middle), judge.model), [history]
    )
    assert found.windows == len(errors)
    assert found.alert_rate == pytest.approx(float((errors > middle.value).mean()), abs=1e-9)
    assert 0.3 < found.alert_rate < 0.7
