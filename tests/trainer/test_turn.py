from __future__ import annotations

import errno
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from config import Settings
from config.training import Bundles
from detector.history import History
from registry.champions import Registry
from tests.trainer.examples import CREATED, ID, pump, settings, trained, with_values
from trainer.finishing import Trained
from trainer.fleet import groups
from trainer.gate import Reason
from trainer.jobs import Job, prepare
from trainer.problems import Unusable
from trainer.training import train_each
from trainer.turn import Turn, take_turn, take_turns


def turn(
    folder: Path,
    *histories: History,
    machine: str | None = None,
    minutes: int = 0,
    config: Settings | None = None,
) -> Turn:
    return take_turn(
        histories,
        settings=config or settings(),
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
        "held-back normal windows above the threshold: 57.14%; must be at most 1.00% "
        "(retrain.gate.max_alert_rate, alert_rate_margin)"
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


def fleet() -> list[History]:
    """Machines with different histories: long and short ones, with holes, one that stands still."""
    machines = [pump(300 + 40 * i, seed=i, machine=f"pump-{i}") for i in range(5)]
    values = machines[1].values.copy()
    values[20:30, 0] = np.nan
    machines[1] = with_values(machines[1], values)
    return [*machines, with_values(pump(300, machine="still"), np.ones((300, 3)))]


def test_a_machine_of_a_fleet_gets_the_bundle_that_it_would_get_alone() -> None:
    wishes = settings(model={"epochs": 5, "batch_size": 32})
    jobs = [Job((history,), history.machine, ("pump.csv",), ID) for history in fleet()]
    made = {job.machine: one for job, one in train_each(jobs, settings=wishes, created_at=CREATED)}
    assert len(made) == 6
    assert isinstance(made.pop("still"), Unusable)
    for history in fleet()[:5]:
        one, own = made[history.machine], trained(history, machine=history.machine, wishes=wishes)
        assert isinstance(one, Trained)
        assert one.manifest.model == own.manifest.model
        assert one.manifest.scaler == own.manifest.scaler
        assert one.manifest.history == own.manifest.history
        assert one.manifest.threshold.value == pytest.approx(own.manifest.threshold.value, rel=0.01)
        for figure in ("loss", "validation_loss", "held_back_error_median"):
            assert one.manifest.metrics[figure] == pytest.approx(own.manifest.metrics[figure], rel=0.01)


def test_the_same_fleet_and_seed_give_the_same_files() -> None:
    jobs = [Job((history,), history.machine, ("pump.csv",), ID) for history in fleet()]
    first, second = (dict(train_each(jobs, settings=settings(), created_at=CREATED)) for _ in range(2))
    for job in jobs[:5]:
        one, two = first[job], second[job]
        assert isinstance(one, Trained)
        assert isinstance(two, Trained)
        assert one.files["model.tflite"] == two.files["model.tflite"]


def test_groups_hold_what_is_alike_and_no_more_than_memory_allows() -> None:
    wishes = settings(model={"batch_size": 32})
    two = pump(300, machine="two").select(("flow", "pressure"))
    histories = [*fleet()[:5], two, pump(1200, machine="long")]
    prepared = [prepare(Job((one,), one.machine, (), ID), wishes) for one in histories]
    whole = [{one.job.machine for one in group} for group in groups(prepared, wishes.trainer.model)]
    assert {"two"} in whole, "other sensors"
    assert {"long"} in whole, "it would keep the others waiting"
    assert set.union(*whole) == {one.machine for one in histories}
    alone = list(groups(prepared, wishes.trainer.model, most_cells=1))
    assert [len(group) for group in alone] == [1] * 7


def test_only_dense_models_are_fitted_in_groups() -> None:
    wishes = settings(model={"kind": "gru"})
    prepared = [prepare(Job((one,), one.machine, (), ID), wishes) for one in fleet()[:3]]
    assert [len(group) for group in groups(prepared, wishes.trainer.model)] == [1, 1, 1]


def test_what_is_drawn_for_each_element_of_a_code_wants_codes_of_one_size() -> None:
    wishes = settings(model={"dropout": 0.1, "code": None})
    others = [with_values(one, np.random.default_rng(0).normal(size=one.values.shape)) for one in fleet()[:2]]
    prepared = [prepare(Job((one,), one.machine, (), ID), wishes) for one in [*fleet()[:2], *others]]
    codes = [
        {one.start.architecture.code for one in group} for group in groups(prepared, wishes.trainer.model)
    ]
    assert [len(sizes) for sizes in codes] == [1] * len(codes)
    assert len(set.union(*codes)) > 1


def test_each_machine_of_a_fleet_passes_the_gate_for_itself(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    odd = pump(1100, machine="odd")
    values = odd.values.copy()
    values[1040:, 1] += 150
    histories = [(history, (f"{history.machine}.csv",)) for history in [*fleet(), with_values(odd, values)]]
    turns = dict(take_turns(histories, settings=settings(), registry=registry, now=CREATED))
    assert isinstance(turns["still"], Unusable)
    refused = turns["odd"]
    assert isinstance(refused, Turn)
    assert refused.decision.reason is Reason.ALERT_RATE
    assert sorted(str(machine) for machine in registry.champions()) == [f"pump-{i}" for i in range(5)]
    assert len(registry.ids()) == 6
    first = turns["pump-0"]
    assert isinstance(first, Turn)
    assert first.trained.manifest.history.source == ("pump-0.csv",)


def test_a_fleet_that_is_stopped_leaves_whole_bundles_in_service(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    histories = [(history, ("",)) for history in fleet()[:4]]
    turns = take_turns(histories, settings=settings(), registry=registry, now=CREATED)
    machine, _ = next(turns)
    del turns  # which ends it where it is, as Ctrl-C does
    assert list(registry.champions()) == [machine]
    for bundle in registry.ids():
        registry.read(bundle)


def test_a_pinned_champion_is_not_replaced_whatever_the_gate_says(tmp_path: Path) -> None:
    first = turn(tmp_path, pump(300))
    registry = Registry(tmp_path)
    registry.pin(None, pinned=True)
    second = turn(tmp_path, pump(300), minutes=1)
    assert second.decision.reason is Reason.PINNED
    assert second.decision.text.startswith(
        "the champion is pinned (anomalyd models unpin); else it would serve:"
    )
    assert registry.champion_of(None) == first.trained.manifest.id
    registry.pin(None, pinned=False)
    assert turn(tmp_path, pump(300), minutes=2).decision.promote


def test_a_turn_makes_room_for_its_bundle(tmp_path: Path) -> None:
    small = replace(settings(), bundles=Bundles(max_size=1))
    made = [turn(tmp_path, pump(300), minutes=n, config=small) for n in range(4)]
    ids = [each.trained.manifest.id for each in made]
    assert [each.pruned for each in made] == [(), (), (ids[0],), (ids[1],)]
    assert Registry(tmp_path).ids() == ids[2:]


def test_old_bundles_that_cannot_be_deleted_do_not_keep_the_new_one_from_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(settings(), bundles=Bundles(max_size=1))
    for minutes in range(2):
        turn(tmp_path, pump(300), minutes=minutes, config=small)

    def refuse(_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr("registry.champions.remove", refuse)
    made = turn(tmp_path, pump(300), minutes=2, config=small)
    assert (made.pruned, made.prune_failed) == ((), "[Errno 30] Read-only file system: 'x'")
    assert Registry(tmp_path).champion_of(None) == made.trained.manifest.id


def test_a_pin_of_the_shared_champion_lets_a_machine_get_one_of_its_own(tmp_path: Path) -> None:
    shared = turn(tmp_path, pump(300))
    registry = Registry(tmp_path)
    registry.pin(None, pinned=True)
    own = turn(tmp_path, pump(300), machine="pump-1", minutes=1)
    assert own.decision.promote
    assert registry.champion_of("pump-1") == own.trained.manifest.id
    assert registry.champion_of(None) == shared.trained.manifest.id
