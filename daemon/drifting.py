"""Has drift measured when it is time, tells what was found, and asks for what should be learned."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import structlog

from config.policies import milliseconds
from daemon import payloads
from daemon.child import PROGRAM, Child, Ended
from registry import drifts
from registry.drifts import Drift, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from config import Settings
    from daemon.tally import Tally

SETTLING = 600_000  # milliseconds after a start in which nothing is measured: it may be one of many restarts
ASK_AGAIN = 86_400_000  # milliseconds: what the gate has refused may pass with another day's readings


class Drifting:
    """Starts `anomalyd drift`, which leaves `drift.json` for retraining, and tells of each machine's drift.

    Another normal is asked to be learned; what may be a developing fault is not.
    """

    def __init__(
        self,
        settings: Settings,
        config: Path,
        tally: Tally,
        *,
        tell: Callable[[str, bytes], None],
        ask: Callable[[str, str], bool],
        now: int,
    ) -> None:
        """Prepares.

        Args:
            settings: The configuration.
            config: The configuration file, for the child.
            tally: Counts.
            tell: Publishes what is retained for a machine; an empty message takes it away.
            ask: Asks for a retraining of what serves a machine, with a reason.
            now: Milliseconds since the epoch.
        """
        self.settings = settings
        self._config = config
        self._tally = tally
        self._tell = tell
        self._ask = ask
        self._started_at = now
        self._began_at: int | None = None
        self._child: Child | None = None
        self._asked: dict[str, tuple[Kind, str, int]] = {}  # kind, model and when, by machine
        self._found: Mapping[str, Drift] = drifts.read(settings.state_dir)
        for one in self._found.values():
            tell(one.machine, payloads.drift(one))

    @property
    def kinds(self) -> Counter[Kind]:
        """How many machines there are of each kind."""
        return Counter(one.kind for one in self._found.values())

    def tick(self, now: int) -> None:
        """Starts a measurement that is due, and tells of one that has ended; `now` in milliseconds."""
        # A clock that was set back must not hold it up until it is as late again.
        self._started_at = min(self._started_at, now)
        if self._began_at is not None:
            self._began_at = min(self._began_at, now)
        if self._child is not None:
            ended = self._child.ended()
            if ended is not None:
                self._child = None
                self._report(ended, now)
        elif self._due(now):
            self._began_at = now
            command = [*PROGRAM, "drift", "--config", str(self._config), "--json"]
            try:
                self._child = Child(command)
            except OSError as error:
                self._tally.report("drift_failed", "io", why=str(error))

    def stop(self) -> None:
        """Ends a measurement in progress; the next one finds what it has not."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _due(self, now: int) -> bool:
        every = self.settings.drift.every
        if every is None:
            return False
        period = milliseconds(every)
        if self._began_at is None:
            return now >= self._started_at + min(SETTLING, period)
        return now >= self._began_at + period

    def _report(self, ended: Ended, now: int) -> None:
        found: list[Drift] | None = None
        if not ended.failed:
            try:
                found = msgspec.convert(ended.answers, list[Drift])
            except msgspec.ValidationError as error:
                self._tally.report("drift_failed", "error", why=str(error))
                return
        if found is None:
            reason = ended.reason if ended.code < 0 else "error"
            self._tally.report("drift_failed", reason, why=ended.why, exit_code=ended.code, said=ended.said)
            return
        before, self._found = self._found, {one.machine: one for one in found}
        structlog.get_logger().info("drift_measured", machines=len(found), seconds=round(ended.seconds, 1))
        for machine in before.keys() - self._found.keys():
            self._tell(machine, b"")
            self._asked.pop(machine, None)
        for one in found:
            self._tell(one.machine, payloads.drift(one))
            was = before[one.machine].kind if one.machine in before else Kind.UNKNOWN
            if one.kind is not was:
                self._changed(one, was)
        self._ask_for(found, now)

    def _changed(self, one: Drift, was: Kind) -> None:
        level = "warning" if one.kind is Kind.DEVELOPING else "info"
        fields: dict[str, object] = {"machine": one.machine, "was": was, "text": one.text}
        if one.since is not None:
            fields["since"] = payloads.iso(one.since)
        self._tally.report("drift_changed", one.kind, level=level, **fields)

    def _ask_for(self, found: Iterable[Drift], now: int) -> None:
        for one in found:
            if not one.kind.normal:
                self._asked.pop(one.machine, None)
                continue
            kind, model, at = self._asked.get(one.machine, (None, "", now))
            again = (kind, model) != (one.kind, one.model) or now - at >= ASK_AGAIN or now < at
            if again and self._ask(one.machine, one.text):  # not taken: after the next measurement again
                self._asked[one.machine] = (one.kind, one.model, now)
