from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from detector.history import History
from registry.champions import Registry
from tests.trainer.examples import CREATED, pump, settings, with_values
from trainer.gate import Reason
from trainer.turn import Turn, take_turn


def turn(folder: Path, *histories: History, machine: str | None = None, minutes: int = 0) -> Turn:
    return take_turn(
        histories,
        settings=settings(),
        registry=Registry(folder),
        machine=machine,
        source=("pump.csv",),
        now=CREATED + timedelta(minutes=minutes),
    )


def test_a_challenger_whose_alerts_are_too_many_on_rows_it_learned_nothing_from_is_refused(
    tmp_path: Path,
) -> None:
    history = pump(1100)
    values = history.values.copy()
    values[1040:, 1] += 150  # what is normal changes in the last of the rows that are held back
    refused = turn(tmp_path, with_values(history, values))
    assert refused.decision.reason is Reason.ALERT_RATE
    assert refused.decision.text == (
        "57.14% of 105 held-back normal windows are above the threshold, "
        "more than retrain.gate.max_alert_rate 1.00%"
    )
    registry = Registry(tmp_path)
    assert registry.ids() == [refused.trained.manifest.id], "it can be looked at"
    assert registry.champions() == {}


def test_a_first_bundle_of_its_own_is_compared_with_the_shared_one_that_serves_the_machine(
    tmp_path: Path,
) -> None:
    shared = turn(tmp_path, pump(300))
    assert (shared.decision.reason, shared.champion) == (Reason.FIRST_MODEL, None)
    own = turn(tmp_path, pump(300), machine="pump-1", minutes=1)
    assert own.champion == shared.trained.manifest.id
    assert own.decision.reason is Reason.PASSED
    again = turn(tmp_path, pump(300), machine="pump-1", minutes=2)
    assert again.champion == own.trained.manifest.id


def test_a_short_history_s_decision_says_that_the_threshold_is_from_the_same_rows(tmp_path: Path) -> None:
    assert turn(tmp_path, pump(300)).decision.text == (
        "the first model, with 0.00% of 85 held-back normal windows (from which the threshold was "
        "learned, as the history is short) above the threshold"
    )
