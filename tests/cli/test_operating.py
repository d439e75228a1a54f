"""Operators' commands on the command line, with a daemon and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.decoding import moment
from daemon.store import Store
from daemon.transaction import Transaction
from detector.labels import Label, LabelKind
from detector.reading import Reading
from tests import plant
from tests.cli.conftest import Ended
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Run = Callable[..., Ended]
ALERT = "9f0c21aa" + "0" * 24
OTHER = "9f0c33bb" + "0" * 24
AT = plant.START


@pytest.fixture
def store(config: Path, tmp_path: Path) -> Path:
    """A store that knows the machines press and pump, and two alerts of press; no daemon runs."""
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "store.sqlite"
    store = Store(path)
    history = plant.history(1)
    readings = [Reading(name, AT, history.sensors, history.values[0]) for name in ("press", "pump")]
    opened = [("press", ALERT, AT), ("press", OTHER, AT + 60_000)]
    label = Label("press", LabelKind.FALSE_ALARM, AT, AT + 30_000, AT, "anna", "warm-up", alert=ALERT)
    store.commit(Transaction(readings=readings, opened=opened, closed=[(ALERT, AT + 30_000)], labels=[label]))
    store.close()
    return path


def waiting(path: Path) -> list[dict[str, object]]:
    """The commands that wait for a daemon."""
    store = Store(path)
    rows = [
        json.loads(bytes(row.content.command)) | {"machine": row.machine} for row in store.commands_waiting(9)
    ]
    store.close()
    return rows


@pytest.mark.parametrize("group", [("alerts",), ("labels",), ("machines",)])
def test_where_no_daemon_has_run_there_is_nothing_to_show(
    anomalyd: Run, config: Path, group: tuple[str, ...]
) -> None:
    ended = anomalyd(*group, "list")
    assert (ended.code, ended.out) == (1, "")
    assert "there is no store yet, as no daemon has run here" in ended.err


def test_alerts_are_listed_the_newest_first_with_their_label(anomalyd: Run, store: Path) -> None:
    lines = [line.split() for line in anomalyd("alerts", "list").out.splitlines()]
    assert lines[0] == ["alert", "machine", "opened", "closed", "label"]
    assert lines[2:] == [
        ["9f0c33bb", "press", "2025-01-01T10:01:00.000Z", "open", "-"],
        ["9f0c21aa", "press", "2025-01-01T10:00:00.000Z", "2025-01-01T10:00:30.000Z", "false_alarm"],
    ]
    (row,) = json.loads(anomalyd("alerts", "list", "--open", "--json").out)
    assert (row["id"], row["closed_at"]) == (OTHER, None)
    assert anomalyd("alerts", "list", "--machine", "pump").out == "no alert\n"


def test_labels_are_listed_with_who_said_so(anomalyd: Run, store: Path) -> None:
    assert anomalyd("labels", "list").out.splitlines()[2].split() == [
        "press", "false_alarm", "2025-01-01T10:00:00.000Z", "2025-01-01T10:00:30.000Z", "anna", "warm-up",
    ]  # fmt: skip
    (label,) = json.loads(anomalyd("labels", "list", "--machine", "press", "--json").out)
    assert (label["alert"], label["code"]) == (ALERT, "")
    assert anomalyd("labels", "list", "--machine", "pump").out == "no label\n"


def test_without_a_daemon_a_command_waits_for_the_next_one(anomalyd: Run, store: Path) -> None:
    ended = anomalyd("alerts", "false-alarm", "9f0c33", "--by", "anna", "--note", "n")
    assert ended == Ended(0, "no daemon runs here; the next one obeys when it starts\n", "")
    assert json.loads(anomalyd("labels", "exclude", "pump", AT, "2025-01-01T11:00:00", "--json").out) == {
        "done": False, "reason": "no_daemon", "number": 2,
    }  # fmt: skip
    first, second = waiting(store)
    assert first == {
        "command": "false-alarm", "alert": OTHER, "by": "anna", "note": "n", "machine": "press",
    }  # fmt: skip
    assert (second["machine"], second["from"], second["to"]) == ("pump", AT, "2025-01-01T11:00:00")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("alerts", "confirmed", "9f0c"), 1, "2 alerts begin with 9f0c; see: anomalyd alerts list"),
        (("alerts", "confirmed", "77"), 1, "there is no alert 77; see: anomalyd alerts list"),
        (("alerts", "confirmed", "9f0c21", "--machine", "pump"), 1, "there is no alert 9f0c21"),
        (("alerts", "confirmed"), 64, "give an alert, or --machine with --from and --to"),
        (("alerts", "confirmed", "--machine", "press"), 64, "must have either alert, or from and to"),
        (("labels", "exclude", "press", "2025", "soon"), 64, "to: must be ISO 8601"),
        (("labels", "exclude", "press", "20", "10"), 64, "to: must not be before from, got 20.0 to 10.0"),
        (("labels", "exclude", "prass", "10", "20"), 1, "of machine prass; did you mean press?"),
        (("labels", "drop", "press", "odd", "20"), 64, "'odd' is not one of"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_one_is_refused_at_once(
    anomalyd: Run, store: Path, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    ended = anomalyd(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert problem in ended.err
    assert waiting(store) == []


@pytest.mark.parametrize(
    "content",
    [
        "2025-01-01T10:00:00Z,2025-01-01T10:05:00Z,B7\n1735725900,1735725960\n",
        "Start,End,Code\n2025-01-01T10:00:00Z, 1735725900000 ,B7\n\n2025-01-01 10:05:00+00:00,1735725960,\n",
        "\ufeffmachine,code,end,start\npress,B7,1735725900,1735725600\npress,,1735725960,1735725900\n",
    ],
    ids=["plain", "headings", "columns"],
)
def test_labels_are_imported_from_csv_with_and_without_headings(
    anomalyd: Run, store: Path, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    assert anomalyd("labels", "import", file, "--machine", "press", "--by", "anna").code == 0
    (command,) = waiting(store)
    assert command["machine"] is None
    assert [(one.get("code"), one["machine"], moment(one["from"])) for one in command["labels"]] == [  # type: ignore[attr-defined]
        ("B7", "press", AT),
        (None, "press", AT + 300_000),
    ]


def test_every_bad_line_of_a_file_is_named_and_no_line_is_taken(
    anomalyd: Run, store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "start,end,kind,machine\n10,20,,press\n20,10,,press\nsoon,20,,press\n10,,,press\n"
        "10,20,odd,press\n10,20,,\n10,20,,a/b\n10,20,,press,5\n"
    )
    ended = anomalyd("labels", "import", file)
    assert (ended.code, ended.out) == (65, "")
    lines = ended.err.replace("anomalyd: ", "").splitlines()
    assert [line.replace(f"{file}: ", "").split(", got")[0] for line in lines] == [
        "line 3: to: must not be before from",
        "line 4: from: must be ISO 8601, or seconds or milliseconds since 1970",
        "line 5: must have a end",
        "line 6: kind: must be one of false_alarm, confirmed, excluded, off, maintenance",
        "line 7: machine: must be given, as a column or by --machine",
        "line 8: machine: must be one level of a topic, 1 to 256 printable characters without / + #",
        "line 9: must have at most 4 cells",
    ]
    assert waiting(store) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no label"),
        (b"start,end\n", "holds no label"),
        (b"\xff\xfe", "must be CSV in UTF-8"),
        (b"start,ends\n1,2\n", "headings must be start, end and any of code, kind, note, machine"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(
    anomalyd: Run, store: Path, tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    ended = anomalyd("labels", "import", file, "--machine", "press")
    assert ended.code == 65
    assert problem in ended.err


def test_a_running_daemon_obeys_and_answers_the_command_line(
    setup: Setup,
    client: Client,
    ready: Callable[[], Daemon],
    anomalyd: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ANOMALYD_CONFIG", str(setup.file))
    plant.promote(setup.state)
    daemon = ready()
    for topic, payload in plant.messages(plant.history(45, faults=[range(20, 60)])):
        client.publish(topic, payload)
    opened = wait_until(lambda: client.last("anomalyd/press/alert"), "an alert")
    ended = anomalyd("alerts", "confirmed", opened["id"][:6], "--code", "B7", "--by", "anna")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("press is labelled confirmed from ")
    file = tmp_path / "labels.csv"
    file.write_text("10,20\n30,40\n")
    answer = json.loads(anomalyd("labels", "import", file, "--machine", "press", "--json").out)
    assert answer["text"] == "2 labels of press"
    assert anomalyd("labels", "drop", "press", "confirmed", "30").code == 0
    (early, late) = json.loads(anomalyd("labels", "list", "--json").out)
    assert (early["from"], late["alert"]) == ("1970-01-01T00:00:10.000Z", opened["id"])
    (row,) = json.loads(anomalyd("alerts", "list", "--json").out)
    assert (row["id"], row["label"]) == (opened["id"], "confirmed")
    ended = anomalyd("labels", "exclude", "press", "10", "20", "--by", "x" * 300)
    assert ended.code == 1
    assert "by: must be text of length <= 256" in ended.err
    daemon.wait("command_executed", reason="label", machine=None)


def test_what_was_commanded_while_no_daemon_ran_is_obeyed_by_the_next(
    setup: Setup, client: Client, ready: Callable[[], Daemon], anomalyd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALYD_CONFIG", str(setup.file))
    daemon = ready()
    client.publish("plant/press/readings", b'{"flow": 1}')
    wait_until(lambda: client.last("anomalyd/press/state"), "the machine's state")
    daemon.end()
    assert "no daemon runs here" in anomalyd("labels", "exclude", "press", "10", "20").out
    ready()
    wait_until(lambda: anomalyd("labels", "list").out != "no label\n", "the label")


def test_an_alert_is_acknowledged_shelved_and_a_machine_switched_off_on_the_command_line(
    setup: Setup, client: Client, ready: Callable[[], Daemon], anomalyd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALYD_CONFIG", str(setup.file))
    plant.promote(setup.state)
    ready()
    for topic, payload in plant.messages(plant.history(45, faults=[range(20, 60)])):
        client.publish(topic, payload)
    opened = wait_until(lambda: client.last("anomalyd/press/alert"), "an alert")["id"]
    assert anomalyd("alerts", "ack", opened[:7], "--by", "anna").out == f"{opened} of press is acknowledged\n"
    assert "was acknowledged by anna at" in anomalyd("alerts", "ack", "press").out
    assert anomalyd("alerts", "shelve", "press", "2h").code == 0
    (machine,) = json.loads(anomalyd("machines", "list", "--json").out)
    assert (machine["machine"], machine["state"], machine["alert"]) == ("press", "alert", opened)
    assert (machine["acknowledged_by"], machine["mode"]) == ("anna", None)
    assert machine["shelved_until"] is not None
    assert anomalyd("alerts", "unshelve", "press").code == 0
    assert anomalyd("machines", "maintenance", "press", "--for", "2h").out.startswith(
        "press is in maintenance until"
    )
    cells = anomalyd("machines", "list").out.splitlines()[2].split()
    assert (cells[0], cells[3], cells[4]) == ("press", "-", "maintenance")
    assert anomalyd("machines", "off", "press").out == "press is off\n"
    assert anomalyd("machines", "running", "press").out == "press is running\n"
    ended = anomalyd("alerts", "ack", opened[:7])
    assert (ended.code, ended.err) == (1, "anomalyd: press has no open alert\n")
    assert [label["kind"] for label in json.loads(anomalyd("labels", "list", "--json").out)]
