"""A real Mosquitto on a port of its own, which tests may stop, kill and start again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.waiting import free_port, listens, wait_until

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
OPEN = "allow_anonymous true"
# As in mosquitto/mosquitto.conf: nothing is lost while a subscriber is away or the broker restarts.
KEEPING = """\
max_queued_messages 0
persistence true
"""
# Nor if the broker is killed, once it has written down what it holds.
SHIPPED = (Path(__file__).parents[1] / "mosquitto" / "mosquitto.conf").read_text()
SAVING = "".join(line for line in SHIPPED.splitlines(keepends=True) if line.startswith("autosave"))


class Broker:
    """Mosquitto with a configuration of the test's; its port and its files stay over restarts."""

    def __init__(self, folder: Path, options: str = OPEN) -> None:
        """Writes the configuration; `start` starts it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nuser root\npersistence_location {folder}/\n{KEEPING}{options}\n"
        )

    def start(self) -> None:
        """Starts it and waits until it listens."""
        assert MOSQUITTO is not None
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        wait_until(self._up, "mosquitto")

    def stop(self) -> None:
        """Stops it; it writes down what it holds."""
        self._end("terminate")

    def kill(self) -> None:
        """Ends it without warning."""
        self._end("kill")

    def send(self, number: int) -> None:
        """Sends it a signal: SIGHUP makes it read its permissions again, SIGSTOP makes it fall silent."""
        assert self._process is not None
        self._process.send_signal(number)

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "mosquitto.log").read_text()
        return listens(self.port)

    def _end(self, how: str) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None

        def ended() -> bool:
            # Again each time: a signal just before Mosquitto begins to wait for events wakes nobody.
            getattr(process, how)()
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                return False
            return True

        wait_until(ended, "mosquitto's end")
