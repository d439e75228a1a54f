"""A broker of the demonstration's own on a free loopback port: mosquitto if installed, else amqtt."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from demo.processes import DemoError, last_lines, module_command, running

Kind = Literal["mosquitto", "amqtt"]

START_TIMEOUT = 15.0  # seconds; amqtt imports for a second or two, more on a busy machine
ATTEMPTS = 3  # another program may take the free port before the broker does


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker listens, and the newest protocol that it speaks."""

    kind: Kind
    port: int
    mqtt_version: Literal["5", "3.1.1"]
    host: str = "127.0.0.1"


@contextlib.contextmanager
def broker(folder: Path, *, kind: Kind | None = None) -> Iterator[Address]:
    """A broker that accepts connections, until the block ends.

    Args:
        folder: where its configuration and its log go.
        kind: which one to start; the best that is there by default.

    Raises:
        DemoError: none is installed, or it does not start.
    """
    chosen = kind or best_installed()
    log = folder / "broker.log"
    for _ in range(ATTEMPTS):
        port = _free_port()
        with (
            log.open("w", encoding="utf-8") as output,
            running(_command(chosen, port, folder), stdout=output, stderr=output) as process,
        ):
            if _listens(process, port):
                yield Address(chosen, port, "5" if chosen == "mosquitto" else "3.1.1")
                return
    raise DemoError(
        f"broker: {chosen} must accept connections within {START_TIMEOUT:.0f} s, got:\n{last_lines(log)}"
    )


def best_installed() -> Kind:
    if mosquitto_path() is not None:
        return "mosquitto"
    if importlib.util.find_spec("amqtt") is not None:
        return "amqtt"
    raise DemoError(
        "broker: mosquitto or the Python package amqtt must be installed, got neither\n"
        "hint: apt-get install mosquitto, or pip install 'anomalyd[demo]'"
    )


def mosquitto_path() -> str | None:
    """The program, also in /usr/sbin: Debian keeps it there, off an ordinary user's path."""
    return shutil.which(
        "mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )


def _command(kind: Kind, port: int, folder: Path) -> list[str]:
    if kind == "amqtt":
        return module_command("demo.embedded", str(port))
    program = mosquitto_path()
    if program is None:
        raise DemoError("broker: mosquitto must be installed, got none on the path or in /usr/sbin")
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        "set_tcp_nodelay true\n",  # else a small message waits until the one before it is confirmed
        encoding="utf-8",
    )
    return [program, "-c", str(config)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(process: subprocess.Popen[str], port: int) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    return False
