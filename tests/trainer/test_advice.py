from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from config.training import Model
from config.training import Threshold as Settings
from detector.alerts import AlertPolicy
from detector.manifest import Manifest
from tests.trainer.examples import trained_pump
from trainer.advice import advice
from trainer.fitting import Epoch
from trainer.labelled import Labelled, with_labels
from trainer.thresholds import HeldBack, threshold

LEARNED = (Epoch(0, 2, 1.0, 1.0), Epoch(1, 2, 0.9, 0.9), Epoch(2, 2, 0.8, 0.95))
DENSE = Model(kind="dense")


def calibrated(days: float, wish: Settings = Settings()) -> Manifest:  # noqa: B008 - it is frozen
    """A bundle whose threshold was learned from so many days of errors without an alert."""
    held_back = HeldBack([np.linspace(1.0, 2.0, 200)], days, AlertPolicy())
    return replace(trained_pump().manifest, threshold=threshold(held_back, wish))


def test_a_short_calibration_says_how_much_history_would_show_more() -> None:
    made = calibrated(1.0)
    made = replace(made, history=replace(made.history, rows=3 * 86_400))
    (text,) = advice(made, LEARNED, DENSE)
    assert text == (
        "1 day of held-back time cannot show how rare alerts are: 9.99 days without any would, which takes "
        "30 days of history. Train again when there is more, or take a higher threshold: trainer.threshold: "
        "{method: mean_std, k: 10} is expected to open 0.00017 false alerts a day"
    )
    assert advice(calibrated(30.0), LEARNED, DENSE) == ()


def test_a_method_that_labels_call_far_better_is_named_with_what_it_costs() -> None:
    made = calibrated(30.0, Settings(method="mean_std", k=10.0))
    errors = np.r_[np.full(90, 1.0), np.full(10, 3.0)]  # above all but ten standard deviations
    marked = with_labels(made.threshold, Labelled(errors, errors > 1.5))
    (text,) = advice(replace(made, threshold=marked), LEARNED, DENSE)
    assert text.startswith("on the labelled rows trainer.threshold: {method: ")
    assert "would have an F1 of 1.00 instead of 0.00; it is expected to open" in text
    same = with_labels(made.threshold, Labelled(np.array([1.0, 99.0]), np.array([False, True])))
    assert advice(replace(made, threshold=same), LEARNED, DENSE) == ()


@pytest.mark.parametrize(
    ("epochs", "model", "told"),
    [
        ((Epoch(0, 2, 1.0, 1.0), Epoch(1, 2, 1.1, 1.1)), Model(kind="dense", learning_rate=0.5), True),
        (LEARNED, DENSE, False),
        ((Epoch(0, 0, 1.0, 1.0),), Model(kind="pca"), False),
    ],
)
def test_epochs_that_never_improved_on_the_start_are_told(
    epochs: tuple[Epoch, ...], model: Model, *, told: bool
) -> None:
    found = advice(calibrated(30.0), epochs, model)
    assert any("a smaller trainer.model.learning_rate (now 0.5)" in text for text in found) == told
