"""Refused messages are listed, dropped, and read once more beside a running daemon."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from daemon.bounds import KEPT_PAYLOAD, UNDELIVERABLE
from daemon.dead_letters import DeadLetters
from daemon.decoding import Refusal, RefusalReason
from daemon.intake import Message
from daemon.store import Store
from daemon.transaction import Transaction
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

TOPIC = "plant/press/readings"
ALERTS = "anomalyd/press/alert"
Ready = Callable[[], Daemon]


@contextmanager
def opened(setup: Setup) -> Iterator[DeadLetters]:
    letters = DeadLetters(setup.state / "store.sqlite")
    yield letters
    letters.close()


def numbers(setup: Setup) -> list[int]:
    """Those of all dead letters, the newest first."""
    with opened(setup) as letters:
        return [letter.number for letter in letters.letters()]


def stored(setup: Setup) -> list[int]:
    store = Store(setup.state / "store.sqlite", read_only=True)
    times = [reading.at for reading in store.readings("press", 0)]
    store.close()
    return times


def reasons(setup: Setup) -> set[str]:
    with opened(setup) as letters:
        return {letter.reason for letter in letters.letters()}


def broken(messages: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same with a sensor that is no number, unless it is declared."""
    return [(topic, payload.replace(b'"flow"', b'"mode": "run", "flow"')) for topic, payload in messages]


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_refused_is_scored_once_the_configuration_knows_it_whatever_happens_meanwhile(
    setup: Setup,
    client: Client,
    ready: Ready,
    killed: bool,  # noqa: FBT001
) -> None:
    plant.promote(setup.state)
    readings = plant.history(1200, faults=[range(300, 340), range(1000, 1040)])
    daemon = ready()
    client.stream(broken(plant.messages(readings))).join()
    wait_until(lambda: len(numbers(setup)) == 1200, "all to be refused")
    assert reasons(setup) == {"not_a_number"}
    setup.write(readings={"channels": {"mode": "category"}})
    if killed:
        daemon.kill()
    else:
        daemon.send(signal.SIGHUP)
        daemon.wait("configuration_reloaded")
    with opened(setup) as letters:
        letters.mark(numbers(setup)[::-1])
    if killed:
        daemon = ready()
        wait_until(lambda: len(stored(setup)) >= 500, "some of them")
        daemon.kill()
        ready()
    wait_until(lambda: numbers(setup) == [], "all to be taken")
    assert stored(setup) == readings.at.tolist()
    expected = [(event["id"], event["change"]) for event in plant.expected(setup.settings, [readings])]
    wait_until(lambda: len(client.messages(ALERTS)) >= len(expected), "the alerts")
    seen = dict.fromkeys((event["id"], event["change"]) for event in client.messages(ALERTS))
    assert list(seen) == expected


def test_a_reading_whose_time_has_passed_is_stored_but_not_scored_once_no_window_could_hold_it(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    messages = plant.messages(plant.history(200))
    daemon = ready()
    refused = broken(messages)
    for topic, payload in [*messages[:50], *refused[50:60], *messages[60:100], *refused[100:105]]:
        client.publish(topic, payload)
    for topic, payload in messages[105:107]:
        client.publish(topic, payload)
    wait_until(lambda: (len(stored(setup)), len(numbers(setup))) == (92, 15), "all of it")
    setup.write(readings={"channels": {"mode": "category"}})
    daemon.end()
    daemon = ready()
    with opened(setup) as letters:
        letters.mark(numbers(setup))
    wait_until(lambda: len(stored(setup)) == 102, "the old ones")
    assert len(numbers(setup)) == 5  # those of a moment ago wait
    for topic, payload in messages[107:120]:
        client.publish(topic, payload)
    wait_until(lambda: numbers(setup) == [], "the others")
    assert stored(setup) == [plant.START + 1000 * i for i in range(120)]
    daemon.wait("dead_letter_replayed", reason="stored")
    assert client.messages(ALERTS) == []


def test_what_is_refused_again_stays_with_its_new_reason(setup: Setup, client: Client, ready: Ready) -> None:
    plant.promote(setup.state)
    daemon = ready()
    client.publish(TOPIC, b'{"mode": 7, "flow": [1]}')
    client.publish(TOPIC, b'{"oil": "7"}')
    wait_until(lambda: len(numbers(setup)) == 2, "both to be refused")
    setup.write(readings={"channels": {"mode": "category", "flow": "category", "oil": "category"}})
    daemon.send(signal.SIGHUP)
    daemon.wait("configuration_reloaded")
    with opened(setup) as letters:
        letters.mark(numbers(setup))
    wait_until(lambda: reasons(setup) == {"not_a_category", "no_known_sensor"}, "the new reasons")
    with opened(setup) as letters:
        assert {letter.marked for letter in letters.letters()} == {False}
    assert stored(setup) == []


def test_letters_are_marked_and_dropped_while_the_daemon_stores_readings(
    setup: Setup, client: Client, ready: Ready
) -> None:
    ready()
    for number in range(300):
        client.publish(TOPIC, b"no JSON %d" % number)
    stream = client.stream(plant.messages(plant.history(3000)))
    wait_until(lambda: len(numbers(setup)) == 300, "the letters")
    with opened(setup) as letters:
        for number in numbers(setup)[:100]:
            letters.mark([number])
            letters.drop([number - 100])
    stream.join()
    wait_until(lambda: len(stored(setup)) == 3000, "all readings")
    assert len(numbers(setup)) == 200


def test_a_letter_that_is_marked_and_dropped_is_forgotten(setup: Setup, client: Client, ready: Ready) -> None:
    ready()
    client.publish(TOPIC, b"no JSON")
    wait_until(lambda: len(numbers(setup)) == 1, "the letter")
    (number,) = numbers(setup)
    with closing(sqlite3.connect(setup.state / "store.sqlite")) as database, database:
        database.execute("BEGIN IMMEDIATE")  # so that the daemon does not see the one without the other
        database.execute("INSERT INTO replays VALUES (?)", (number,))
        database.execute("DELETE FROM dead_letters WHERE id = ?", (number,))
    with closing(sqlite3.connect(setup.state / "store.sqlite")) as database:
        query = "SELECT count(*) FROM replays"
        wait_until(lambda: database.execute(query).fetchone() == (0,), "the mark to go")


def test_what_was_cut_or_is_an_alert_of_ours_cannot_be_replayed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    whole, cut = (
        Refusal(Message(TOPIC, b"x" * size, 1, 1, 1, 1), RefusalReason.NOT_JSON, "")
        for size in (KEPT_PAYLOAD - 1, KEPT_PAYLOAD + 1)
    )
    # What is larger than readings.max_payload is cut when it arrives.
    short = Refusal(Message(TOPIC, b"x" * 101, 1, 1, 1, 1), RefusalReason.TOO_LARGE, "")
    (number,) = store.commit(Transaction(outgoing=[(ALERTS, b"{}")]))
    store.commit(Transaction(refusals=[whole, cut, short], undeliverable=[(number, "too large")]))
    store.close()
    letters = DeadLetters(tmp_path / "store.sqlite")
    problems = {letter.reason + str(len(letter.payload)): letter.problem for letter in letters.letters()}
    letters.close()
    assert problems == {
        "not_json16383": None,
        "not_json16384": "only its first 16384 bytes were kept",
        "too_large101": "it was too large to be taken whole",
        f"{UNDELIVERABLE}2": "it is an alert of ours, which the broker would not take",
    }


def test_a_letter_of_a_far_future_is_refused_again_and_makes_no_reading_late(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    client.publish(
        TOPIC, b'{"mode": "x", "ts": "2035-01-01T00:00:00Z", "flow": 1, "pressure": 1, "temperature": 1}'
    )
    wait_until(lambda: len(numbers(setup)) == 1, "it to be refused")
    setup.write(readings={"ignore": ["mode"]})
    daemon.send(signal.SIGHUP)
    daemon.wait("configuration_reloaded")
    with opened(setup) as letters:
        letters.mark(numbers(setup))
    wait_until(lambda: reasons(setup) == {"future"}, "the new reason")
    assert stored(setup) == []


def test_a_letter_that_was_retained_stays_one_of_which_nobody_knows_when_it_was_sent(
    setup: Setup, client: Client, ready: Ready
) -> None:
    client.publish(TOPIC, b'{"flow": 1, "mode": 7}', retain=True)
    client.publish("plant/lathe/readings", b'{"time": 1767519000, "flow": 1}', retain=True)
    daemon = ready()
    wait_until(lambda: len(numbers(setup)) == 2, "both to be refused")
    assert reasons(setup) == {"retained"}
    setup.write(readings={"ignore": ["mode"], "time": "time"})
    daemon.end()
    ready()
    with opened(setup) as letters:
        letters.mark(numbers(setup))
    wait_until(lambda: len(numbers(setup)) == 1, "the one that has a time now")
    assert reasons(setup) == {"retained"}
    with opened(setup) as letters:
        wait_until(lambda: not any(letter.marked for letter in letters.letters()), "the other one's answer")
    assert stored(setup) == []
