"""Debian's mosquitto accepts the shipped configuration and lets in only who has a password."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

CONFIGURATION = Path(__file__).parents[2] / "mosquitto" / "mosquitto.conf"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
PATIENCE = 20  # seconds; reached only when something is broken

pytestmark = pytest.mark.skipif(
    MOSQUITTO is None,
    reason="mosquitto is not installed (run: make mosquitto)",
)


def wait_for(port: int, broker: subprocess.Popen[bytes]) -> None:
    while True:
        assert broker.poll() is None, "mosquitto refused its configuration"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A mosquitto with the shipped configuration, but for the port and the folder of the passwords."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    passwords = tmp_path / "passwd"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "anomalyd", "right"], check=True)
    text = CONFIGURATION.read_text(encoding="utf-8")
    text = text.replace("\nlistener 1883\n", f"\nlistener {port} 127.0.0.1\n")
    text = text.replace(
        "\npassword_file /etc/mosquitto/passwd\n", f"\npassword_file {passwords}\nuser root\n"
    )
    (tmp_path / "mosquitto.conf").write_text(text, encoding="utf-8")
    assert MOSQUITTO is not None
    with subprocess.Popen([MOSQUITTO, "-c", tmp_path / "mosquitto.conf"], cwd=tmp_path) as broker:
        try:
            wait_for(port, broker)
            yield port
        finally:
            broker.kill()  # it has nothing to write down


def answer(port: int, username: str | None, password: str | None) -> str:
    """The broker's word on a connection."""
    words: Queue[str] = Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set(username, password)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: words.put(str(reason))
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return words.get(timeout=PATIENCE)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize(
    ("username", "password", "word"),
    [
        ("anomalyd", "right", "Success"),
        ("anomalyd", "wrong", "Not authorized"),
        (None, None, "Not authorized"),
    ],
)
def test_only_who_knows_the_password_is_let_in(
    port: int, username: str | None, password: str | None, word: str
) -> None:
    assert answer(port, username, password) == word
