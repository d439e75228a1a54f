from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.manifest import Asked
from registry.champions import Registry
from registry.turns import Criterion, Outcome, Record, Turns, Unit, Verdict
from tests import plant
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
FIRST, SECOND = "2025-01-01T09-00-00Z-0001", "2025-01-01T09-00-00Z-0002"


@pytest.fixture
def state(config: Path, tmp_path: Path) -> Path:
    """A champion, and a challenger that waits, with the turn that judged it and one that made no bundle."""
    state = tmp_path / "state"
    plant.promote(state, FIRST)
    registry = Registry(state)
    registry.add(plant.manifest(SECOND, None, 1.0), {"model.tflite": plant.model()})
    registry.wait(SECOND, since=1_735_725_600_000, until=None)
    turns = Turns(state)
    criterion = Criterion(
        name="faults",
        what="synthetic faults found",
        unit=Unit.SHARE,
        challenger=0.75,
        champion=0.5,
        allowed=0.45,
        verdict=Verdict.BETTER,
        note="36 faults",
    )
    record = Record(
        id=SECOND,
        at="2025-01-01T09:00:00.000Z",
        machine=None,
        outcome=Outcome.WAITS,
        reason="manual",
        text="it waits for a person",
        bundle=SECOND,
        champion=FIRST,
        criteria=(criterion,),
        notes=("newest stream: 700 rows",),
    )
    turns.add(record, "<html>", most=9)
    none = Record(
        id="2025-01-02T09-00-00Z-0003",
        at="2025-01-02T09:00:00.000Z",
        machine="press",
        outcome=Outcome.NONE,
        reason="too_few_readings",
        text="no machine has 1000 readings",
        asked=Asked("drift", "flow has moved"),
    )
    turns.add(none, None, most=9)
    return state


def test_turns_are_listed_with_who_asked_and_what_became_of_them(anomalyd: Run, state: Path) -> None:
    rows = [line.split() for line in anomalyd("models", "turns").out.splitlines()]
    assert rows[-2:] == [
        [SECOND, "all", "train", "waits", "manual"],
        ["2025-01-02T09-00-00Z-0003", "press", "drift", "none", "too_few_readings"],
    ]
    first, second = json.loads(anomalyd("models", "turns", "--json").out)
    assert (first["bundle"], first["criteria"][0]["challenger"]) == (SECOND, 0.75)
    assert second["asked"] == {"by": "drift", "reason": "flow has moved"}


def test_a_turn_is_shown_with_its_criteria_and_where_its_page_lies(anomalyd: Run, state: Path) -> None:
    shown = anomalyd("models", "turns", SECOND).out
    assert "decision    waits, manual: it waits for a person" in shown
    assert f"report      {state}/turns/{SECOND}.html" in shown
    assert "newest stream: 700 rows" in shown
    (line,) = [line for line in shown.splitlines() if "synthetic faults" in line]
    assert line.split()[-4:] == ["75.00%", "50.00%", "45.00%", "better"]
    assert json.loads(anomalyd("models", "turns", SECOND, "--json").out)["id"] == SECOND


def test_an_unknown_turn_is_refused_by_name(anomalyd: Run, state: Path) -> None:
    ended = anomalyd("models", "turns", "2026")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"anomalyd: turn 2026: there is none in {state}/turns\n"


def test_a_damaged_record_is_told_beside_the_others(anomalyd: Run, state: Path) -> None:
    (state / "turns" / f"{SECOND}.json").write_text("{")
    ended = anomalyd("models", "turns", "--json")
    assert len(json.loads(ended.out)) == 1
    assert ended.err.startswith(f"unreadable: turn {SECOND}: ")


def test_a_bundle_is_shown_with_the_turn_that_judged_it(anomalyd: Run, state: Path) -> None:
    ended = anomalyd("models", "show", SECOND)
    assert json.loads(ended.out)["id"] == SECOND
    assert ended.err == f"turn {SECOND}: waits, manual: it waits for a person\n"
    assert anomalyd("models", "show", FIRST).err == "", "no turn is known"


def test_the_challenger_that_waits_is_listed_and_promoted_without_its_name(
    anomalyd: Run, state: Path
) -> None:
    roles = {row["id"]: row["role"] for row in json.loads(anomalyd("models", "list", "--json").out)}
    assert roles == {FIRST: "champion", SECOND: "challenger, waiting"}
    none = anomalyd("models", "promote", "--machine", "press")
    assert (none.code, none.err) == (1, "anomalyd: models promote: no challenger waits for machine press\n")
    assert anomalyd("models", "promote").out.startswith(f"{SECOND} now serves all machines")
    assert Registry(state).champion_of(None) == SECOND
    again = anomalyd("models", "promote")
    assert again.code == 1
    assert "no challenger waits for the shared line" in again.err
    assert anomalyd("models", "promote", FIRST, "--machine", "press").code == 64
