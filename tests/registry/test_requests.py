from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.requests import MOST, MOST_BYTES, MOST_CHARACTERS, By, Request, RequestFile, added, decoded


def lines(*requests: object) -> str:
    return "".join(json.dumps(request) + "\n" for request in requests)


def test_an_empty_file_asks_for_every_line(tmp_path: Path) -> None:
    file = RequestFile(tmp_path)
    file.path.touch()
    os.utime(file.path, (12, 12))
    assert file.take() == ([Request(By.FILE, "the request file", 12_000)], [])
    assert not file.exists()


def test_a_file_may_say_who_asks_for_what_and_the_most_urgent_comes_first(tmp_path: Path) -> None:
    file = RequestFile(tmp_path)
    text = lines(
        {"by": "drift", "reason": "warm", "machines": ["press"], "at": 2}, {"reason": "tool", "at": 3}
    )
    file.path.write_text(text)
    assert file.take() == (
        [Request(By.FILE, "tool", 3), Request(By.DRIFT, "warm", 2, ("press",))],
        [],
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("now!", "line 1 must be a request in JSON, got 'now!': JSON is malformed"),
        ("[]", "Expected `object`, got `array`"),
        ('{"by": "the boss"}', "Invalid enum value 'the boss'"),
        ('{"machine": "press"}', "unknown field `machine`"),
        ('{"machines": []}', "machines: must name one, or be left out for all"),
        ('{"own": true}', "own: must come with the names of machines"),
        ("[" * 100_000, "Expected `object`"),
        ('{"at": 1e400}', "line 1 must be"),
        ("\xff", "line 1 must be"),
        ("x" * (MOST_BYTES + 1), f"must be at most {MOST_BYTES} bytes, got more"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_the_good_ones_count(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = RequestFile(tmp_path)
    file.path.write_bytes(text.encode("latin-1"))
    requests, (said,) = file.take()
    assert requests == []
    assert said.startswith("retrain.request: ")
    assert problem.lower() in said.lower()
    assert len(said) < 400
    file.done()
    if len(text) < MOST_BYTES:
        file.path.write_bytes(text.encode("latin-1") + b'\n{"reason": "tool"}\n')
        found, problems = file.take()
        assert ([one.reason for one in found], len(problems)) == (["tool"], 1)


def test_what_is_written_joins_what_is_there(tmp_path: Path) -> None:
    file = RequestFile(tmp_path)
    file.path.write_text('{"reason": "by hand"}\n')
    file.write([Request(By.AGE, "old", 5, ("press",))])
    file.write([Request(By.AGE, "old", 6, ("pump",)), Request(By.DRIFT, "warm", 7)])
    found, problems = file.take()
    assert problems == []
    assert [(one.by, one.machines) for one in found] == [
        (By.FILE, None),
        (By.DRIFT, None),
        (By.AGE, ("press", "pump")),
    ]


def test_what_a_killed_retraining_had_taken_is_taken_again(tmp_path: Path) -> None:
    file = RequestFile(tmp_path)
    file.write([Request(By.AGE, "old", 5)])
    file.take()
    file.write([Request(By.DRIFT, "warm", 6)])
    (tmp_path / "retrain.taken").write_text('{"reason": "moved aside by systemd"}\n')
    again = RequestFile(tmp_path)
    found, _ = again.take()
    assert [one.reason for one in found] == ["moved aside by systemd", "warm", "old"]
    again.done()
    assert again.take() == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_a_flood_of_requests_is_bounded() -> None:
    content = lines(*({"reason": str(n)} for n in range(MOST + 5))).encode()
    requests, (problem,) = decoded(content, 0)
    assert len(requests) == MOST
    assert f"one of {MOST} requests at most" in problem


def test_requests_of_one_asker_for_one_reason_merge() -> None:
    kept = added((), Request(By.DRIFT, "warm", 1, ("press",)))
    assert kept is not None
    kept = added(kept, Request(By.DRIFT, "warm", 2, ("pump", "press")))
    assert kept == (Request(By.DRIFT, "warm", 1, ("press", "pump")),)
    assert added(kept, Request(By.DRIFT, "warm", 2)) == (Request(By.DRIFT, "warm", 1),)
    other = added(kept, Request(By.DRIFT, "cold", 2, ("press",)))
    assert other is not None
    assert len(other) == 2


def test_a_long_reason_is_cut() -> None:
    assert Request(reason="a" * 10_000).reason == "a" * (MOST_CHARACTERS - 1) + "…"


def test_a_reason_is_a_line_that_a_command_can_hold() -> None:
    assert Request(reason="a\0b\nc").reason == "a b c"
    with pytest.raises(ValueError, match="machines: must be names of machines"):
        Request(machines=("a\0b",), own=True)


def test_a_fleet_that_drifts_leaves_room_for_people() -> None:
    kept: tuple[Request, ...] = ()
    for number in range(2 * MOST):
        kept = added(kept, Request(By.DRIFT, f"pressure by {number}", 1, (f"press-{number}",))) or kept
    assert added(kept, Request(By.LEARNING, "enough", 1)) is None
    kept = added(kept, Request(By.COMMAND, "new tool", 1)) or kept
    assert kept[-1].by is By.COMMAND
