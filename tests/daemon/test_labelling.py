from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from daemon.store import Store
from daemon.transaction import Transaction
from detector.labels import Label, LabelKind

OFF = Label("press", LabelKind.OFF, 1_000, None, 1_500, by="anna")
INCIDENT = Label("press", LabelKind.CONFIRMED, 500, 900, 1_600, "ben", "bearing", "B7", "9f0c")
OTHER = Label("pump", LabelKind.EXCLUDED, 0, 10, 1_700)


def test_labels_are_stored_for_their_machine_in_order_of_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(Transaction(labels=[OFF, INCIDENT, OTHER]))
    assert store.labels("press") == [INCIDENT, OFF]
    store.close()
    store = Store(tmp_path / "store.sqlite", read_only=True)
    assert store.labels("press") == [INCIDENT, OFF]
    assert store.labels("pump") == [OTHER]
    assert store.labels("lathe") == []
    store.close()


def test_a_label_takes_the_place_of_the_one_of_its_machine_kind_and_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(Transaction(labels=[OFF]))
    ended = msgspec.structs.replace(OFF, end=4_000)
    maintenance = msgspec.structs.replace(OFF, kind=LabelKind.MAINTENANCE)
    store.commit(Transaction(labels=[ended, maintenance]))
    store.commit(Transaction(labels=[ended]))  # as a command that is delivered a second time
    assert store.labels("press") == [maintenance, ended]
    store.close()


def test_a_label_that_holds_no_longer_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(Transaction(labels=[OFF, INCIDENT]))
    store.commit(Transaction(unlabelled=[("press", LabelKind.OFF, 1_000), ("press", LabelKind.OFF, 7)]))
    assert store.labels("press") == [INCIDENT]
    store.close()


def test_what_is_not_said_anew_of_a_label_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(Transaction(labels=[INCIDENT]))
    bare = Label("press", LabelKind.CONFIRMED, 500, 950, 2_000)
    store.commit(Transaction(labels=[bare]))
    assert store.labels("press") == [msgspec.structs.replace(INCIDENT, end=950, noted_at=2_000)]
    store.close()


def test_a_label_of_a_kind_that_is_not_known_is_left_out_and_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(Transaction(labels=[OFF, INCIDENT]))
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database, database:
        database.execute("UPDATE labels SET kind = 'odd' WHERE kind = 'off'")
    with capture_logs() as logs:
        assert store.labels("press") == [INCIDENT]
    assert [(line["event"], line["machine"], line["kind"]) for line in logs] == [
        ("label_unreadable", "press", "odd")
    ]
    store.close()
