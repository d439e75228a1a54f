"""Sensors of every kind, filled and scaled in every way, from training to alerts."""

from __future__ import annotations

from typing import get_args

import msgspec
import numpy as np
import pytest

from config.checking import check
from config.settings import Settings
from detector.alerts import AlertPolicy
from detector.events import AlertChanged, Event, Scored, ValueIgnored
from detector.history import History
from detector.kinds import ImputationMethod, ScalingMethod
from detector.manifest import decode, encode
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.scoring import Detector
from detector.stream import StreamPolicy
from tests import mill
from tests.trainer.examples import trained as train
from tests.trainer.examples import with_values
from trainer.finishing import Trained
from trainer.measures import unit_errors

IMPUTATIONS = get_args(ImputationMethod)
SCALINGS = get_args(ScalingMethod)
HOW = [(method, SCALINGS[i % len(SCALINGS)]) for i, method in enumerate(IMPUTATIONS)]
FAULT = range(65, 75)


def trained(imputation: str, scaling: str) -> Trained:
    wishes = {**mill.TRAINER, "imputation": imputation, "scaling": scaling}
    found, faults = check(Settings, {"trainer": wishes, "readings": {"channels": mill.DECLARED}})
    assert found is not None, faults
    return train(mill.history(400), machine="mill", wishes=found)


def events(detector: Detector, history: History) -> list[Event]:
    pipeline = Pipeline(Champions(shared=detector), stream=StreamPolicy(), alerts=AlertPolicy())
    return list(replay([history], pipeline))


@pytest.mark.parametrize(("imputation", "scaling"), HOW)
def test_a_mill_is_learned_and_watched(imputation: str, scaling: str) -> None:
    made = trained(imputation, scaling)
    manifest = decode(encode(made.manifest))
    assert manifest == made.manifest
    assert manifest.channels["mode"].categories == ("run", "stop")
    assert manifest.width == 1 + 2 + 1 + 2 + 1
    detector = Detector(manifest, made.detector.model)

    calm = events(detector, mill.history(120))
    assert not [event for event in calm if isinstance(event, AlertChanged | ValueIgnored)]
    scored = [event for event in calm if isinstance(event, Scored)]
    assert [event.coverage for event in scored] == [29 / 30, *[1.0] * 114], "a counter's first increase"

    alerts = [e for e in events(detector, mill.history(120, fault=FAULT)) if isinstance(e, AlertChanged)]
    assert [alert.change for alert in alerts[:1]] == ["opened"]
    assert START_OF_FAULT <= alerts[0].at < START_OF_FAULT + 10_000
    blamed = {one.sensor: one for one in alerts[0].sensors}
    assert blamed["mode"].value == "stop"
    assert blamed["mode"].contribution > 0.01
    assert blamed["mode"].expected in {"run", "stop"}
    assert blamed["open"].value == 0
    assert blamed["open"].expected in {0, 1}
    assert blamed["energy"].value == pytest.approx(2, abs=0.2), "the increase"
    assert blamed["energy"].expected == pytest.approx(1, abs=1.5)

    holed = mill.history(120)
    values = holed.values.copy()
    values[np.random.default_rng(2).random(values.shape) < 0.1] = np.nan
    scores = [e.score for e in events(detector, with_values(holed, values)) if isinstance(e, Scored)]
    assert max(scores) < 1

    new = events(detector, mill.history(120, new=range(50, 53)))
    assert [e.at - mill.START for e in new if isinstance(e, ValueIgnored)] == [50_000, 51_000, 52_000]
    assert {e.imputed for e in new if isinstance(e, Scored)} == {(), ("mode",), ("energy",)}
    assert not [event for event in new if isinstance(event, AlertChanged)]


START_OF_FAULT = mill.START + 1000 * FAULT.start


def test_the_gate_compares_sensors_of_every_kind() -> None:
    made = trained("last", "quantile")
    found = unit_errors(made.detector, [mill.history(120)])
    assert set(found) == set(mill.SENSORS)
    assert all(np.isfinite(error) and error > 0 for error in found.values())


def test_a_bundle_from_before_there_were_channels_is_one_of_plain_numbers() -> None:
    manifest = trained("last", "standard").manifest
    plain = msgspec.to_builtins(manifest)
    for name in ("channels",):
        del plain[name]
    for part, name in (("imputer", "references"), ("imputer", "regressions"), ("scaler", "curves")):
        del plain[part][name]
    for part, name in (("imputer", "fallback"), ("scaler", "offset"), ("scaler", "scale")):
        plain[part][name] = plain[part][name][:5]
    assert msgspec.convert(plain, type(manifest)).width == 5
