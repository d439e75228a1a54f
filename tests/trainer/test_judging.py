"""Challengers that were really fitted are judged by rows that were really stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from config import Settings
from config.training import Gate, Retrain
from detector.history import History
from detector.labels import Label, LabelKind
from registry.champions import Challenger, Registry
from registry.incidents import Incidents
from registry.turns import Outcome, Record, Turns, Verdict
from tests.trainer.examples import CREATED, SECOND, START, pump, settings, with_values
from trainer.composition import Learned, Stored, compose
from trainer.gate import Reason
from trainer.stages import Stage
from trainer.turn import Turn, champion_of, take_turn
from trainer.waiting import settle

ROWS = 4000
INCIDENT = range(600, 660)  # rows in which the pressure was off


def wishes(**retrain: Any) -> Settings:  # noqa: ANN401 - options of any type
    wished = settings(model={"kind": "pca"}, report="brief")
    gate = retrain.pop("gate", Gate())
    return replace(wished, retrain=Retrain(min_readings=100, gate=gate, **retrain))


def label(kind: LabelKind, rows: range) -> Label:
    start, end = START + rows.start * SECOND, START + rows.stop * SECOND
    return Label("pump-1", kind, start, end, noted_at=end, code="E42")


@cache
def healthy(rows: int = ROWS) -> History:
    """A pump that had an incident once."""
    history = pump(rows)
    values = history.values.copy()
    values[INCIDENT, 1] += 8
    return with_values(history, values)


def wearing(history: History) -> History:
    """The same with a pressure that leaves its course in the last fifth, and nobody said so."""
    values, first = history.values.copy(), len(history) * 4 // 5
    wear = np.linspace(0, 40, len(history) - first)
    values[first:, 1] += wear * np.random.default_rng(0).random(len(wear))
    return with_values(history, values)


CONFIRMED = (label(LabelKind.CONFIRMED, INCIDENT),)


class Plant:
    """A state directory in which turns are taken on what one pump has sent."""

    def __init__(self, folder: Path, config: Settings) -> None:
        self.registry, self.config, self.minutes = Registry(folder), config, 0

    def learned(self, history: History, labels: tuple[Label, ...], alerted: Any = ()) -> Learned:  # noqa: ANN401
        champion = champion_of(self.registry, None)
        return compose([Stored(history, alerted, labels)], champion, self.config)

    def turn(
        self,
        history: History,
        labels: tuple[Label, ...] = CONFIRMED,
        progress: Callable[[Stage], None] = lambda _: None,
    ) -> Turn:
        self.minutes += 1
        learned = self.learned(history, labels)
        return take_turn(
            learned.histories,
            settings=self.config,
            registry=self.registry,
            machine=None,
            source=("store",),
            now=CREATED + timedelta(minutes=self.minutes),
            learned=learned,
            progress=progress,
        )

    def settle(
        self, history: History, labels: tuple[Label, ...] = (), *, hours: float, by_person: bool = False
    ) -> Record | None:
        return settle(
            None,
            self.learned(history, labels),
            champion_of(self.registry, None),
            settings=self.config,
            registry=self.registry,
            now=CREATED + timedelta(hours=hours),
            by_person=by_person,
        )


def verdicts(turn: Turn) -> dict[str, Verdict]:
    return {each.name: each.verdict for each in turn.record.criteria}


def test_a_challenger_fitted_on_a_developing_fault_is_refused_as_it_misses_an_incident_and_faults(
    tmp_path: Path,
) -> None:
    plant = Plant(tmp_path, wishes())
    first = plant.turn(healthy(2000))
    assert first.decision.reason is Reason.FIRST_MODEL
    blind = plant.turn(wearing(healthy()))
    assert not blind.decision.promote
    assert blind.decision.reason is Reason.INCIDENTS, blind.decision.text
    assert "missed: pump-1 2026-01-04T09:40:00Z (E42)" in blind.decision.text
    assert verdicts(blind)[Reason.FAULTS] is Verdict.WORSE
    assert plant.registry.champion_of(None) == first.trained.manifest.id


def test_an_incident_counts_when_the_store_has_forgotten_it(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    assert len(Incidents(tmp_path).all()[0]) == 1
    later = healthy().rows(slice(1500, None))
    assert plant.turn(wearing(later)).decision.reason is Reason.INCIDENTS


def test_a_label_that_was_taken_back_is_no_incident_any_more(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    turn = plant.turn(healthy(), labels=(label(LabelKind.EXCLUDED, INCIDENT),))
    assert Incidents(tmp_path).all() == ([], [])
    assert "pump-1 2026-01-04T09:40:00Z (E42) is confirmed no more" in turn.record.notes
    assert Reason.INCIDENTS not in verdicts(turn)


def test_a_damaged_incident_is_told_and_the_turn_goes_on(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    (file,) = Incidents(tmp_path).path.glob("*.npz")
    file.write_bytes(b"damaged")
    turn = plant.turn(healthy().rows(slice(1500, None)))
    assert any(note.startswith(f"{file}: is no incident that can be read") for note in turn.record.notes)


def test_a_challenger_that_is_no_better_leaves_the_champion_where_it_is(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    first = plant.turn(healthy())
    again = plant.turn(healthy())
    assert (again.decision.promote, again.decision.reason) == (False, Reason.NO_BETTER)
    assert again.champion == plant.registry.champion_of(None) == first.trained.manifest.id


def moved() -> History:
    """A pump whose set-point was changed for good: what the champion calls anomalous is the new normal."""
    history = healthy()
    values = history.values.copy()
    values[2000:, 0] += 8
    return with_values(history, values)


def test_a_challenger_that_knows_the_new_normal_replaces_a_champion_that_is_always_in_alarm(
    tmp_path: Path,
) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    turn = plant.turn(moved())
    assert turn.decision.promote, turn.decision.text
    assert verdicts(turn)[Reason.STREAM_ALERT_RATE] is Verdict.BETTER
    assert verdicts(turn)[Reason.INCIDENTS] is Verdict.AS_GOOD
    assert plant.registry.champion_of(None) == turn.trained.manifest.id


def test_where_people_promote_a_challenger_waits_until_they_do_and_a_newer_one_takes_its_place(
    tmp_path: Path,
) -> None:
    plant = Plant(tmp_path, wishes())
    first = plant.turn(healthy(2000))
    plant.config = wishes(promote="manual")
    waits = plant.turn(moved())
    bundle = waits.trained.manifest.id
    assert (waits.decision.promote, waits.decision.reason) == (False, Reason.MANUAL)
    assert f"anomalyd models promote {bundle}" in waits.decision.text
    assert waits.record.outcome is Outcome.WAITS
    assert plant.registry.champion_of(None) == first.trained.manifest.id
    newer = plant.turn(moved())
    assert f"it takes the place of {bundle}, which waited" in newer.record.notes
    assert plant.registry.waiting()[None].bundle == newer.trained.manifest.id
    plant.registry.promote(newer.trained.manifest.id)
    assert plant.registry.waiting() == {}


def test_where_people_promote_the_first_model_waits_as_well(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes(promote="manual"))
    first = plant.turn(healthy(2000))
    assert first.decision.reason is Reason.MANUAL
    assert plant.registry.champions() == {}
    assert plant.registry.waiting()[None].bundle == first.trained.manifest.id


def in_shadow(folder: Path) -> tuple[Plant, Turn]:
    """A plant whose challenger waits beside its champion for a day; the clock is at CREATED."""
    plant = Plant(folder, wishes())
    plant.turn(healthy(2000))
    plant.config = wishes(shadow=timedelta(hours=24))
    turn = plant.turn(moved())
    assert (turn.decision.promote, turn.decision.reason) == (False, Reason.SHADOW)
    return plant, turn


def since_then(rows: int = 3000) -> History:
    """What the pump sends while the challenger waits."""
    history = moved().rows(slice(2000, 2000 + rows))
    return History("pump-1", history.sensors, history.at + 24 * 3600 * SECOND, history.values)


def test_a_challenger_in_the_shadow_is_promoted_by_what_was_stored_meanwhile(tmp_path: Path) -> None:
    plant, turn = in_shadow(tmp_path)
    bundle = turn.trained.manifest.id
    early = plant.settle(since_then(), hours=20)
    assert early is not None
    assert (early.outcome, early.reason) == (Outcome.WAITS, "shadow")
    assert plant.registry.waiting()[None].bundle == bundle
    assert plant.settle(since_then(), hours=20, by_person=True) is None, "a person may want another one"
    late = plant.settle(since_then(), hours=25)
    assert late is not None
    assert (late.outcome, late.reason, late.bundle) == (Outcome.PROMOTED, "passed", bundle)
    assert plant.registry.champion_of(None) == bundle
    assert plant.registry.waiting() == {}
    turns = Turns(tmp_path)
    assert turns.of_bundle(bundle) == late
    assert turns.read(bundle).reason == "shadow", "both turns are kept"


def test_a_challenger_in_the_shadow_that_misses_what_the_champion_finds_there_is_dismissed(
    tmp_path: Path,
) -> None:
    plant, turn = in_shadow(tmp_path)
    before = plant.registry.champion_of(None)
    back = pump(3000, start=int(since_then().at[0]))  # the set-point as it was
    values = back.values.copy()
    values[1500:1560, 0] += 4  # to one who knows both set-points it is nothing
    start, end = int(back.at[1500]), int(back.at[1560])
    confirmed = Label("pump-1", LabelKind.CONFIRMED, start, end, noted_at=end)
    record = plant.settle(with_values(back, values), (confirmed,), hours=25)
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.REFUSED, "incidents"), record.text
    assert plant.registry.waiting() == {}
    assert plant.registry.champion_of(None) == before
    assert turn.trained.manifest.id in plant.registry.ids(), "its bundle can be looked at"


def test_a_challenger_in_the_shadow_of_a_machine_that_is_silent_waits_on(tmp_path: Path) -> None:
    plant, turn = in_shadow(tmp_path)
    record = plant.settle(moved().rows(slice(0, 500)), hours=25)
    assert record is not None
    assert record.reason == "shadow"
    assert "nothing that counts was stored" in record.text
    assert plant.registry.waiting()[None] == Challenger(
        turn.trained.manifest.id,
        round((CREATED + timedelta(minutes=2)).timestamp() * 1000),
        round((CREATED + timedelta(hours=24, minutes=2)).timestamp() * 1000),
    )


def test_every_turn_leaves_a_record_and_a_page_that_says_the_verdict_first(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    turn = plant.turn(moved())
    record = Turns(tmp_path).read(turn.trained.manifest.id)
    assert record == turn.record
    assert record.composition is not None
    page = Turns(tmp_path).page(record.id).read_text()
    places = [page.index(text) for text in ("In service", "Challenger and champion", "The newest stream")]
    assert places == sorted(places)
    assert page.count("<svg") == 1
    assert all(escape(criterion.what) in page for criterion in record.criteria)


def test_rows_of_the_stream_that_people_left_out_do_not_count(tmp_path: Path) -> None:
    plant = Plant(tmp_path, wishes())
    plant.turn(healthy(2000))
    history = healthy()
    values = history.values.copy()
    values[3000:3200, 1] += 20
    labels = (*CONFIRMED, label(LabelKind.MAINTENANCE, range(2990, 3260)))
    turn = plant.turn(with_values(history, values), labels)
    (rate,) = [each for each in turn.record.criteria if each.name == Reason.STREAM_ALERT_RATE]
    assert rate.champion is not None
    assert rate.champion < 0.01


@pytest.mark.parametrize("span", [None, timedelta(minutes=10)])
def test_as_much_of_the_stream_is_looked_at_as_is_wished_for(tmp_path: Path, span: timedelta | None) -> None:
    plant = Plant(tmp_path, wishes(gate=Gate(stream=span)))
    plant.turn(healthy(2000))
    turn = plant.turn(healthy())
    notes = [note for note in turn.record.notes if note.startswith("newest stream")]
    assert notes == ([] if span is None else ["newest stream: 601 rows of 1 machine; 10 min at most"])
    assert (Reason.STREAM_ALERT_RATE in verdicts(turn)) == (span is not None)
