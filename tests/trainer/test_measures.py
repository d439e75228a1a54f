from __future__ import annotations

import msgspec
import numpy as np
import pytest

from detector.alerts import AlertPolicy
from detector.history import History
from detector.scoring import Detector
from tests.detector.examples import SECOND, START, detector
from trainer.measures import LEVEL, courses, levelled

NORMAL = History(
    "press-1",
    ("flow", "load"),
    START + SECOND * np.arange(600),
    np.random.default_rng(3).normal(size=(600, 2)),
    None,
)


def with_threshold(factor: float) -> Detector:
    made = detector()
    threshold = msgspec.structs.replace(made.manifest.threshold, value=made.manifest.threshold.value * factor)
    return Detector(msgspec.structs.replace(made.manifest, threshold=threshold), made.model)


def test_detectors_that_differ_by_their_threshold_alone_are_the_same_once_levelled() -> None:
    one, other = (levelled(with_threshold(factor), [NORMAL], AlertPolicy()) for factor in (0.3, 5.0))
    assert one.manifest.threshold.value == pytest.approx(other.manifest.threshold.value, rel=1e-4)
    score = courses(one, [NORMAL], AlertPolicy())["press-1"].score
    assert (score > 1).mean() == pytest.approx(LEVEL, abs=2 / len(score))


@pytest.mark.parametrize("rows", [0, 2, 90])
def test_by_a_few_windows_nothing_is_levelled(rows: int) -> None:
    made = with_threshold(2.0)
    assert levelled(made, [NORMAL.rows(slice(rows))], AlertPolicy()) is made
