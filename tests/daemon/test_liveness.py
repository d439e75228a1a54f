"""The watchdog is fed by a loop that turns and by nothing else; a thread that dies is made anew."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon import assembly, service
from daemon.connection import Connection
from daemon.losses import THREAD_DIED
from daemon.store import Store
from daemon.tally import Tally
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

MACHINES = 500
SHORT = 4096  # bytes of a pipe: the least there is
LOOK = 3.0  # seconds in which a loop that turned would be heard


class Systemd:
    """The end of NOTIFY_SOCKET that systemd holds."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self._socket.setblocking(False)  # noqa: FBT003 - as the standard library has it

    def heard(self) -> list[str]:
        """What was said since the last time."""
        words = []
        while True:
            try:
                words.append(self._socket.recv(256).decode())
            except BlockingIOError:
                return words

    def wait(self, word: str) -> None:
        wait_until(lambda: word in self.heard(), word)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path)
    yield systemd
    systemd.close()


def unread(pipe: int) -> int:
    """Bytes in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def stored(setup: Setup) -> int:
    store = Store(setup.state / "store.sqlite", read_only=True)
    count = len(store.machines())
    store.close()
    return count


def test_a_loop_that_is_stuck_feeds_no_watchdog_and_its_end_loses_nothing(
    setup: Setup, client: Client, systemd: Systemd, ready: Callable[[], Daemon]
) -> None:
    """Here in writing a log that nobody takes: as good a hang as that of a disk or in a lock."""
    log, its_log = os.pipe()
    fcntl.fcntl(its_log, fcntl.F_SETPIPE_SZ, SHORT)
    environment = {**os.environ, "NOTIFY_SOCKET": str(systemd.address)}
    command = [sys.executable, "-m", "cli", "run", "--config", str(setup.file)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=its_log) as process:
        os.close(its_log)
        try:
            systemd.wait("READY=1")
            systemd.wait("WATCHDOG=1")
            for number in range(MACHINES):
                client.publish(f"plant/machine-{number}/readings", b'{"flow": 1}')
            wait_until(lambda: unread(log) > SHORT - 500, "a full pipe")
            time.sleep(LOOK)  # until it is stuck for sure
            systemd.heard()
            time.sleep(LOOK)
            assert systemd.heard() == []
            process.send_signal(signal.SIGABRT)  # as systemd does after WatchdogSec=
            assert process.wait(30) == -signal.SIGABRT
        finally:
            process.kill()
    os.close(log)
    ready()
    wait_until(lambda: client.confirmed == MACHINES and stored(setup) == MACHINES, "all readings")


def test_a_network_thread_that_is_stuck_feeds_no_watchdog(
    setup: Setup, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STILL", 3)
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.address))
    with running(setup.file) as daemon:
        connection, tally = parts(daemon)
        wait_until(lambda: connection.generation == 1, "the connection")
        systemd.wait("WATCHDOG=1")
        with connection._client._msgtime_mutex:
            wait_until(lambda: tally.counts["thread_hung", "network"] >= 1, "the notice")
            systemd.heard()
            time.sleep(LOOK)
            assert systemd.heard() == []
        systemd.wait("WATCHDOG=1")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is meant
def test_a_network_thread_that_dies_is_made_anew_and_watching_goes_on(setup: Setup, client: Client) -> None:
    with running(setup.file) as daemon:
        connection, tally = parts(daemon)
        for number in range(1, 4):
            wait_until(lambda: connection.generation % 2, "the connection")
            thread = connection._client._thread
            assert thread is not None
            assert thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
            )
            expected = number
            wait_until(lambda: tally.counts["broker_lost", THREAD_DIED] == expected, "the notice")  # noqa: B023
            client.publish(f"plant/machine-{number}/readings", b'{"flow": 1}')
            wait_until(lambda: client.last(f"anomalyd/machine-{number}/state"), "the reading's state")  # noqa: B023


def parts(daemon: assembly.Daemon) -> tuple[Connection, Tally]:
    """What a test of threads must see from within."""
    return daemon._connection, daemon._tally
