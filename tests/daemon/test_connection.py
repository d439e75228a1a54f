"""Brokers that garble, refuse or do not answer: the connection comes back by itself and says why it went."""

from __future__ import annotations

import re
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
from tests.real_broker import Broker
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
    daemon.wait("broker_refused", reason="not_authorized")
    assert daemon.end() == 0
    secret.write_text("secret of daemon\n")
    daemon = run_daemon(file)
    daemon.wait("broker_connected")
    wait_until(lambda: client.last("anomalyd/status"), "the status")
    assert not any("secret of" in str(line) for line in daemon.log)
