"""A real process from start to end: one for each state directory, stopped, killed, reloaded."""

from __future__ import annotations

import fcntl
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from daemon.locking import StateLock
from daemon.service import ALIVE
from tests import plant
from tests.conftest import Setup
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import free_port, wait_until

STATUS = "anomalyd/status"
Ready = Callable[[], Daemon]


def test_a_second_daemon_on_the_same_state_directory_is_refused(
    setup: Setup, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    first = ready()
    second = run_daemon(setup.file)
    assert second.code() == 1
    (words,) = second.words()
    assert words == (
        f"anomalyd: {setup.state}: must be used by one daemon only, got a second; "
        f"process {first.pid} holds it. Stop that one or give this one a state_dir of its own"
    )
    assert first.running
    first.kill()
    ready()


def test_a_doctor_that_looks_at_the_lock_when_a_daemon_starts_is_no_second_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = (tmp_path / "daemon.lock").open("w+")
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr("daemon.locking.time.sleep", lambda _: look.close())  # it goes meanwhile
    StateLock(tmp_path).release()
    assert look.closed


def test_a_bad_configuration_ends_with_78_and_every_problem(
    setup: Setup, run_daemon: Callable[..., Daemon]
) -> None:
    setup.write(alerts={"open_after": 0}, readings={"topic": "a/b"})
    daemon = run_daemon(setup.file)
    assert daemon.code() == 78
    text = "\n".join(daemon.words())
    assert "alerts.open_after" in text
    assert "readings.topic" in text


@pytest.mark.parametrize("option", ["ca_file", "cert_file"])
def test_a_missing_certificate_is_a_configuration_error_that_names_it(
    setup: Setup, run_daemon: Callable[..., Daemon], option: str
) -> None:
    files = {"cert_file": "/nowhere/a.pem", "key_file": "/nowhere/a.key"} if option == "cert_file" else {}
    files |= {"ca_file": "/nowhere/a.pem"} if option == "ca_file" else {}
    setup.write(mqtt={"host": "localhost", "tls": {"enabled": True, **files}})
    daemon = run_daemon(setup.file)
    assert daemon.code() == 78
    (text,) = daemon.words()
    assert text.startswith(f"anomalyd: mqtt.tls.{option}: must be a readable")
    assert text.endswith("No such file or directory, got /nowhere/a.pem")


@pytest.mark.parametrize(
    ("host", "reason"),
    [("localhost", "connection_refused"), ("no-such-host.invalid", "name_not_resolved")],
)
def test_without_a_broker_the_daemon_says_why_and_keeps_trying_and_can_be_stopped(
    setup: Setup, run_daemon: Callable[..., Daemon], host: str, reason: str
) -> None:
    setup.write(mqtt={"host": host, "port": free_port()})
    daemon = run_daemon(setup.file)
    daemon.wait("broker_lost", host=host, reason=reason)
    started = time.monotonic()
    assert daemon.end() == 0
    assert time.monotonic() - started < 5


def test_the_daemon_connects_once_the_broker_is_there(
    tmp_path: Path, run_daemon: Callable[..., Daemon], broker: Broker, setup: Setup
) -> None:
    broker.stop()
    daemon = run_daemon(setup.file)
    daemon.wait("broker_lost")
    broker.start()
    daemon.wait("broker_connected")


def test_a_daemon_that_is_asked_to_stop_says_good_bye_within_five_seconds(
    setup: Setup, client: Client, ready: Ready
) -> None:
    bundle = plant.promote(setup.state).name
    daemon = ready()
    online = wait_until(lambda: client.last(STATUS), "the status")
    assert (online["status"], online["champions"]["shared"]) == ("online", bundle)
    for number in (signal.SIGTERM, signal.SIGINT):
        started = time.monotonic()
        assert daemon.end(number) == 0
        assert time.monotonic() - started < 5
        wait_until(lambda: client.last(STATUS)["status"] == "offline", "the good-bye")
        daemon = ready()
        wait_until(lambda: client.last(STATUS)["status"] == "online", "the status")


def test_a_daemon_whose_broker_and_store_do_not_answer_stops_within_five_seconds(
    setup: Setup, client: Client, ready: Ready, broker: Broker
) -> None:
    daemon = ready()
    client.publish("plant/press/readings", b'{"flow": 1}')
    daemon.wait("state_changed")
    with closing(sqlite3.connect(setup.state / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        client.publish("plant/press/readings", b'{"flow": 2}')
        daemon.wait("store_failed")
        broker.send(signal.SIGSTOP)
        started = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - started < 5


def test_a_daemon_shows_that_it_is_alive(setup: Setup, ready: Ready) -> None:
    ready()
    file = setup.state / ALIVE
    seen = wait_until(lambda: file.exists() and file.stat().st_mtime_ns, "a sign of life")
    wait_until(lambda: file.stat().st_mtime_ns > seen, "another")


def test_readings_of_a_former_topic_are_no_longer_taken(setup: Setup, client: Client, ready: Ready) -> None:
    ready().end()
    setup.write(readings={"topic": "site/{machine}/readings"})
    daemon = ready()
    assert daemon.wait("subscription_ended")["topics"] == ["plant/+/readings"]
    for topic in ("plant/press/readings", "site/press/readings"):
        client.publish(topic, b'{"flow": 1}')
    wait_until(lambda: client.last("anomalyd/press/state"), "the state")
    assert daemon.said("message_refused") == []
    daemon.end()
    daemon = ready()
    wait_until(lambda: client.last(STATUS)["status"] == "online", "the status")
    daemon.end()
    assert daemon.said("subscription_ended") == []


def test_the_broker_says_good_bye_for_a_daemon_that_was_killed(
    setup: Setup, client: Client, ready: Ready
) -> None:
    daemon = ready()
    wait_until(lambda: client.last(STATUS), "the status")
    daemon.kill()
    offline = wait_until(
        lambda: client.last(STATUS)["status"] == "offline" and client.last(STATUS), "the will"
    )
    assert set(offline) == {"status", "at", "version", "champions"}


def test_a_good_file_changes_the_running_daemon(setup: Setup, client: Client, ready: Ready) -> None:
    plant.promote(setup.state)
    setup.write(alerts={"open_after": 40, "open_within": 40})
    daemon = ready()
    readings = plant.messages(plant.history(100, faults=[range(10, 100)]))
    for topic, payload in readings[:30]:
        client.publish(topic, payload)
    daemon.wait("state_changed", state="normal")
    setup.write(
        alerts={"open_after": 2, "open_within": 2, "topic": "other/{machine}"}, log={"level": "debug"}
    )
    daemon.send(signal.SIGHUP)
    daemon.wait("configuration_reloaded", file=str(setup.file))
    assert client.messages("anomalyd/press/alert") == []
    for topic, payload in readings[30:]:
        client.publish(topic, payload)
    daemon.wait("alert_opened", machine="press")
    assert (
        daemon.said("state_changed", state="warming_up")
        == daemon.said("state_changed", state="warming_up")[:1]
    )


def test_a_bad_file_changes_nothing_and_every_problem_is_said(
    setup: Setup, client: Client, ready: Ready
) -> None:
    daemon = ready()
    setup.write(alerts={"open_after": 0}, readings={"lateness": "soon"})
    daemon.send(signal.SIGHUP)
    problems = daemon.wait("reload_refused")["problems"]
    assert [problem.split(":")[0] for problem in problems] == ["alerts.open_after", "readings.lateness"]
    client.publish("plant/press/readings", b'{"flow": 1}')
    daemon.wait("state_changed", machine="press", state="learning")


def test_what_a_connection_was_made_with_needs_a_restart(setup: Setup, ready: Ready) -> None:
    daemon = ready()
    port = setup.settings.mqtt.port
    setup.write(mqtt={"host": "localhost", "port": port, "client_id": "other"}, status={"topic": "elsewhere"})
    daemon.send(signal.SIGHUP)
    assert daemon.wait("reload_refused")["problems"] == [
        "mqtt: needs a restart to change",
        "status: needs a restart to change",
    ]
    assert daemon.running


def test_systemd_is_told_that_the_daemon_is_ready_alive_and_stopping(
    tmp_path: Path, setup: Setup, run_daemon: Callable[..., Daemon]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(30)
        daemon = run_daemon(setup.file, NOTIFY_SOCKET=str(tmp_path / "notify"))
        said = [channel.recv(100).decode() for _ in range(3)]
        assert said == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        assert daemon.end() == 0
        while said[-1] == "WATCHDOG=1":
            said.append(channel.recv(100).decode())
        assert said[-1] == "STOPPING=1"


def test_the_daemon_is_small_and_loads_none_of_the_trainer(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    for topic, payload in plant.messages(plant.history(50)):
        client.publish(topic, payload)
    daemon.wait("state_changed", state="normal")
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "ai_edge_litert" in maps
    for library in ("tensorflow/", "keras/", "pandas/", "sklearn/", "pyarrow/"):
        assert library not in maps
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 100 * 1024, "kB"


def test_running_imports_none_of_the_trainer() -> None:
    script = (
        "import sys, cli.main, daemon.assembly; "
        "print({'tensorflow', 'keras', 'pandas', 'sklearn', 'pyarrow', 'trainer'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
