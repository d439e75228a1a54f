"""Encryption and client certificates against a real Mosquitto."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Setup
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server's and a client's certificate, and those of a stranger."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for authority in ("ca", "stranger"):
        openssl(
            "req",
            "-x509",
            *key,
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.crt",
            "-subj",
            f"/CN={authority}",
        )
    for name, host, authority in (
        ("server", "localhost", "ca"),
        ("elsewhere", "elsewhere.invalid", "ca"),
        ("client", "anomalyd", "ca"),
        ("intruder", "anomalyd", "stranger"),
    ):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={host}",
            "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
        )  # fmt: skip
    return folder


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
    ("server", "client", "ca", "reason"),
    [
        ("server", "client", "stranger", "certificate verify failed: self-signed certificate"),
        ("elsewhere", "client", "ca", "Hostname mismatch"),
        ("server", "intruder", "ca", ""),  # the broker hangs up: what is seen of it varies
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
) -> None:
    broker = tls_broker(server)
    setup = Setup(tmp_path, broker.port)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "tls": tls(certificates, client, ca)})
    daemon = run_daemon(setup.file)
    assert reason in daemon.wait("broker_lost")["detail"]
    assert daemon.said("broker_connected") == []
    assert daemon.end() == 0
