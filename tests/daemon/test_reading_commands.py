"""A message becomes a command, or is refused with a reason and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Settings
from daemon.commands.addressing import Addressing
from daemon.commands.command import COMMANDS, MAX_LABELS, Command, Confirmed, Shelve, name_of
from daemon.commands.reading import MAX_BYTES, Reason, Refused, read
from daemon.commands.table import KEPT, Filed, Row
from daemon.intake import Reply
from daemon.store import Store
from daemon.transaction import Transaction
from detector.labels import LabelKind

TIMES = st.sampled_from([0, 1.5, 1_735_725_600, "2025-01-01T10:00:00Z", "soon", None, True, -1, 1e300, "nan"])
VALUES = st.one_of(
    TIMES, st.text(max_size=5), st.lists(TIMES, max_size=2), st.sampled_from(["1h", "0s", "5"])
)
FIELDS = sorted({each.encode_name for kind in COMMANDS.values() for each in msgspec.structs.fields(kind)})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_a_command_or_refused(payload: bytes) -> None:
    assert isinstance(read(payload), Command | Refused)


@given(st.sampled_from(sorted(COMMANDS)), st.dictionaries(st.sampled_from(FIELDS), VALUES | JSON))
def test_whatever_fields_come_are_a_command_or_refused_and_a_command_is_read_again_as_it_was(
    name: str, fields: dict[str, object]
) -> None:
    command = read(json.dumps({"command": name, **fields}).encode())
    if isinstance(command, Refused):
        assert command.reason in {Reason.BAD_FIELD, Reason.NOT_JSON}
        assert command.text
    else:
        assert name_of(command) == name
        assert read(msgspec.json.encode(command)) == command


@pytest.mark.parametrize(
    ("payload", "reason", "text"),
    [
        (b"", Reason.NOT_JSON, "must be JSON, and "),
        (b"\xff", Reason.NOT_JSON, "must be JSON, and "),
        (b"[" * 100_000, Reason.NOT_JSON, "must be nested at most 64 levels deep, got more"),
        (b"x" * (MAX_BYTES + 1), Reason.TOO_LARGE, "must be at most 262144 bytes, got more"),
        (b"[]", Reason.NOT_AN_OBJECT, 'must be an object, such as {"command": "ack"}'),
        (b"{}", Reason.UNKNOWN_COMMAND, "command: must be one of ack, shelve, "),
        (b'{"command": 5}', Reason.UNKNOWN_COMMAND, "command: must be one of ack, shelve, "),
        (b'{"command": "shelf"}', Reason.UNKNOWN_COMMAND, '"shelf" is not known; did you mean shelve?'),
        (b'{"command": "zzz"}', Reason.UNKNOWN_COMMAND, '"zzz" is not known; known are ack, shelve, '),
    ],
)
def test_what_is_no_command_is_refused_with_what_to_do(payload: bytes, reason: Reason, text: str) -> None:
    refused = read(payload)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert text in refused.text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ('"shelve"', "must have a field for"),
        ('"shelve", "for": 5', "for: must be text, got a number"),
        ('"shelve", "for": "1 hour"', 'with a unit of time, got "1 hour"; such as 500ms, 30s'),
        ('"shelve", "for": "0s"', "for: must be more than 0s"),
        ('"ack", "alrt": ""', '"alrt" is not a field of ack; did you mean alert?'),
        ('"ack", "zz": ""', '"zz" is not a field of ack; ack has alert, by, note, ref'),
        ('"exclude", "from": 5', "must have a field to"),
        ('"exclude", "from": 5, "to": "soon"', "to: must be ISO 8601, or seconds or milliseconds since 1970"),
        ('"exclude", "from": 5, "to": 4', "to: must not be before from, got 5 to 4"),
        ('"exclude", "from": 5, "to": true', "to: must be a number or text, got true or false"),
        ('"confirmed"', "must have either alert, or from and to"),
        ('"confirmed", "alert": "9f0c", "from": 5, "to": 6', "must have either alert, or from and to"),
        ('"confirmed", "from": 5', "must have either alert, or from and to"),
        ('"label", "labels": []', "labels: must be a list of length >= 1"),
        ('"label", "labels": [{"from": 5, "to": 6}, {"from": 5}]', "labels[1]: must have a field to"),
        ('"unlabel", "kind": "odd", "from": 5', "kind: there is no 'odd'"),
        ('"off", "by": 5', "by: must be text, got a number"),
    ],
)
def test_a_command_with_a_wrong_field_is_refused_with_what_to_do(fields: str, text: str) -> None:
    refused = read(f'{{"command": {fields}}}'.encode())
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.BAD_FIELD
    assert text in refused.text


def test_a_refusal_tells_which_command_it_is_of() -> None:
    refused = read(b'{"command": "shelve", "ref": "r1"}')
    assert isinstance(refused, Refused)
    assert (refused.command, refused.ref) == ("shelve", "r1")


def test_commands_say_what_they_hold() -> None:
    assert read(b'{"command": "shelve", "for": "2h", "ref": 7}') == Shelve(lasting="2h", ref=7)
    assert read(b'{"command": "confirmed", "from": 1, "to": "2025-01-01"}') == Confirmed(
        start=1, end="2025-01-01"
    )


def test_the_largest_import_fits_into_a_message() -> None:
    label = {"from": "2025-01-01T10:00:00Z", "to": "2025-01-01T10:00:00Z"}
    content = json.dumps({"command": "label", "labels": [label] * MAX_LABELS}, separators=(",", ":"))
    assert not isinstance(read(content.encode()), Refused) or len(content) > MAX_BYTES


LEVEL = st.text(st.sampled_from("ab/+#$é"), max_size=3)


@given(st.sampled_from(["anomalyd/{}/command", "anomalyd/command{}", "plant/{}/readings", "{}"]), LEVEL)
def test_a_topic_is_of_commands_if_one_name_makes_it_so(template: str, name: str) -> None:
    topic, addressing = template.format(name), Addressing(Settings())
    expected = topic == "anomalyd/command" or (
        topic.startswith("anomalyd/") and topic.endswith("/command") and topic.count("/") == 2
    )
    assert (topic in addressing) is expected


@given(LEVEL)
def test_no_answer_goes_where_the_daemon_listens_or_nobody_can(name: str) -> None:
    addressing = Addressing(Settings())
    for topic in (name, f"plant/{name}/readings", f"anomalyd/{name}/command", "anomalyd/command"):
        found = addressing.answer_topic("press", Reply(topic))
        assert found in {topic, "anomalyd/press/answer"}
        assert found not in addressing
        assert not found.startswith("plant/") or "/" in name
        assert not {*"+#"} & {*found}


def test_the_newest_answers_are_kept_and_what_waits_is_kept_whatever_its_age(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    waits = Row("press", 1, Filed(msgspec.Raw(b'{"command":"pin"}'), Reply("a/b", b"\x00\xff"), "ab"))
    store.commit(Transaction(filed=[waits]))
    for begin in range(0, KEPT + 10, 10):
        rows = [Row("press", 1, Filed(digest=f"{begin + i:032x}"), b"{}") for i in range(10)]
        store.commit(Transaction(filed=rows))
    (row,) = store.commands_waiting(5)
    assert (row.machine, row.content.reply, bytes(row.content.command)) == (
        "press", Reply("a/b", b"\x00\xff"), b'{"command":"pin"}',
    )  # fmt: skip
    assert store.command_known("ab") == (True, None)
    assert store.command_known(f"{3:032x}") == (False, None)
    assert store.command_known(f"{KEPT:032x}") == (True, b"{}")
    store.commit(Transaction(settled=[(row.number, b'{"done":true}', Filed(digest="ab"))]))
    assert store.commands_waiting(5) == []
    store.close()


def test_kinds_of_labels_are_those_of_the_detector() -> None:
    from cli.labels import KINDS  # noqa: PLC0415 - click's choices are texts

    assert tuple(LabelKind) == KINDS
