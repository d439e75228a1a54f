"""What the daemon needs on disk, and the bundles that stand for machines' own ones."""

from __future__ import annotations

import numpy as np

from bench.footprint import varied
from bench.usage import installed
from detector.litert import LiteRTModel
from tests.detector.tiny_model import linear_model


def test_the_daemon_installs_in_less_than_250_megabytes_and_without_the_trainer() -> None:
    packages = installed("anomalyd")
    assert {"numpy", "ai-edge-litert", "paho-mqtt", "msgspec"} <= packages.keys()
    assert not {"keras", "pandas", "pyarrow", "scikit-learn", "tensorflow"} & packages.keys()
    assert 50 < sum(packages.values()) < 250


def test_varied_models_differ_from_each_other_but_not_in_what_they_do() -> None:
    model = linear_model(np.eye(80, dtype=np.float32) + 1, 10, 8)
    models = [varied(model, number) for number in range(1, 1001)]
    assert len({model, *models}) == 1001
    windows = np.ones((1, 10, 8), dtype=np.float32)
    expected = LiteRTModel(model, length=10, width=8).reconstruct(windows)
    for content in models[::100]:
        found = LiteRTModel(content, length=10, width=8).reconstruct(windows)
        np.testing.assert_allclose(found, expected, atol=1e-4)
