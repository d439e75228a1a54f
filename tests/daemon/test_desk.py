"""Commands are obeyed once, whenever the process ends: a test says what was stored and what was not."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config import Settings
from config.policies import alert_policy, stream_policy
from daemon.commands import labels
from daemon.commands.desk import Desk, desk_of
from daemon.commands.table import Filed, Row
from daemon.intake import Message
from daemon.store import Store
from daemon.tally import Tally
from daemon.transaction import Transaction
from detector.labels import Label, LabelKind
from detector.modes import Mode
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from registry.champions import Registry
from tests import plant

FIRST, SECOND, THIRD = (f"2025-01-0{n}T09-00-00Z-000{n}" for n in (1, 2, 3))
SHARED, PRESS = "anomalyd/command", "anomalyd/press/command"
Take = Callable[[Message], list[dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Three bundles that all machines share; the third serves."""
    for name in (FIRST, SECOND, THIRD):
        plant.promote(tmp_path, name)
    return Registry(tmp_path)


@pytest.fixture
def pipeline() -> Pipeline:
    """It follows the machine press, which nothing is known of but one reading."""
    pipeline = Pipeline(Champions(), stream=stream_policy(Settings()), alerts=alert_policy(Settings()))
    history = plant.history(1)
    pipeline.on_readings([Reading("press", plant.START, history.sensors, history.values[0])])
    return pipeline


@pytest.fixture
def asked() -> list[tuple[str | None, str]]:
    """The retrainings that were asked for."""
    return []


@pytest.fixture
def desk(store: Store, registry: Registry, asked: list[tuple[str | None, str]]) -> Desk:
    def ask(machine: str | None, reason: str) -> bool:
        asked.append((machine, reason))
        return reason != "no"

    return desk_of(Settings(), store, registry, Tally(time.monotonic), ask=ask)


def message(topic: str, command: dict[str, Any], *, again: bool = False, mid: int = 1) -> Message:
    return Message(topic, json.dumps(command).encode(), 0, 1, mid, 1, again=again)


def told(transaction: Transaction) -> list[dict[str, Any]]:
    return [json.loads(answer.payload) for answer in transaction.answers]


def tick(desk: Desk, store: Store, pipeline: Pipeline, *, stored: bool = True) -> list[dict[str, Any]]:
    """The answers to what waits; not `stored`: the process ends before the commit."""
    transaction = Transaction()
    desk.tick(pipeline, transaction)
    if stored:
        store.commit(transaction)
    return told(transaction)


def take(desk: Desk, store: Store, pipeline: Pipeline, one: Message) -> list[dict[str, Any]]:
    """The answers to a message at once."""
    transaction = Transaction()
    desk.take(one, pipeline, transaction)
    store.commit(transaction)
    return told(transaction)


def test_a_command_that_is_delivered_again_after_it_was_obeyed_is_answered_and_not_obeyed_again(
    desk: Desk, store: Store, registry: Registry, pipeline: Pipeline
) -> None:
    assert take(desk, store, pipeline, message(SHARED, {"command": "rollback"})) == []
    (answer,) = tick(desk, store, pipeline)
    assert registry.champion_of(None) == SECOND
    assert take(desk, store, pipeline, message(SHARED, {"command": "rollback"}, again=True)) == [answer]
    assert tick(desk, store, pipeline) == []
    assert registry.champion_of(None) == SECOND
    assert take(desk, store, pipeline, message(SHARED, {"command": "rollback"})) == []  # another one
    tick(desk, store, pipeline)
    assert registry.champion_of(None) == FIRST


def test_a_rollback_that_was_not_stored_any_more_goes_back_no_second_step(
    desk: Desk, store: Store, registry: Registry, pipeline: Pipeline
) -> None:
    take(desk, store, pipeline, message(SHARED, {"command": "rollback"}))
    assert tick(desk, store, pipeline, stored=False)[0]["reason"] == "done"
    assert tick(desk, store, pipeline)[0]["reason"] == "already"
    assert registry.champion_of(None) == SECOND


def test_a_retraining_is_asked_for_with_who_wants_it_and_why(
    desk: Desk, store: Store, pipeline: Pipeline, asked: list[tuple[str | None, str]]
) -> None:
    command = {"command": "retrain", "reason": "new tool", "by": "anna"}
    take(desk, store, pipeline, message("anomalyd/press/command", command))
    take(desk, store, pipeline, message(SHARED, {"command": "retrain", "reason": "no"}))
    assert [answer["reason"] for answer in tick(desk, store, pipeline)] == ["done", "not_taken"]
    assert asked == [("press", "new tool (anna)"), (None, "no")]


def test_a_time_that_is_over_when_a_daemon_starts_is_refused(
    desk: Desk, store: Store, pipeline: Pipeline
) -> None:
    shelve = Row("press", 0, Filed(msgspec.Raw(b'{"command":"shelve","for":"1h"}'), digest="ab"))
    store.commit(Transaction(filed=[shelve]))
    (answer,) = tick(desk, store, pipeline)
    assert (answer["reason"], answer["text"]) == (
        "not_taken",
        "its time was over at 1970-01-01T01:00:00.000Z",
    )


@pytest.mark.parametrize(
    ("topic", "command", "reason"),
    [
        (SHARED, {"command": "ack"}, "topic"),
        (SHARED, {"command": "label", "labels": [{"from": 1, "to": 2}]}, "bad_field"),
        ("anomalyd/pres/command", {"command": "off"}, "unknown_machine"),
        ("anomalyd/anomalyd-doctor/command", {"command": "off"}, "topic"),
        ("anomalyd/press/command", {"command": "confirmed", "alert": "9f0"}, "unknown_alert"),
        (
            "anomalyd/press/command",
            {"command": "label", "labels": [{"from": 1, "to": 2, "machine": "pump"}]},
            "bad_field",
        ),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_refused_and_leaves_nothing(
    desk: Desk, pipeline: Pipeline, topic: str, command: dict[str, Any], reason: str
) -> None:
    transaction = Transaction()
    assert desk.take(message(topic, command), pipeline, transaction) == []
    (answer,) = told(transaction)
    assert (answer["done"], answer["reason"]) == (False, reason)
    assert transaction.empty()


def test_a_bundle_of_another_line_is_not_promoted_on_a_machines_topic(
    desk: Desk, store: Store, registry: Registry, pipeline: Pipeline
) -> None:
    take(desk, store, pipeline, message("anomalyd/press/command", {"command": "promote", "bundle": FIRST}))
    assert tick(desk, store, pipeline)[0]["reason"] == "topic"
    assert registry.champion_of(None) == THIRD


def test_the_same_words_meant_anew_are_obeyed_though_they_had_to_be_delivered_again(
    desk: Desk, store: Store, pipeline: Pipeline
) -> None:
    off = {"command": "off"}
    take(desk, store, pipeline, message(PRESS, off, mid=1))
    take(desk, store, pipeline, message(PRESS, {"command": "running"}, mid=2))
    take(desk, store, pipeline, message(PRESS, off, mid=3, again=True))
    machine = pipeline.machine("press")
    assert machine is not None
    assert machine.operation.mode is Mode.OFF


def test_a_machine_that_was_never_heard_is_not_retrained(
    desk: Desk, store: Store, pipeline: Pipeline
) -> None:
    topic = "anomalyd/pres/command"
    assert take(desk, store, pipeline, message(topic, {"command": "retrain"})) == []
    (answer,) = tick(desk, store, pipeline)
    assert (answer["done"], answer["reason"]) == (False, "unknown_machine")
    assert "did you mean press?" in answer["text"]


def test_commands_of_one_step_share_the_room_for_labels(
    desk: Desk, store: Store, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "MOST", 3)
    store.commit(Transaction(labels=[Label("press", LabelKind.EXCLUDED, 1_000, 2_000, 1)]))
    transaction = Transaction(labels=[Label("pump", LabelKind.EXCLUDED, at, at + 1, 1) for at in range(9)])
    for start in (3, 5, 7):
        exclude = {"command": "exclude", "from": start, "to": start + 1}
        desk.take(message(PRESS, exclude, mid=start), pipeline, transaction)
    assert [answer["reason"] for answer in told(transaction)] == ["done", "done", "too_many"]


def test_a_label_is_dropped_once(desk: Desk, store: Store, pipeline: Pipeline) -> None:
    store.commit(Transaction(labels=[Label("press", LabelKind.EXCLUDED, 1_000, 2_000, 1)]))
    drop = {"command": "unlabel", "kind": "excluded", "from": 1}
    answers = [take(desk, store, pipeline, message(PRESS, drop, mid=mid)) for mid in (1, 2)]
    assert [answer["reason"] for (answer,) in answers] == ["done", "already"]


def test_of_a_command_that_was_obeyed_only_its_answer_and_its_digest_are_kept(
    desk: Desk, store: Store, pipeline: Pipeline
) -> None:
    take(desk, store, pipeline, message(SHARED, {"command": "retrain", "reason": "much " * 90}))
    (answer,) = tick(desk, store, pipeline)
    with sqlite3.connect(store.path) as database:
        ((content, kept),) = database.execute("SELECT content, answer FROM commands").fetchall()
    database.close()
    assert list(json.loads(content)) == ["digest"]
    assert json.loads(kept) == answer
