"""What tests of running processes share: a real Mosquitto, a real daemon, a client that records."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from config import Settings, load
from tests import certificates as authorities
from tests.real_broker import MOSQUITTO, OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon

# No test depends on how fast the machine is.
settings.register_profile("anomalyd", deadline=None)
settings.load_profile("anomalyd")

# A shell that starts the suite in the background has Ctrl-C ignored, and every process inherits it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def new_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts a Mosquitto with the given options."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (run: make mosquitto)")
    brokers: list[Broker] = []

    def start(options: str = OPEN) -> Broker:
        broker = Broker(tmp_path / f"broker-{len(brokers)}", options)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(new_broker: Callable[..., Broker], request: pytest.FixtureRequest) -> Broker:
    """A Mosquitto that lets everybody in, or with the options that it is parametrized with."""
    return new_broker(getattr(request, "param", OPEN))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of `tests.certificates`."""
    folder = tmp_path_factory.mktemp("certificates")
    authorities.make(folder)
    return folder


@pytest.fixture
def new_client() -> Iterator[Callable[..., Client]]:
    """Connects a client to a port, with a session that survives."""
    clients: list[Client] = []

    def connect(port: int, *topics: str, **options: Any) -> Client:  # noqa: ANN401 - handed on
        clients.append(Client(port, *topics, name=f"test-{len(clients)}", **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(broker: Broker, new_client: Callable[..., Client]) -> Client:
    """A client that records all that the daemon publishes."""
    return new_client(broker.port, "anomalyd/#")


class Setup:
    """The configuration of one daemon and its state directory."""

    def __init__(self, folder: Path, port: int) -> None:
        self.file = folder / "anomalyd.yaml"
        self.state = folder / "state"
        self._options: dict[str, Any] = {
            "state_dir": str(self.state),
            "mqtt": {"host": "localhost", "port": port},
        }
        self.write()

    def write(self, **sections: Any) -> None:  # noqa: ANN401 - as YAML has it
        """Writes the file anew with these sections in place of the former ones."""
        self._options |= sections
        self.file.write_text(yaml.safe_dump(self._options))

    @property
    def settings(self) -> Settings:
        """What the daemon reads."""
        return load(self.file, {})


@pytest.fixture
def setup(tmp_path: Path, broker: Broker) -> Setup:
    """A configuration that leads to `broker`."""
    return Setup(tmp_path, broker.port)


@pytest.fixture
def run_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts `anomalyd run`; at the end it may not have said anything but JSON."""
    daemons: list[Daemon] = []

    def start(file: Path, **environ: str) -> Daemon:
        daemons.append(Daemon(file, environ))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def ready(run_daemon: Callable[..., Daemon], setup: Setup) -> Callable[[], Daemon]:
    """Starts the daemon of `setup` and waits until it is connected."""

    def start() -> Daemon:
        daemon = run_daemon(setup.file)
        daemon.wait("broker_connected")
        return daemon

    return start
