"""What the doctor sees of the broker, and of what comes over it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from daemon.clock import now
from daemon.doctor import rivals
from daemon.intake import Message
from daemon.store import Store
from tests import plant
from tests.cli.conftest import Doctor, Ended, failed
from tests.conftest import Setup
from tests.real_broker import OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import free_port, wait_until


@pytest.fixture
def machine(broker: Broker, new_client: Callable[..., Client]) -> Iterator[Callable[..., None]]:
    """Publishes again and again what a machine sends, until the test is over."""
    client = new_client(broker.port)
    ended: list[bool] = []
    threads: list[Thread] = []

    def start(payload: Callable[[], object], name: str = "press") -> None:
        def send() -> None:
            while not ended:
                client.publish(f"plant/{name}/readings", json.dumps(payload()).encode())
                time.sleep(0.05)

        threads.append(Thread(target=send))
        threads[-1].start()

    yield start
    ended.append(True)
    for thread in threads:
        thread.join()


def healthy() -> dict[str, float]:
    return {"ts": now(), **dict.fromkeys(plant.SENSORS, 1.0)}


def test_beside_a_running_daemon_all_is_looked_at_and_nothing_is_disturbed(
    setup: Setup,
    client: Client,
    ready: Callable[[], Daemon],
    machine: Callable[..., None],
    doctor: Doctor,
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    machine(healthy)
    daemon.wait("state_changed")
    code, found = doctor(setup, "--thorough", wait=60)
    assert code == 0
    assert {
        *(
            "configuration",
            "directory",
            "disk",
            "store",
            "bundles",
            "retraining",
            "daemon",
            "clock",
            "open files",
        ),
        *("service", "name", "port", "encryption", "login", "protocol", "limits", "session", "subscription"),
        *(
            "broker",
            "alerts",
            "states",
            "sensor health",
            "drift",
            "status",
            "readings",
            "machine clocks",
            "daemons",
        ),
        "queue",
    } == found.keys()
    doubtful = {check for check, each in found.items() if each[0]["verdict"] != "ok"}
    assert doubtful <= {"clock", "service", "disk"}, "these are the host's"
    assert found["daemon"][0]["found"] == f"process {daemon.pid} runs"
    assert found["daemons"][0]["found"] == "anomalyd/status says online"
    assert found["bundles"][0]["found"] == "1 champion, loaded and tried"
    assert found["queue"][0]["found"] == "all of 1100 messages were kept for a client that was away"
    assert re.fullmatch(r"\d+ of press in \d+\.\d s", found["readings"][0]["found"])
    for kind in ("alert", "state", "sensor"):
        (marked,) = client.messages(f"anomalyd/anomalyd-doctor/{kind}")
        assert (marked["machine"], marked["self_test"]) == ("anomalyd-doctor", True)
    assert daemon.said("broker_lost") == []
    assert {status["status"] for status in client.messages("anomalyd/status")} == {"online"}


def test_without_readings_it_sends_one_itself_which_no_daemon_takes_for_a_machines(
    setup: Setup, client: Client, ready: Callable[[], Daemon], doctor: Doctor
) -> None:
    daemon = ready()
    code, found = doctor(setup)
    assert code == 0
    assert found["readings"][0]["verdict"] == "warning"
    assert "no machine sends" in found["readings"][0]["found"]
    assert daemon.wait("message_refused")["reason"] == "self_test"
    assert daemon.end() == 0
    store = Store(setup.state / "store.sqlite", read_only=True)
    assert store.machines() == ()
    assert store._database.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)
    store.close()
    assert client.messages("anomalyd/anomalyd-doctor/state")[1:] == []


def test_a_broker_that_cannot_be_reached_ends_with_69(tmp_path: Path, doctor: Doctor) -> None:
    setup = Setup(tmp_path, free_port())
    code, found = doctor(setup)
    assert code == 69
    assert "Connection refused" in found["port"][0]["found"]
    assert "mqtt.port" in found["port"][0]["change"]
    assert "login" not in found
    setup.write(mqtt={"host": "no-such-host.invalid"})
    code, found = doctor(setup)
    assert code == 69
    assert found["name"][0]["verdict"] == "failure"
    assert "mqtt.host" in found["name"][0]["change"]


def test_a_wrong_configuration_is_a_finding_in_json_and_ends_with_78(
    tmp_path: Path, doctor: Doctor, anomalyd: Callable[..., Ended]
) -> None:
    setup = Setup(tmp_path, 1)
    setup.write(mqtt={"prot": 1}, alerts={"open_after": 0})
    code, found = doctor(setup)
    assert code == 78
    assert [each["found"] for each in found["configuration"]] == [
        "mqtt.prot: unknown key, nearest known: mqtt.port, got 1 (line 3)",
        "alerts.open_after: must be at least 1, got 0 (line 2)",
    ] or len(found["configuration"]) == 2
    assert anomalyd("doctor", "--config", setup.file).code == 78


def test_a_certificate_that_cannot_be_read_is_a_mistake_of_the_configuration(
    tmp_path: Path, broker: Broker, doctor: Doctor
) -> None:
    setup = Setup(tmp_path, broker.port)
    tls = {"enabled": True, "ca_file": str(tmp_path / "none.crt")}
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": tls})
    code, found = doctor(setup)
    assert code == 78
    right, wrong = found["configuration"]
    assert (right["verdict"], wrong["verdict"]) == ("ok", "failure")
    assert "mqtt.tls.ca_file: must be a readable file of certificates" in wrong["found"]
    assert "port" in found, "what comes before is said"


TLS_BROKER = "cafile {0}/ca.crt\ncertfile {0}/{1}.crt\nkeyfile {0}/{1}.key\nrequire_certificate true\n"


def encrypted(folder: Path, client: str, ca: str) -> dict[str, object]:
    return {
        "enabled": True,
        "ca_file": f"{folder}/{ca}.crt",
        "cert_file": f"{folder}/{client}.crt",
        "key_file": f"{folder}/{client}.key",
    }


@pytest.mark.parametrize(
    ("server", "client", "ca", "found", "change"),
    [
        ("expired", "client", "ca", "certificate has expired", "renew the broker's certificate"),
        ("server", "client", "stranger", "certificate verify failed", "mqtt.tls.ca_file"),
        ("elsewhere", "client", "ca", "it shows one for elsewhere.invalid by ca", "mqtt.host"),
        ("server", "intruder", "ca", "unknown ca", "mqtt.tls.cert_file"),
        ("server", "former", "ca", "certificate expired", "mqtt.tls.cert_file"),
    ],
)
def test_a_wrong_certificate_is_named_with_what_to_change(
    tmp_path: Path,
    certificates: Path,
    new_broker: Callable[..., Broker],
    doctor: Doctor,
    server: str,
    client: str,
    ca: str,
    found: str,
    change: str,
) -> None:
    broker = new_broker(f"{OPEN}\n{TLS_BROKER.format(certificates, server)}")
    setup = Setup(tmp_path, broker.port)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": encrypted(certificates, client, ca)})
    code, findings = doctor(setup)
    assert code == 69
    (encryption,) = findings["encryption"]
    assert found in encryption["found"]
    assert change in encryption["change"]
    ours = findings["certificate"][0]
    assert ours["verdict"] == ("failure" if client == "former" else "ok")


def test_a_certificate_that_ends_soon_is_a_warning_with_its_day(
    tmp_path: Path, certificates: Path, new_broker: Callable[..., Broker], doctor: Doctor
) -> None:
    broker = new_broker(f"{OPEN}\n{TLS_BROKER.format(certificates, 'expiring')}")
    setup = Setup(tmp_path, broker.port)
    tls = encrypted(certificates, "client", "ca")
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": tls})
    code, found = doctor(setup)
    assert code == 0
    assert found["encryption"][0]["found"] == "TLSv1.3"
    theirs, ours = found["certificate"]
    assert re.fullmatch(
        r"the broker's, for localhost by ca, until \d{4}-\d\d-\d\d: (9|10) days are left", theirs["found"]
    )
    assert (theirs["verdict"], ours["verdict"]) == ("warning", "ok")


@pytest.fixture
def guarded(tmp_path: Path, new_broker: Callable[..., Broker]) -> Callable[[str], Setup]:
    """Starts a broker that lets the user daemon do what is listed and no more; returns a configuration."""

    def start(permissions: str, options: str = "", **mqtt: object) -> Setup:
        passwords, file = tmp_path / "passwords", tmp_path / "permissions"
        passwords.touch()
        subprocess.run(["mosquitto_passwd", "-b", passwords, "daemon", "right"], check=True)
        file.write_text(f"user daemon\n{permissions}\n")
        file.chmod(0o600)
        secret = tmp_path / "secret"
        secret.write_text("right\n")
        broker = new_broker(f"allow_anonymous false\npassword_file {passwords}\nacl_file {file}\n{options}")
        setup = Setup(tmp_path, broker.port)
        user = {"username": "daemon", "password_file": str(secret)}
        setup.write(mqtt={"host": "localhost", "port": broker.port, **user, **mqtt})
        return setup

    return start


def test_a_wrong_password_is_a_login_that_fails(
    tmp_path: Path, guarded: Callable[..., Setup], doctor: Doctor
) -> None:
    setup = guarded("topic readwrite #")
    (tmp_path / "secret").write_text("wrong\n")
    code, found = doctor(setup)
    assert code == 1
    assert found["login"][0]["found"] == "the broker refuses daemon: Not authorized"
    assert "mqtt.password_file" in found["login"][0]["change"]


def test_a_publication_that_is_denied_is_told_apart_from_those_that_are_not(
    guarded: Callable[..., Setup], doctor: Doctor
) -> None:
    setup = guarded("topic read plant/+/readings\ntopic write anomalyd/+/state\ntopic write anomalyd/status")
    code, found = doctor(setup)
    assert code == 1
    assert failed(found) == {"alerts", "drift", "sensor health"}
    assert "let user daemon write anomalyd/+/sensor" in found["sensor health"][0]["change"]
    assert found["alerts"][0] == {
        "check": "alerts",
        "verdict": "failure",
        "found": "the broker refuses anomalyd/anomalyd-doctor/alert: Not authorized",
        "change": (
            "let user daemon write anomalyd/+/alert (Mosquitto, acl_file: topic write anomalyd/+/alert)"
        ),
    }
    assert "we may not read it, and need not" in found["states"][0]["found"]


def test_who_logs_in_without_a_name_is_called_so(guarded: Callable[..., Setup], doctor: Doctor) -> None:
    setup = guarded("topic readwrite #", username=None, password_file=None)
    _, found = doctor(setup)
    assert found["login"][0]["found"] == "the broker refuses clients without a user name: Not authorized"


@pytest.mark.parametrize(
    ("permissions", "verdict", "words"),
    [
        ("topic write plant/+/readings", "failure", "not even what we sent there ourselves"),
        ("", "warning", "either no machine sends, or the broker denies reading without saying so"),
    ],
)
def test_readings_that_are_granted_and_withheld_are_found_out_by_a_message_to_itself(
    guarded: Callable[..., Setup], doctor: Doctor, permissions: str, verdict: str, words: str
) -> None:
    _, found = doctor(guarded(f"topic readwrite anomalyd/#\n{permissions}"))
    assert found["subscription"][0]["verdict"] == "ok", "as Mosquitto says"
    (readings,) = found["readings"]
    assert readings["verdict"] == verdict
    assert words in readings["found"]
    assert "topic read plant/+/readings" in readings["change"]


def test_by_mqtt_3_what_is_denied_cannot_be_told_and_is_a_warning(
    guarded: Callable[..., Setup], doctor: Doctor
) -> None:
    setup = guarded("topic readwrite anomalyd/+/state", version="3.1.1")
    code, found = doctor(setup)
    assert (code, failed(found)) == (0, set()), found
    assert found["protocol"][0]["change"] == "set mqtt.version: 5, which this broker knows"
    assert found["session"][0]["verdict"] == "ok"
    assert found["states"][0]["verdict"] == "ok"
    assert found["alerts"][0]["verdict"] == "warning"


@pytest.mark.parametrize(
    ("options", "check", "verdict", "words"),
    [
        ("max_qos 0", "login", "failure", "max_qos"),
        ("retain_available false", "login", "failure", "retain_available"),
        ("max_packet_size 600", "limits", "warning", "max_packet_size"),
    ],
)
def test_limits_of_the_broker_that_are_too_narrow_are_named_by_its_option(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    doctor: Doctor,
    options: str,
    check: str,
    verdict: str,
    words: str,
) -> None:
    setup = Setup(tmp_path, new_broker(f"{OPEN}\n{options}").port)
    plant.promote(setup.state)
    _, found = doctor(setup)
    assert found[check][0]["verdict"] == verdict
    assert words in found[check][0]["change"]


def test_messages_that_the_broker_drops_for_a_client_that_is_away_are_counted(
    tmp_path: Path, new_broker: Callable[..., Broker], doctor: Doctor
) -> None:
    setup = Setup(tmp_path, new_broker(f"{OPEN}\nmax_queued_messages 500").port)
    code, found = doctor(setup, "--thorough")
    assert code == 1
    assert re.match(r"5\d\d of 1100 messages were kept", found["queue"][0]["found"])
    assert "max_queued_messages 0" in found["queue"][0]["change"]


@pytest.mark.parametrize(
    ("connack", "verdict", "words"),
    [
        (b"\x20\x03\x00\x00\x00", "failure", "forgotten"),
        (b"\x20\x08\x01\x00\x05\x11\x00\x00\x0e\x10", "warning", "kept for 1h, of the 7d asked for"),
    ],
)
def test_a_session_that_is_not_kept_or_not_long_is_said(
    tmp_path: Path, doctor: Doctor, connack: bytes, verdict: str, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def broker() -> None:
            """Accepts everybody and answers nothing else."""
            held = []
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    break
                if held[-1].recv(4096):
                    held[-1].sendall(connack)
            for channel in held:
                channel.close()

        thread = Thread(target=broker)
        thread.start()
        setup = Setup(tmp_path, 1)
        setup.write(mqtt={"host": "127.0.0.1", "port": server.getsockname()[1], "connect_timeout": "500ms"})
        _, found = doctor(setup)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert found["session"][0]["verdict"] == verdict
    assert words in found["session"][0]["found"]


def test_what_machines_send_is_looked_at(setup: Setup, machine: Callable[..., None], doctor: Doctor) -> None:
    plant.promote(setup.state)
    machine(lambda: {"ts": "yesterday", "flow": 1}, "old")
    machine(lambda: {"ts": now() + 7_200_000, "flow": 1}, "early")
    machine(lambda: {"ts": now(), "Flow": 1}, "misspelt")
    code, found = doctor(setup, wait=60)
    assert code == 1
    assert "bad_time" in found["payloads"][0]["found"]
    assert "early: ahead of this host's clock by 7200 s" in found["machine clocks"][0]["found"]
    strange, lacking = found["sensors"]
    assert strange["found"].endswith("sent by misspelt: Flow, not flow, pressure, temperature")
    assert lacking["found"] == "nothing was sent of early: pressure, temperature"
    assert failed(found) == {"machine clocks", "sensors"}


def test_a_daemon_elsewhere_that_says_the_same_status_is_a_warning(
    setup: Setup, client: Client, new_client: Callable[..., Client], doctor: Doctor
) -> None:
    other = new_client(setup.settings.mqtt.broker_port)
    other._client.publish("anomalyd/status", b'{"status": "online", "version": "1"}', qos=1, retain=True)
    wait_until(lambda: client.messages("anomalyd/status"), "the status")
    code, found = doctor(setup)
    assert code == 0
    assert found["daemons"][0]["verdict"] == "warning"
    assert "another one does, elsewhere" in found["daemons"][0]["found"]
    said = client.messages("anomalyd/status")
    assert {status["status"] for status in said} == {"online"}, "nothing false is said"


def test_a_daemon_that_restarts_while_it_is_listened_to_is_no_rivalry(tmp_path: Path) -> None:
    def status(number: int, *, retained: bool = False) -> Message:
        word = b"offline" if number == 1 else b"online"
        payload = b'{"status": "%b", "at": "%d", "version": "1"}' % (word, number)
        return Message("anomalyd/status", payload, 0, 1, number, 0, retained)

    settings = Setup(tmp_path, 1).settings
    known = [status(0, retained=True), status(0)]  # the doctor says what is known again
    calm = rivals.examine(settings, [*known, status(1), status(2)], running=True)
    assert (calm.verdict, calm.found) == ("ok", "anomalyd/status says online")
    fight = rivals.examine(settings, [*known, status(1), status(2), status(3)], running=True)
    assert (fight.verdict, fight.found.split(":")[0]) == ("failure", "anomalyd/status was announced 3 times")


def test_two_daemons_that_throw_each_other_out_are_seen(
    tmp_path: Path, broker: Broker, run_daemon: Callable[..., Daemon], doctor: Doctor
) -> None:
    setups = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        setups.append(Setup(tmp_path / name, broker.port))
        run_daemon(setups[-1].file).wait("broker_connected")
    code, found = doctor(setups[0], wait=8)
    assert code == 1
    assert "two daemons seem to throw each other out" in found["daemons"][0]["found"]
    assert "mqtt.client_id" in found["daemons"][0]["change"]
