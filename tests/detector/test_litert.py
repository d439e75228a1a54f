from __future__ import annotations

import numpy as np
import pytest

from detector.litert import LiteRTModel, UnusableModel
from detector.manifest import WindowSpec
from tests.detector.examples import Projection, assert_same, detector, manifest, pipeline, tflite, whole
from tests.detector.tiny_model import linear_model


@pytest.mark.parametrize("packed", [True, False])
def test_a_tflite_file_reconstructs_as_the_model_it_was_made_from_whatever_the_batch(*, packed: bool) -> None:
    model = LiteRTModel(tflite(), length=3, width=2, packed=packed)
    windows = np.random.default_rng(1).normal(size=(70, 3, 2)).astype(np.float32)
    expected = Projection(3, 2).reconstruct(windows)
    for count in (1, 70, 2, 2, 64, 1):
        np.testing.assert_allclose(model.reconstruct(windows[:count]), expected[:count], atol=1e-5)


def test_a_result_stays_what_it_was_when_the_next_batch_comes() -> None:
    model = LiteRTModel(tflite(), length=3, width=2)
    first = model.reconstruct(np.ones((1, 3, 2), dtype=np.float32))
    kept = first.copy()
    model.reconstruct(np.zeros((1, 3, 2), dtype=np.float32))
    np.testing.assert_array_equal(first, kept)


def test_a_real_model_leads_to_the_same_events_as_its_definition() -> None:
    stream = whole(("flow", "load"), [[i % 5, -(i % 3)] for i in range(100)])
    real = pipeline(detector(manifest(), LiteRTModel(tflite(), length=3, width=2)))
    assert_same(real.on_readings(stream), pipeline(detector()).on_readings(stream))


@pytest.mark.parametrize(
    ("length", "width", "message"),
    [
        (2, 2, r"^model: must take windows of shape \(2, 2\), got \(3, 2\)$"),
        (3, 1, r"^model: must take windows of shape \(3, 1\), got \(3, 2\)$"),
    ],
)
def test_a_model_of_another_shape_is_refused(length: int, width: int, message: str) -> None:
    with pytest.raises(UnusableModel, match=message):
        LiteRTModel(tflite(), length=length, width=width)


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_a_model_that_returns_no_numbers_is_refused(weight: float) -> None:
    matrix = np.full((6, 6), weight, dtype=np.float32)
    with pytest.raises(UnusableModel, match=r"^model: must return finite windows of the shape it takes$"):
        LiteRTModel(linear_model(matrix, 3, 2), length=3, width=2)


@pytest.mark.parametrize("keep", [0, 3, 100, -1_000])
def test_a_truncated_model_is_refused(keep: int) -> None:
    with pytest.raises(UnusableModel, match=r"^model: LiteRT cannot load it: "):
        LiteRTModel(tflite()[:keep], length=3, width=2)


def test_what_is_no_model_at_all_is_refused() -> None:
    with pytest.raises(UnusableModel, match=r"^model: LiteRT cannot load it: "):
        LiteRTModel(b"not a model" * 500, length=3, width=2)


def test_windows_of_one_sample_and_one_sensor_are_windows() -> None:
    made = manifest(sensors=("flow",), window=WindowSpec(length=1))
    assert len(pipeline(detector(made)).on_readings(whole(("flow",), [[1.0]]))) == 2
