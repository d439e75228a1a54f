"""Operators command a running daemon over MQTT; it obeys once, and answers."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from daemon.store import Store
from detector.labels import Label, LabelKind
from registry.champions import Registry
from tests import plant
from tests.conftest import Setup
from tests.real_broker import OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Ready = Callable[[], Daemon]
PRESS, SHARED = "anomalyd/press/command", "anomalyd/command"
ANSWERS, SHARED_ANSWERS = "anomalyd/press/answer", "anomalyd/answer"
ALERTS = "anomalyd/press/alert"
FIRST, SECOND = "2025-01-01T09-00-00Z-0001", "2025-01-02T09-00-00Z-0002"
EXCLUDE = {"command": "exclude", "from": "2025-01-01T10:00:00Z", "to": 1_735_725_660}


def say(client: Client, topic: str, command: dict[str, Any] | bytes) -> None:
    client.publish(topic, command if isinstance(command, bytes) else json.dumps(command).encode())


def answers(client: Client, topic: str, count: int) -> list[dict[str, Any]]:
    """The answers on a topic, once there are so many."""

    def there() -> list[dict[str, Any]] | None:
        found = client.messages(topic)
        return found if len(found) >= count else None

    return wait_until(there, f"{count} answers on {topic}")


def labels(setup: Setup, machine: str = "press") -> list[Label]:
    store = Store(setup.state / "store.sqlite", read_only=True)
    found = store.labels(machine)
    store.close()
    return found


@pytest.fixture
def heard(setup: Setup, client: Client, ready: Ready) -> Daemon:
    """A daemon that knows the machine press, and has been told nothing yet."""
    plant.promote(setup.state, FIRST)
    daemon = ready()
    send(client, 0, 20)
    wait_until(lambda: client.last("anomalyd/press/state"), "the machine's state")
    return daemon


def send(client: Client, begin: int, end: int, *faults: range) -> None:
    for topic, payload in plant.messages(plant.history(end, faults=faults))[begin:end]:
        client.publish(topic, payload)


def test_a_stretch_is_excluded_and_answered_where_answers_are_by_default(
    setup: Setup, client: Client, heard: Daemon
) -> None:
    say(client, PRESS, {**EXCLUDE, "by": "anna", "note": "a test run", "ref": "r1"})
    (answer,) = answers(client, ANSWERS, 1)
    text = answer.pop("text")
    assert answer == {"command": "exclude", "machine": "press", "done": True, "reason": "done", "ref": "r1"}
    assert text == "press is labelled excluded from 2025-01-01T10:00:00.000Z to 2025-01-01T10:01:00.000Z"
    (label,) = labels(setup)
    assert (label.kind, label.start, label.end) == (LabelKind.EXCLUDED, plant.START, plant.START + 60_000)
    assert (label.by, label.note, label.alert) == ("anna", "a test run", None)
    heard.wait("command_executed", reason="exclude", machine="press", by="anna")


def test_an_answer_goes_to_the_topic_that_was_asked_for_with_what_tells_the_request(
    client: Client, heard: Daemon
) -> None:
    client.request(PRESS, json.dumps(EXCLUDE).encode(), "anomalyd/for/anna", b"\x00\xff17")
    assert answers(client, "anomalyd/for/anna", 1)[0]["done"]
    assert client.correlations("anomalyd/for/anna") == [b"\x00\xff17"]
    client.request(PRESS, b"{}", "anomalyd/for/anna", b"18")
    assert answers(client, "anomalyd/for/anna", 2)[1]["reason"] == "unknown_command"
    assert client.messages(ANSWERS) == []


@pytest.mark.parametrize("reply", [PRESS, "plant/press/readings", SHARED])
def test_an_answer_that_the_daemon_itself_would_hear_goes_where_answers_go_by_default(
    client: Client, heard: Daemon, reply: str
) -> None:
    client.request(PRESS, json.dumps(EXCLUDE).encode(), reply, b"17")
    assert answers(client, ANSWERS, 1)[0]["done"]


def test_by_mqtt_3_commands_are_obeyed_and_answered_too(setup: Setup, client: Client, ready: Ready) -> None:
    mqtt = {"host": "localhost", "port": setup.settings.mqtt.port, "version": "3.1.1"}
    setup.write(mqtt=mqtt)
    ready()
    send(client, 0, 5)
    wait_until(lambda: client.last("anomalyd/press/state"), "the machine's state")
    client.request(PRESS, json.dumps(EXCLUDE).encode(), "anomalyd/for/anna", b"17")
    assert answers(client, ANSWERS, 1)[0]["done"], "who asks by MQTT 5 is not known to it"
    assert len(labels(setup)) == 1


@pytest.mark.parametrize("command", ["false-alarm", "confirmed"])
def test_an_open_alert_is_labelled_and_the_label_ends_with_it(
    setup: Setup, client: Client, heard: Daemon, command: str
) -> None:
    fault = range(30, 60)
    send(client, 20, 50, fault)
    opened = wait_until(lambda: client.last(ALERTS), "an alert")
    say(client, PRESS, {"command": command, "alert": opened["id"][:8], "by": "ben"})
    assert answers(client, ANSWERS, 1)[0]["text"].endswith("on, until the alert closes")
    (label,) = labels(setup)
    assert (label.kind, label.end) == (LabelKind(command.replace("-", "_")), None)
    assert (label.alert, label.start) == (opened["id"], plant.milliseconds(opened["opened_at"]))
    send(client, 50, 90, fault)
    closed = wait_until(
        lambda: next((one for one in client.messages(ALERTS) if one["change"] == "closed"), None), "its end"
    )
    wait_until(lambda: labels(setup)[0].end == plant.milliseconds(closed["at"]), "the label's end")
    say(client, PRESS, {"command": command, "alert": opened["id"], "note": "again"})
    assert answers(client, ANSWERS, 2)[1]["done"]
    (label,) = labels(setup)
    assert (label.end, label.note) == (plant.milliseconds(closed["at"]), "again")


def test_many_labels_come_in_at_once_of_many_machines_or_none_at_all(
    setup: Setup, client: Client, heard: Daemon
) -> None:
    one = {"machine": "press", "from": 1_000_000_000, "to": 1_000_000_100, "code": "B7"}
    other = {"machine": "lathe", "from": 1_000_000_200, "to": 1_000_000_300}
    say(client, SHARED, {"command": "label", "labels": [one, other]})
    assert answers(client, SHARED_ANSWERS, 1)[0]["reason"] == "unknown_machine"
    assert labels(setup) == []
    again = {**one, "from": 1_000_000_200, "to": 1_000_000_300, "kind": "excluded"}
    say(client, SHARED, {"command": "label", "labels": [one, again], "by": "anna"})
    assert answers(client, SHARED_ANSWERS, 2)[1]["done"]
    assert [(label.kind, label.code, label.by) for label in labels(setup)] == [
        (LabelKind.CONFIRMED, "B7", "anna"),
        (LabelKind.EXCLUDED, "B7", "anna"),
    ]
    say(client, PRESS, {"command": "unlabel", "kind": "excluded", "from": "2001-09-09T01:50:00Z"})
    assert answers(client, ANSWERS, 1)[0]["done"]
    assert [label.kind for label in labels(setup)] == [LabelKind.CONFIRMED]


def test_an_open_alert_is_acknowledged_once_and_told_so(client: Client, heard: Daemon) -> None:
    say(client, PRESS, {"command": "ack"})
    assert answers(client, ANSWERS, 1)[0]["reason"] == "not_open"
    send(client, 20, 50, range(30, 60))
    opened = wait_until(lambda: client.last(ALERTS), "an alert")
    say(client, PRESS, {"command": "ack", "alert": "0000"})
    say(client, PRESS, {"command": "ack", "alert": opened["id"][:8], "by": "anna", "note": "on my way"})
    say(client, PRESS, {"command": "ack", "by": "ben"})
    wrong, right, again = answers(client, ANSWERS, 4)[1:]
    assert (wrong["reason"], right["reason"], again["reason"]) == ("not_open", "done", "already")
    assert "acknowledged by anna at" in again["text"]
    state = wait_until(lambda: client.last("anomalyd/press/state")["alert"]["acknowledged"], "the state")
    assert (state["by"], state["note"]) == ("anna", "on my way")
    send(client, 50, 90, range(30, 60))
    closed = wait_until(lambda: client.messages(ALERTS)[1:], "its end")[-1]
    assert (closed["change"], closed["acknowledged"]["by"]) == ("closed", "anna")


def test_alerts_are_shelved_and_what_is_open_then_is_published(client: Client, heard: Daemon) -> None:
    say(client, PRESS, {"command": "shelve", "for": "8h", "by": "anna"})
    assert answers(client, ANSWERS, 1)[0]["text"].startswith("alerts of press are not published until ")
    send(client, 20, 50, range(30, 200))
    heard.wait("alert_opened", shelved=True)
    wait_until(lambda: client.last("anomalyd/press/state")["state"] == "alert", "the machine's state")
    assert client.messages(ALERTS) == []
    say(client, PRESS, {"command": "unshelve"})
    say(client, PRESS, {"command": "unshelve"})
    assert [one["reason"] for one in answers(client, ANSWERS, 3)[1:]] == ["done", "already"]
    send(client, 50, 60, range(30, 200))
    assert wait_until(lambda: client.messages(ALERTS), "the alert")[0]["change"] == "opened"


@pytest.mark.parametrize("mode", ["off", "maintenance"])
def test_a_machine_that_does_not_run_is_not_scored_and_its_time_is_labelled(
    setup: Setup, client: Client, heard: Daemon, mode: str
) -> None:
    send(client, 20, 50, range(30, 200))
    wait_until(lambda: client.last(ALERTS), "an alert")
    say(client, PRESS, {"command": mode, "by": "anna", "note": "shift ends"})
    say(client, PRESS, {"command": mode, "by": "anna", "note": "shift ends"})
    assert [one["reason"] for one in answers(client, ANSWERS, 2)] == ["done", "already"]
    closed = wait_until(lambda: client.messages(ALERTS)[1:], "the alert's end")[0]
    assert (closed["change"], closed["mode"]) == ("closed", mode)
    (label,) = labels(setup)
    assert (label.kind, label.end, label.by) == (LabelKind(mode), None, "anna")
    send(client, 50, 60, range(30, 200))
    say(client, PRESS, {"command": "running"})
    assert answers(client, ANSWERS, 3)[2]["text"] == "press is running"
    wait_until(lambda: labels(setup)[0].end == plant.START + 59_000, "the label's end")
    assert len(client.messages(ALERTS)) == 2


def test_a_maintenance_ends_by_itself(setup: Setup, client: Client, heard: Daemon) -> None:
    say(client, PRESS, {"command": "maintenance", "for": "1s"})
    assert answers(client, ANSWERS, 1)[0]["done"]
    wait_until(lambda: labels(setup)[0].end is not None, "its end")


def test_the_former_champion_is_put_back_and_pinned_by_a_command(
    setup: Setup, client: Client, heard: Daemon
) -> None:
    plant.promote(setup.state, SECOND)
    registry = Registry(setup.state)
    heard.wait("bundle_loaded", bundle=SECOND)
    say(client, PRESS, {"command": "rollback"})
    answer = answers(client, ANSWERS, 1)[0]
    assert (answer["done"], answer["reason"]) == (False, "no_bundle"), "press has no line of its own"
    say(client, SHARED, {"command": "rollback", "bundle": FIRST})
    assert answers(client, SHARED_ANSWERS, 1)[0]["reason"] == "already"
    say(client, SHARED, {"command": "rollback"})
    assert answers(client, SHARED_ANSWERS, 2)[1]["text"].startswith(f"{FIRST} serves all")
    heard.wait("champions_swapped")
    assert registry.champion_of(None) == FIRST
    say(client, SHARED, {"command": "pin"})
    assert answers(client, SHARED_ANSWERS, 3)[2]["done"]
    assert registry.pinned(None)
    say(client, SHARED, {"command": "promote", "bundle": SECOND})
    assert answers(client, SHARED_ANSWERS, 4)[3]["done"]
    assert registry.champion_of(None) == SECOND
    say(client, SHARED, {"command": "unpin"})
    say(client, SHARED, {"command": "promote", "bundle": "../../etc"})
    assert [answer["done"] for answer in answers(client, SHARED_ANSWERS, 6)[4:]] == [True, False]
    assert not registry.pinned(None)


def test_a_retraining_that_is_commanded_is_asked_for_with_its_reason(
    setup: Setup, client: Client, ready: Ready
) -> None:
    setup.write(retrain={"by": "request"})
    ready()
    say(client, SHARED, {"command": "retrain", "reason": "new tool", "by": "anna"})
    assert answers(client, SHARED_ANSWERS, 1)[0]["done"]
    file = setup.state / "retrain.request"
    request = wait_until(lambda: file.exists() and json.loads(file.read_text()), "the request")
    assert (request["by"], request["reason"]) == ("command", "new tool (anna)")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_the_broker_retains_is_no_command_however_it_comes(
    setup: Setup, client: Client, ready: Ready, version: str
) -> None:
    mqtt = {"host": "localhost", "port": setup.settings.mqtt.port, "version": version}
    setup.write(mqtt=mqtt)
    client.retain(PRESS, json.dumps(EXCLUDE).encode())
    client.retain(SHARED, b'{"command": "retrain"}')
    daemon = ready()
    send(client, 0, 5)
    wait_until(lambda: client.last("anomalyd/press/state"), "the machine's state")
    if version == "3.1.1":
        daemon.wait("command_refused", reason="retained")
    else:  # there the daemon asks to be spared what is retained, and to be told
        client.retain(PRESS, json.dumps(EXCLUDE).encode())
        daemon.wait("command_refused", reason="retained")
    say(client, PRESS, b"")
    assert answers(client, ANSWERS, 1)[0]["reason"] == "not_json"
    assert labels(setup) == []
    assert daemon.said("command_executed") == []


@pytest.mark.parametrize("point", ["messages_taken", "transaction_written", "committed", "acknowledged"])
def test_a_command_that_is_delivered_again_after_a_kill_is_obeyed_once(
    setup: Setup,
    client: Client,
    run_daemon: Callable[..., Daemon],
    ready: Ready,
    point: str,
) -> None:
    for name in (FIRST, SECOND, "2025-01-03T09-00-00Z-0003"):
        plant.promote(setup.state, name)
    ready().end()  # the broker knows the session
    say(client, SHARED, {"command": "rollback"})
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT=point)
    assert daemon.code() == -signal.SIGKILL
    ready()
    assert answers(client, SHARED_ANSWERS, 1)[0]["done"]
    say(client, SHARED, {"command": "pin"})  # what comes after it is obeyed after it
    assert answers(client, SHARED_ANSWERS, 2)[-1]["command"] == "pin"
    line = Registry(setup.state).champions()[None]
    assert (line.champion, line.previous) == (SECOND, (FIRST,))


def test_a_command_that_names_its_request_is_not_obeyed_again_when_it_is_repeated(
    setup: Setup, client: Client, heard: Daemon
) -> None:
    plant.promote(setup.state, SECOND)
    plant.promote(setup.state, "2025-01-03T09-00-00Z-0003")
    for _ in range(2):
        say(client, SHARED, {"command": "rollback", "ref": 7})
    answers(client, SHARED_ANSWERS, 1)
    say(client, SHARED, {"command": "rollback", "ref": 7})
    assert [one["ref"] for one in answers(client, SHARED_ANSWERS, 2)] == [7, 7]
    assert Registry(setup.state).champion_of(None) == SECOND


def test_a_broker_that_denies_commands_costs_commands_alone(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    broker = new_broker(denying(tmp_path, "anomalyd/+/command"))
    client = new_client(broker.port, "anomalyd/#")
    setup = Setup(tmp_path, broker.port)
    daemon = run_daemon(setup.file)
    daemon.wait("subscription_refused", topic="anomalyd/+/command", reason="not_authorized")
    daemon.wait("broker_connected")
    wait_until(lambda: "refuses the subscription" in str(client.last("anomalyd/status")), "the status")
    assert client.last("anomalyd/status")["status"] == "degraded"
    send(client, 0, 5)
    wait_until(lambda: client.last("anomalyd/press/state"), "readings all the same")


def denying(folder: Path, topic: str) -> str:
    """A Mosquitto that refuses this subscription, and says so."""
    plugin = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")
    if not plugin.exists():
        pytest.skip("Mosquitto's dynamic security is not installed")
    kinds = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    deny = {"acltype": "subscribeLiteral", "topic": topic, "priority": 1, "allow": False}
    security = {
        "defaultACLAccess": dict.fromkeys(kinds, True),
        "groups": [{"groupname": "all", "roles": [{"rolename": "deny"}]}],
        "roles": [{"rolename": "deny", "acls": [deny]}],
        "anonymousGroup": "all",
    }
    file = folder / "security.json"
    file.write_text(json.dumps(security))
    return f"{OPEN}\nplugin {plugin}\nplugin_opt_config_file {file}"


@pytest.fixture
def hanging_up() -> Iterator[tuple[int, list[int]]]:
    """A broker that ends the connection at a second subscription; its port, and how many each one had."""
    server = socket.create_server(("127.0.0.1", 0))
    asked: list[int] = []

    def serve(channel: socket.socket) -> None:
        with channel, suppress(OSError):
            channel.recv(4096)
            channel.sendall(b"\x20\x03\x00\x00\x00")
            place = len(asked)
            asked.append(0)
            while packet := channel.recv(4096):
                if packet[0] == 0x82:  # SUBSCRIBE
                    asked[place] += 1
                    if asked[place] > 1:
                        return
                    channel.sendall(b"\x90\x04" + packet[2:4] + b"\x00\x01")

    def accept() -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1], asked
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_a_broker_that_hangs_up_at_commands_is_not_asked_for_them_each_time(
    tmp_path: Path, hanging_up: tuple[int, list[int]], run_daemon: Callable[..., Daemon]
) -> None:
    port, asked = hanging_up
    daemon = run_daemon(Setup(tmp_path, port).file)
    said = daemon.wait("subscription_refused", topic="anomalyd/+/command")
    assert said["reason"] == "it_hangs_up"
    wait_until(lambda: len(daemon.said("broker_connected")) >= 3, "a third connection")
    assert asked == [2, 2, 1]


def test_without_commands_nothing_is_subscribed_to_beside_the_readings(
    setup: Setup, client: Client, ready: Ready
) -> None:
    ready().end()
    setup.write(commands={"enabled": False})
    daemon = ready()
    daemon.wait("subscription_ended", topics=["anomalyd/+/command", "anomalyd/command"])
    send(client, 0, 5)
    say(client, PRESS, EXCLUDE)
    send(client, 5, 10)
    wait_until(lambda: client.last("anomalyd/press/state"), "the machine's state")
    assert client.messages(ANSWERS) == []
    assert daemon.said("message_refused") == []
