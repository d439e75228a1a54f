from __future__ import annotations

from pathlib import Path

import pytest

from detector.manifest import Asked
from registry.turns import Criterion, Outcome, Record, Turns, Unit, UnknownTurn, Verdict

CRITERION = Criterion(
    name="faults",
    what="synthetic faults found",
    unit=Unit.SHARE,
    challenger=0.5,
    champion=None,
    allowed=0.45,
    verdict=Verdict.AS_GOOD,
)


def record(name: str, bundle: str | None = None, reason: str = "passed") -> Record:
    return Record(
        id=name,
        at="2026-01-05T08:00:00.000Z",
        machine="press",
        outcome=Outcome.PROMOTED,
        reason=reason,
        text="better",
        bundle=bundle,
        criteria=(CRITERION,),
        asked=Asked("drift", "flow has moved"),
    )


def test_a_turn_is_read_as_it_was_written_and_its_page_lies_beside_it(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    turns.add(record("1"), "<html>", most=9)
    turns.add(record("2"), None, most=9)
    assert Turns(tmp_path).read("1") == record("1")
    assert [*turns.all()] == [record("1"), record("2")]
    assert turns.page("1").read_text() == "<html>"
    assert not turns.page("2").exists()


def test_the_oldest_turns_make_room_with_their_pages(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    for number in range(5):
        turns.add(record(f"{number}"), "page", most=3)
    assert turns.ids() == ["2", "3", "4"]
    assert sorted(path.name for path in turns.path.glob("*.html")) == ["2.html", "3.html", "4.html"]


def test_a_damaged_record_is_told_by_name_and_the_others_are_read(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    for name in ("1", "2"):
        turns.add(record(name), None, most=9)
    (turns.path / "1.json").write_text('{"id": 1')
    first, second = turns.all()
    assert isinstance(first, UnknownTurn)
    assert str(first).startswith(f"turn 1: {turns.path}/1.json cannot be read: ")
    assert second == record("2")


@pytest.mark.parametrize("name", ["3", "../champions", "", ".1", "1.json"])
def test_a_turn_that_is_not_listed_is_not_read(tmp_path: Path, name: str) -> None:
    Turns(tmp_path).add(record("1"), None, most=9)
    (tmp_path / "champions.json").write_text("{}")
    with pytest.raises(UnknownTurn, match="there is none in"):
        Turns(tmp_path).read(name)


def test_what_a_killed_process_leaves_is_no_turn(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    turns.add(record("1"), "page", most=9)
    (turns.path / ".2.json.partial").write_text('{"id"')
    (turns.path / "3.html").write_text("a page without a record")
    assert turns.ids() == ["1"]


def test_a_bundle_that_was_judged_twice_names_the_newer_turn(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    turns.add(record("1", "a", "shadow"), None, most=9)
    turns.add(record("2", "a", "passed"), None, most=9)
    turns.add(record("3", "b"), None, most=9)
    found = turns.of_bundle("a")
    assert found is not None
    assert found.id == "2"
    assert turns.of_bundle("c") is None


def test_without_a_folder_there_is_no_turn(tmp_path: Path) -> None:
    assert Turns(tmp_path).ids() == []
    assert [*Turns(tmp_path).all()] == []
