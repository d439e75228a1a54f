from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from detector.history import History
from registry.incidents import Incident, Incidents

START = 1_767_519_000_000


def incident(machine: str = "press", start: int = START, rows: int = 50, end: int | None = None) -> Incident:
    values = np.random.default_rng(start % 1000).normal(size=(rows, 2))
    values[3, 1] = np.nan
    history = History(machine, ("flow", "load"), start - 10_000 + 1000 * np.arange(rows), values)
    return Incident(start, end or start + 5000, "E42", "bearing", history)


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("incidents/*")
    return file


def test_an_incident_is_read_as_it_was_kept(tmp_path: Path) -> None:
    kept = incident("press/ünit 1")
    assert Incidents(tmp_path).keep(kept)
    (found,), problems = Incidents(tmp_path).all()
    assert problems == []
    assert (found.start, found.end, found.code, found.note) == (START, START + 5000, "E42", "bearing")
    assert (found.history.machine, found.history.sensors) == ("press/ünit 1", ("flow", "load"))
    np.testing.assert_array_equal(found.history.at, kept.history.at)
    np.testing.assert_array_equal(found.history.values, kept.history.values)
    assert found.name == "press/ünit 1 2026-01-04T09:30:00Z (E42)"


def test_an_incident_is_kept_once_and_anew_when_its_end_is_known(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    assert incidents.keep(incident())
    assert not incidents.keep(incident())
    assert incidents.keep(incident(end=START + 9000))
    (found,), _ = incidents.all()
    assert found.end == START + 9000


def test_an_incident_that_was_none_is_forgotten(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    incidents.keep(incident())
    assert incidents.forget("press", START)
    assert not incidents.forget("press", START)
    assert incidents.all() == ([], [])


def test_no_folder_is_no_incident(tmp_path: Path) -> None:
    assert Incidents(tmp_path).all() == ([], [])
    assert Incidents(tmp_path).bound(1) == []


def test_the_oldest_incidents_make_room(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    for number in (3, 1, 2):
        incidents.keep(incident(start=START + number * 3_600_000))
    sizes = [file.stat().st_size for file in tmp_path.glob("incidents/*")]
    assert incidents.bound(sum(sizes)) == []
    gone = incidents.bound(max(sizes))
    assert [name[-11:] for name in gone] == ["30:00Z (E42)"[-11:]] * 2
    (left,), _ = incidents.all()
    assert left.start == START + 3 * 3_600_000


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "changed", "pickled", "wrong shape"])
def test_a_damaged_file_is_refused_by_name_and_the_others_are_used(tmp_path: Path, damage: str) -> None:
    incidents = Incidents(tmp_path)
    incidents.keep(incident())
    file = only_file(tmp_path)
    content = file.read_bytes()
    at = START + 1000 * np.arange(3)
    broken: dict[str, bytes] = {
        "cut": content[: len(content) // 2],
        "text": b"no incident",
        "empty": b"",
        "changed": content[:200] + bytes(reversed(content[200:260])) + content[260:],
        "pickled": saved(head=np.array([{"machine": "press"}], object), at=at, values=np.zeros((3, 2))),
        "wrong shape": saved(
            head=np.frombuffer(b'{"machine":"press","start":1,"end":2,"sensors":["flow"]}', np.uint8),
            at=at,
            values=np.zeros((3, 2)),
        ),
    }
    file.write_bytes(broken[damage])
    incidents.keep(incident("lathe"))
    found, problems = incidents.all()
    assert [one.history.machine for one in found] == ["lathe"]
    (problem,) = problems
    assert problem.startswith(f"{file}: ")


def saved(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def test_a_damaged_file_is_written_anew_while_its_readings_are_there(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    incidents.keep(incident())
    only_file(tmp_path).write_bytes(b"damaged")
    assert incidents.keep(incident())
    assert len(incidents.all()[0]) == 1
