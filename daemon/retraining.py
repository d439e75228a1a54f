"""Retraining on a schedule, in a process of its own that scoring does not feel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import msgspec
import structlog

from config.policies import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from config import Settings
    from registry.champions import Registry

COMMAND = (sys.executable, "-m", "cli", "retrain")
REQUEST = "retrain.request"  # seen by anomalyd-retrain.path, removed by `anomalyd retrain`
DECISION = (
    "machine",
    "bundle",
    "promoted",
    "reason",
    "text",
    "pruned",
    "prune_failed",
)  # of a turn's answer, what a log needs
LOWEST_PRIORITY = 19
STOP_WITHIN = 0.5  # seconds for a child to end by itself
SETTLING = 600_000  # milliseconds after a start in which nothing is retrained: it may be one of many restarts


class Retraining:
    """Starts `anomalyd retrain` when it is time, and says how it ended.

    The child writes its bundle, decides by the gate and promotes; the daemon sees another
    champion like one that was promoted by hand.
    """

    def __init__(self, settings: Settings, registry: Registry, config: Path, *, now: int) -> None:
        """Prepares.

        Args:
            settings: The configuration.
            registry: Tells when the last bundle was made.
            config: The configuration file, for the child.
            now: Milliseconds since the epoch.
        """
        self.settings = settings
        self._registry = registry
        self._config = config
        self._started_at = now
        self._tried_at = 0
        self._seen = 0  # change of the folder of bundles
        self._newest = 0
        self._asked = False  # out of turn
        self.heard: Callable[[dict[str, Any]], None] = lambda _: None  # is told of each turn that has ended
        self._child: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def ask(self, machines: tuple[str | None, ...], reason: str) -> bool:
        """Asks for a turn out of turn; returns whether it will be taken."""
        self._asked = True
        structlog.get_logger().info("retraining_asked", machines=machines, reason=reason)
        return True

    def tick(self, now: int) -> None:
        """Starts a turn that is due, and reports one that has ended; `now` in milliseconds."""
        # A clock that was set back must not hold it up until it is as late again.
        self._started_at, self._tried_at = min(self._started_at, now), min(self._tried_at, now)
        if self._child is not None:
            if self._child.poll() is not None:
                self._report(self._child.returncode)
        elif self._due(now):
            self._tried_at = now
            try:
                if self.settings.retrain.by == "request":
                    self._request()
                else:
                    self._start()
            except OSError as error:
                structlog.get_logger().error("retraining_failed", reason=str(error))

    def stop(self) -> None:
        """Ends a turn in progress; what it had not finished leaves nothing behind."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        structlog.get_logger().info("retraining_stopped", reason="the daemon stops")
        self._close()

    def _due(self, now: int) -> bool:
        asked, self._asked = self._asked, False
        if asked:
            return True
        if self.settings.retrain.every is None:
            return False
        every = milliseconds(self.settings.retrain.every)
        # The bundle's age counts, else a daemon that is restarted every day would never retrain.
        if now - self._started_at < min(every, SETTLING) or now - self._tried_at < every:
            return False
        return abs(now - self._trained_at()) >= every  # or it was made by a clock that was far ahead

    def _trained_at(self) -> int:
        """When the newest bundle was made, by its name; 0 without one."""
        # Asked in every step, and there may be thousands: they are listed when one came or went.
        with suppress(FileNotFoundError):
            changed = self._registry.bundles.stat().st_mtime_ns
            if changed != self._seen:
                self._seen, self._newest = changed, _newest(self._registry.ids())
        return self._newest

    def _request(self) -> None:
        (self.settings.state_dir / REQUEST).touch()
        structlog.get_logger().info("retraining_requested", file=str(self.settings.state_dir / REQUEST))

    def _start(self) -> None:
        command = [*COMMAND, "--config", str(self._config), "--json"]
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the child lives
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, start_new_session=True
        )
        self._output = output
        with suppress(OSError):  # priority is a courtesy
            os.setpriority(os.PRIO_PROCESS, self._child.pid, LOWEST_PRIORITY)
            os.sched_setscheduler(self._child.pid, os.SCHED_IDLE, os.sched_param(0))
        structlog.get_logger().info("retraining_started", process=self._child.pid)

    def _report(self, code: int) -> None:
        assert self._output is not None
        self._output.seek(0)
        content = self._output.read()
        self._close()
        log = structlog.get_logger()
        turns: list[dict[str, Any]] | None = None
        with suppress(ValueError):  # msgspec raises more than its own errors on bad text
            turns = msgspec.json.decode(content, type=list[dict[str, Any]])
        for turn in turns or ():
            self.heard(turn)
            log.info("retraining_decided", **{name: turn[name] for name in DECISION if name in turn})
        if code != 0 or turns is None:
            hint = "its own messages stand above; anomalyd retrain shows them again"
            log.error("retraining_failed", exit_code=code, hint=hint)

    def _close(self) -> None:
        assert self._output is not None
        self._output.close()
        self._child = self._output = None


def _newest(bundles: list[str]) -> int:
    for bundle in reversed(bundles):
        with suppress(ValueError):
            made = datetime.strptime(bundle[:20], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC)
            return round(made.timestamp() * 1000)
    return 0
