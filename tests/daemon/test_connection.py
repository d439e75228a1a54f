"""Brokers that garble, refuse or do not answer: the connection comes back by itself and says why it went."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
import yaml

from daemon import service
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.real_broker import OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Script = Callable[[bytes], Callable[..., int]]
ACCEPTED_5, ACCEPTED_3 = b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Callable[..., list[bytes]]]:
    """A broker that answers each connection with the same bytes; returns what it was sent first each time."""
    server = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []
    held: list[socket.socket] = []

    def listen(answer: bytes) -> list[bytes]:
        def serve() -> None:
            while True:
                try:
                    channel, _ = server.accept()
                except OSError:
                    return
                held.append(channel)
                heard.append(channel.recv(4096))
                channel.sendall(answer)

        Thread(target=serve, daemon=True).start()
        return heard

    listen.port = server.getsockname()[1]  # type: ignore[attr-defined]
    yield listen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    for channel in held:
        channel.close()


def config(folder: Path, port: int, **mqtt: object) -> Path:
    file = folder / "anomalyd.yaml"
    options = {"state_dir": str(folder / "state"), "mqtt": {"host": "127.0.0.1", "port": port, **mqtt}}
    file.write_text(yaml.safe_dump(options))
    return file


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x30\x02\xff\xff",  # a topic longer than its packet
        b"\x32\x07\x00\x01a\x00\x01\xff\xff",  # a property that does not exist
        b"\x20\x03\x00\x00\x00" * 2,  # accepted again and again
    ],
)
def test_garbled_bytes_cost_a_connection_and_not_the_daemon(
    tmp_path: Path, answers: Callable[[bytes], list[bytes]], run_daemon: Callable[..., Daemon], garbage: bytes
) -> None:
    heard = answers(ACCEPTED_5 + garbage + b"\x30\x02\xff\xff")
    daemon = run_daemon(config(tmp_path, answers.port))  # type: ignore[attr-defined]
    daemon.wait("broker_lost", reason="protocol_error")
    wait_until(lambda: len(heard) >= 2, "connections")
    assert all(first.startswith(b"\x10") for first in heard)
    assert daemon.end() == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\x20\x02\x00\x01", "unsupported_protocol_version"),  # as a broker of MQTT 3.1.1 says it
        (b"\x20\x03\x00\x88\x00", "server_unavailable"),
    ],
)
def test_a_broker_that_refuses_is_asked_again_and_its_reason_logged(
    tmp_path: Path,
    answers: Callable[[bytes], list[bytes]],
    run_daemon: Callable[..., Daemon],
    answer: bytes,
    reason: str,
) -> None:
    heard = answers(answer)
    daemon = run_daemon(config(tmp_path, answers.port))  # type: ignore[attr-defined]
    daemon.wait("broker_refused", reason=reason)
    wait_until(lambda: len(heard) >= 2, "a second attempt")
    assert daemon.end() == 0


def test_a_session_that_survives_is_asked_for(
    tmp_path: Path, answers: Callable[[bytes], list[bytes]], run_daemon: Callable[..., Daemon]
) -> None:
    heard = answers(ACCEPTED_5)
    run_daemon(config(tmp_path, answers.port, session_expiry="1h"))  # type: ignore[attr-defined]
    connect = wait_until(lambda: heard, "a connection")[0]
    flags = connect[9]
    assert flags & 0b10 == 0, "no clean start"
    assert b"\x11\x00\x00\x0e\x10" in connect, "session expiry of 3,600 s"
    assert b"\x21\x03\xe8" in connect, "receive maximum of 1,000"


def test_a_daemon_stops_in_time_while_the_broker_does_not_answer(
    tmp_path: Path, run_daemon: Callable[..., Daemon]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as waiting:
        port = server.getsockname()[1]
        waiting.connect(("127.0.0.1", port))  # fills the queue: who comes next is not even let in
        daemon = run_daemon(config(tmp_path, port, connect_timeout="60s"))
        wait_until(lambda: _knocks(port), "an attempt to connect")
        started = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - started < 5


def _knocks(port: int) -> bool:
    """Whether somebody on this host has asked for a connection to the port and waits for the answer."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


def test_a_refused_subscription_is_a_problem_until_it_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RESUBSCRIBE", 0.1)
    words: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def broker() -> None:
            """Refuses the first subscription and grants the second; notes what the status says."""
            answers = [b"\x87", b"\x01"]
            with server.accept()[0] as channel:
                channel.recv(4096)
                channel.sendall(ACCEPTED_5)
                while data := channel.recv(65_536):
                    if data[0] == 0x82:  # SUBSCRIBE
                        channel.sendall(b"\x90\x04" + data[2:4] + b"\0" + answers.pop(0))
                    words.extend(re.findall(r'"(?:status|problem)":"(.*?)"', data.decode(errors="replace")))

        thread = Thread(target=broker)
        thread.start()
        with running(config(tmp_path, server.getsockname()[1])):
            wait_until(lambda: "online" in words, "the subscription")
        thread.join()
    assert words[:3] == [
        "degraded",
        "the broker refuses the subscription to plant/+/readings: Not authorized",
        "online",
    ]


def test_a_lost_session_is_said(
    setup: Setup, client: Client, ready: Callable[[], Daemon], broker: Broker
) -> None:
    daemon = ready()
    client.publish("plant/press/readings", b'{"flow": 1}')
    daemon.wait("state_changed")
    assert daemon.said("session_lost") == []
    broker.kill()
    (broker.folder / "mosquitto.db").unlink(missing_ok=True)
    broker.start()
    daemon.wait("session_lost")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_daemons_of_one_name_say_so_and_one_gives_way(
    tmp_path: Path, client: Client, broker: Broker, run_daemon: Callable[..., Daemon], version: str
) -> None:
    daemons = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        daemons.append(run_daemon(config(tmp_path / name, broker.port, version=version)))
    told = wait_until(
        lambda: [line for each in daemons for line in each.said("broker_lost", reason="cut_repeatedly")],
        "the suspicion",
    )
    assert "mqtt.client_id" in told[0]["hint"]
    problem = (
        "the broker ends the connections of anomalyd: probably another client uses the same mqtt.client_id: "
        "give each daemon its own; the broker's log tells"
    )
    wait_until(
        lambda: any(status.get("problem") == problem for status in client.messages("anomalyd/status")),
        "the status",
    )
    wait_until(
        lambda: any(len(each.said("broker_lost", reason="cut_repeatedly")) >= 3 for each in daemons),
        "one that waits longer",
    )


def test_a_session_that_is_taken_over_is_a_problem_with_its_reason_and_the_wait_grows(
    tmp_path: Path, answers: Callable[[bytes], list[bytes]], run_daemon: Callable[..., Daemon]
) -> None:
    heard = answers(ACCEPTED_5 + b"\xe0\x02\x8e\x00")
    daemon = run_daemon(config(tmp_path, answers.port, client_id="hall-2"))  # type: ignore[attr-defined]
    lost = daemon.wait("broker_lost", reason="session_taken_over")
    assert lost["hint"] == "another client uses the same mqtt.client_id: give each daemon its own"
    started = time.monotonic()
    wait_until(lambda: len(heard) >= 4, "more attempts")
    assert time.monotonic() - started >= 1 + 2 + 4 - 1.5  # else it is the usual second each time


def test_a_user_needs_the_right_password(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch()
    for name in ("daemon", "test"):
        subprocess.run(["mosquitto_passwd", "-b", passwords, name, f"secret of {name}"], check=True)
    broker = new_broker(f"allow_anonymous false\npassword_file {passwords}")
    client = new_client(broker.port, "anomalyd/#", username="test", password="secret of test")
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    file = config(tmp_path, broker.port, username="daemon", password_file=str(secret))
    daemon = run_daemon(file)
    refused = daemon.wait("broker_refused", reason="not_authorized")
    assert refused["detail"] == "Not authorized"
    assert "mqtt.password_file" in refused["hint"]
    assert daemon.end() == 0
    secret.write_text("secret of daemon\n")
    daemon = run_daemon(file)
    daemon.wait("broker_connected")
    wait_until(lambda: client.last("anomalyd/status"), "the status")
    assert not any("secret of" in str(line) for line in daemon.log)


@pytest.mark.parametrize(
    ("option", "reason"),
    [("max_qos 0", "qos_not_supported"), ("retain_available false", "retain_not_supported")],
)
def test_a_broker_that_cannot_confirm_or_keep_what_is_published_is_refused_with_its_option(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    run_daemon: Callable[..., Daemon],
    option: str,
    reason: str,
) -> None:
    broker = new_broker(f"{OPEN}\n{option}")
    refused = run_daemon(config(tmp_path, broker.port)).wait("broker_refused", reason=reason)
    assert option.split(maxsplit=1)[0] in refused["hint"]


def test_the_limits_of_the_broker_are_heeded_and_said(
    tmp_path: Path, new_broker: Callable[..., Broker], run_daemon: Callable[..., Daemon]
) -> None:
    broker = new_broker(f"{OPEN}\nmax_inflight_messages 5\nmax_packet_size 2000\nmax_keepalive 20")
    connected = run_daemon(config(tmp_path, broker.port)).wait("broker_connected")
    assert (connected["receive_maximum"], connected["maximum_packet_size"]) == (5, 2000)


def test_a_session_that_the_broker_keeps_shorter_than_asked_is_said(
    tmp_path: Path, answers: Callable[[bytes], list[bytes]], run_daemon: Callable[..., Daemon]
) -> None:
    granted = b"\x20\x08\x00\x00\x05\x11\x00\x00\x0e\x10"
    answers(granted + b"\x90\x04\x00\x01\x00\x01")
    daemon = run_daemon(config(tmp_path, answers.port))  # type: ignore[attr-defined]
    said = daemon.wait("session_shortened")
    assert (said["asked"], said["granted"]) == (7 * 86_400, 3600)


def test_readings_that_the_broker_withholds_are_missed_and_a_problem_until_one_comes(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    permissions = tmp_path / "permissions"
    rest = "user test\ntopic readwrite #\nuser daemon\ntopic readwrite anomalyd/#\n"
    permissions.write_text(rest)
    permissions.chmod(0o600)
    broker = new_broker(f"{OPEN}\nacl_file {permissions}")
    client = new_client(broker.port, "anomalyd/#", username="test")
    setup = Setup(tmp_path, broker.port)
    mqtt = {"host": "localhost", "port": broker.port, "username": "daemon"}
    setup.write(mqtt=mqtt, alerts={"silent_after": "2s"}, readings={"interval": "1s"})
    daemon = run_daemon(setup.file)
    daemon.wait("broker_connected")
    assert daemon.said("subscription_refused") == [], "the broker grants it all the same"
    client.publish("plant/press/readings", b'{"flow": 1}')
    missing = daemon.wait("readings_missing", topic="plant/+/readings")
    assert "anomalyd doctor" in missing["hint"]

    def problem() -> str:
        return str((client.last("anomalyd/status") or {}).get("problem"))

    wait_until(
        lambda: problem().startswith("nothing has come on plant/+/readings since connecting"), "the problem"
    )
    permissions.write_text(f"{rest}topic read plant/+/readings\n")
    broker.send(signal.SIGHUP)  # it reads them again

    def recovered() -> bool:
        client.publish("plant/press/readings", b'{"flow": 1}')
        return problem() == "None"

    wait_until(recovered, "the recovery")
    assert len(daemon.said("readings_missing")) == 1


def test_a_broker_that_hangs_up_at_each_refusal_is_not_taken_for_a_rival(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    permissions = tmp_path / "permissions"
    every = "topic readwrite #"
    permissions.write_text(f"{every}\nuser daemon\n{every}\ntopic deny anomalyd/+/state\n")
    permissions.chmod(0o600)
    broker = new_broker(f"{OPEN}\nacl_file {permissions}")
    client = new_client(broker.port)
    daemon = run_daemon(config(tmp_path, broker.port, username="daemon"))
    daemon.wait("broker_connected")
    topics = {f"anomalyd/m{n}/state" for n in range(12)}
    for n in range(12):
        client.publish(f"plant/m{n}/readings", b'{"flow": 1}')
    wait_until(lambda: {line["topic"] for line in daemon.said("publication_refused")} == topics, "refusals")
    assert daemon.said("broker_lost", reason="cut_repeatedly") == []
