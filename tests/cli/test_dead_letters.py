from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from daemon.bounds import KEPT_PAYLOAD
from daemon.decoding import Refusal, RefusalReason
from daemon.intake import Message
from daemon.store import Store
from daemon.transaction import Transaction
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
TOPIC = "plant/press/readings"
AT = 1_735_725_600_000


@pytest.fixture
def letters(config: Path, tmp_path: Path) -> list[bytes]:
    """Refused messages, numbered from 1: no JSON, one with control codes of a terminal, one too large."""
    (tmp_path / "state").mkdir()
    store = Store(tmp_path / "state" / "store.sqlite")
    payloads = [b"\xff{", b'{"flow": "1"}', b"x" * (KEPT_PAYLOAD + 1)]
    refusals = [
        Refusal(Message(topic, payload, AT, 1, 1, 1), reason, "is wrong")
        for topic, payload, reason in zip(
            [TOPIC, "plant/\x1b[31mred/readings", TOPIC],
            payloads,
            [RefusalReason.NOT_JSON, RefusalReason.NOT_A_NUMBER, RefusalReason.TOO_LARGE],
            strict=True,
        )
    ]
    store.commit(Transaction(refusals=refusals))
    store.close()
    return payloads


def test_without_any_the_commands_say_so(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert anomalyd("dead-letters", "list") == Ended(0, "no dead letter\n", "")
        assert anomalyd("dead-letters", "list", "--json").out == "[]\n"
        assert anomalyd("dead-letters", "drop", "--all") == Ended(0, "0 dropped\n", "")
        assert anomalyd("dead-letters", "replay", "--all").code == 0
        assert (
            anomalyd("dead-letters", "show", 1).err
            == "anomalyd: dead-letters show: there is no dead letter 1\n"
        )
        (tmp_path / "state").mkdir(exist_ok=True)
        Store(tmp_path / "state" / "store.sqlite").close()


def test_the_list_shows_the_newest_first_and_no_control_code(anomalyd: Run, letters: list[bytes]) -> None:
    lines = anomalyd("dead-letters", "list").out.splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["3", "2025-01-01T10:00:00.000Z", TOPIC, "too_large", "is", "wrong", "cannot"],
        [
            "2",
            "2025-01-01T10:00:00.000Z",
            r"plant/\x1b[31mred/readings",
            "not_a_number",
            "is",
            "wrong",
            "can",
        ],
        ["1", "2025-01-01T10:00:00.000Z", TOPIC, "not_json", "is", "wrong", "can"],
    ]
    (newest,) = json.loads(anomalyd("dead-letters", "list", "--limit", 1, "--json").out)
    assert (newest["number"], newest["replayable"], newest["bytes"]) == (3, False, KEPT_PAYLOAD)
    (refused,) = json.loads(anomalyd("dead-letters", "list", "--reason", "not_a_number", "--json").out)
    assert (refused["payload"], refused["marked"]) == ('{"flow": "1"}', False)
    assert (
        anomalyd("dead-letters", "list", "--reason", "bad_name").out == "no dead letter of reason bad_name\n"
    )


def test_a_payload_is_shown_byte_by_byte(
    letters: list[bytes], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for number, payload in enumerate(letters, 1):
        with pytest.raises(SystemExit):
            main(["dead-letters", "show", str(number)])
        assert capfdbinary.readouterr().out == payload[:KEPT_PAYLOAD]


def test_on_a_terminal_no_control_code_of_a_payload_is_obeyed(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    store = Store(tmp_path / "state" / "store.sqlite")
    message = Message(TOPIC, b'\xff{"\x1b[31m": "\xc2\x9b\xc3\xa4"}', AT, 1, 1, 1)
    store.commit(Transaction(refusals=[Refusal(message, RefusalReason.NOT_JSON, "is wrong")]))
    store.close()
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", 0) as screen:
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit):
            main(["dead-letters", "show", "1"])
        terminal.flush()
        shown = os.read(screen.fileno(), 4096)
    assert shown.decode() == r'\xff{"\x1b[31m": "\x9bä"}'


def test_a_payload_is_shown_as_json(anomalyd: Run, letters: list[bytes]) -> None:
    assert json.loads(anomalyd("dead-letters", "show", 2, "--json").out)["payload"] == '{"flow": "1"}'


def test_letters_are_marked_for_the_daemon_but_those_that_were_cut(
    anomalyd: Run, letters: list[bytes]
) -> None:
    ended = anomalyd("dead-letters", "replay", 2, 3)
    assert ended.code == 0
    assert ended.out == "1 marked; the daemon takes them within seconds, or when it starts\n"
    assert ended.err == "3 cannot be replayed: only its first 16384 bytes were kept\n"
    assert anomalyd("dead-letters", "list").out.splitlines()[3].split()[-1] == "waits"
    assert json.loads(anomalyd("dead-letters", "replay", "--all", "--json").out) == {
        "marked": [1, 2],
        "left": [3],
    }


def test_letters_are_dropped_by_number_by_reason_or_all(anomalyd: Run, letters: list[bytes]) -> None:
    assert anomalyd("dead-letters", "drop", 1).out == "1 dropped\n"
    assert anomalyd("dead-letters", "drop", 1, 2) == Ended(
        1, "", "anomalyd: dead-letters drop: there is no dead letter 1\n"
    )
    assert json.loads(anomalyd("dead-letters", "drop", "--reason", "too_large", "--json").out) == {
        "dropped": [3]
    }
    assert anomalyd("dead-letters", "drop", "--all").out == "1 dropped\n"
    assert anomalyd("dead-letters", "list").out == "no dead letter\n"


@pytest.mark.parametrize("choice", [(), ("1", "--all"), ("--all", "--reason", "not_json")])
@pytest.mark.parametrize("command", ["replay", "drop"])
def test_nothing_is_changed_unless_it_is_said_what(
    anomalyd: Run, letters: list[bytes], command: str, choice: tuple[str, ...]
) -> None:
    ended = anomalyd("dead-letters", command, *choice)
    assert ended.code == 64
    assert f"dead-letters {command}: give numbers, --reason REASON or --all" in ended.err


def test_a_store_of_another_version_is_left_alone(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "store.sqlite").write_bytes(b"no database at all" * 100)
    ended = anomalyd("dead-letters", "drop", "--all")
    assert ended.code == 74
    assert "cannot be used as the store: file is not a database" in ended.err


@pytest.mark.parametrize("command", ["list", "drop", "replay"])
def test_a_word_that_is_no_reason_is_refused_with_those_there_are(
    anomalyd: Run, letters: list[bytes], command: str
) -> None:
    ended = anomalyd("dead-letters", command, "--reason", "nonsense")
    assert ended.code == 64
    assert "--reason: must be one of bad_name, " in ended.err
    assert ended.err.rstrip().endswith("got nonsense")
