"""Encryption and client certificates against a real Mosquitto."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Setup
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until


@pytest.fixture
def tls_broker(new_broker: Callable[..., Broker], certificates: Path) -> Callable[[str], Broker]:
    """Starts a Mosquitto that shows a certificate and asks for one."""

    def start(name: str) -> Broker:
        return new_broker(
            f"cafile {certificates}/ca.crt\n"
            f"certfile {certificates}/{name}.crt\nkeyfile {certificates}/{name}.key\n"
            "require_certificate true\nuse_identity_as_username true\nallow_anonymous false"
        )

    return start


def tls(folder: Path, client: str, ca: str = "ca") -> dict[str, object]:
    return {
        "enabled": True,
        "ca_file": f"{folder}/{ca}.crt",
        "cert_file": f"{folder}/{client}.crt",
        "key_file": f"{folder}/{client}.key",
    }


def test_both_sides_show_a_certificate(
    tmp_path: Path,
    certificates: Path,
    tls_broker: Callable[[str], Broker],
    new_client: Callable[..., Client],
    run_daemon: Callable[..., Daemon],
) -> None:
    broker = tls_broker("server")
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "client.crt", certificates / "client.key")
    client = new_client(broker.port, "anomalyd/#", tls=context)
    setup = Setup(tmp_path, broker.port)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": tls(certificates, "client")})
    run_daemon(setup.file).wait("broker_connected")
    client.publish("plant/press/readings", b'{"flow": 1}')
    wait_until(lambda: client.last("anomalyd/press/state"), "the state")


@pytest.mark.parametrize(
    ("server", "client", "ca", "reason", "detail"),
    [
        ("server", "client", "stranger", "certificate_authority", "certificate verify failed"),
        ("expired", "client", "ca", "certificate_expired", "certificate has expired"),
        ("elsewhere", "client", "ca", "certificate_host", "Hostname mismatch"),
        ("server", "intruder", "ca", "own_certificate", "unknown ca"),
        ("server", "former", "ca", "own_certificate", "certificate expired"),
    ],
)
def test_a_wrong_certificate_is_refused_with_the_reason_and_tried_again(
    tmp_path: Path,
    certificates: Path,
    tls_broker: Callable[[str], Broker],
    run_daemon: Callable[..., Daemon],
    server: str,
    client: str,
    ca: str,
    reason: str,
    detail: str,
) -> None:
    broker = tls_broker(server)
    setup = Setup(tmp_path, broker.port)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": tls(certificates, client, ca)})
    daemon = run_daemon(setup.file)
    lost = daemon.wait("broker_lost", reason=reason)
    assert detail in lost["detail"]
    assert "certificate" in lost["hint"]
    assert daemon.said("broker_connected") == []
    assert daemon.end() == 0


@pytest.mark.parametrize("encrypted", [True, False], ids=["to a plain port", "to an encrypted port"])
def test_encryption_that_only_one_side_expects_is_hinted_at(
    tmp_path: Path,
    certificates: Path,
    tls_broker: Callable[[str], Broker],
    new_broker: Callable[..., Broker],
    run_daemon: Callable[..., Daemon],
    encrypted: bool,  # noqa: FBT001 - pytest hands it over
) -> None:
    broker = new_broker() if encrypted else tls_broker("server")
    setup = Setup(tmp_path, broker.port)
    options = {"tls": tls(certificates, "client")} if encrypted else {}
    setup.write(mqtt={"host": "localhost", "port": broker.port, **options})
    lost = run_daemon(setup.file).wait("broker_lost", reason="closed_unanswered")
    assert "mqtt.tls.enabled" in lost["hint"]
