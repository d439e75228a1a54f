"""Takes a retraining turn when one is due, and tells how it ended."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from msgspec.structs import replace

from daemon.child import BUSY, Child, Ended, retraining
from daemon.due import Facts, due, lines_of, next_at
from daemon.standing import Standing
from registry.bundle import BundleError
from registry.ledger import Ledger
from registry.requests import By, Request, RequestFile, added

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from config import Settings
    from daemon.tally import Tally
    from registry.champions import Registry

LOOK_EVERY = 1000  # milliseconds; nothing that is due for hours or asked for by people is in more of a hurry
BUSY_PAUSE = 60_000  # milliseconds until the next try while another process retrains, or the disk refuses
DECISION = (
    "machine",
    "bundle",
    "promoted",
    "reason",
    "text",
    "pruned",
    "prune_failed",
)  # of a turn's answer, what a log needs


class Retraining:
    """Starts `anomalyd retrain` when it is time, or has another service do it, and says how it ended.

    The child writes its bundle, decides by the gate and promotes; the daemon sees another
    champion like one that was promoted by hand. There is one child at a time.
    """

    def __init__(
        self, settings: Settings, registry: Registry, config: Path, tally: Tally, *, now: int
    ) -> None:
        """Prepares.

        Args:
            settings: The configuration.
            registry: Tells when the champions were made.
            config: The configuration file, for the child.
            tally: Counts.
            now: Milliseconds since the epoch.
        """
        self.settings = settings
        self.next_at: int | None = None  # milliseconds since the epoch
        self._registry = registry
        self._config = config
        self._tally = tally
        self._ledger = Ledger(settings.state_dir)
        self._file = RequestFile(settings.state_dir)
        self._started_at = self._now = now
        self._wait_until = 0
        self._looked_at: int | None = None
        self._handed: dict[str | None, int] = {}
        self._seen: object = None  # version of the champions
        self._made: dict[str | None, int] = {None: 0}
        with suppress(OSError):  # a later write may succeed
            self._ledger.prepare()
        self.standing = Standing(settings.state_dir, self._ledger, tally)
        self.heard: Callable[[dict[str, Any]], None] = lambda _: None  # is told of each turn that has ended
        self._child: Child | None = None
        self._request: Request | None = None  # that it was started for
        self._child_began = 0

    @property
    def running(self) -> bool:
        """Whether a child retrains."""
        return self._child is not None

    def ask(self, request: Request) -> bool:
        """Asks for a turn; never fails.

        Returns:
            Whether it will be taken: not for drift without `retrain.on_drift`, and not if too many wait.
        """
        if request.by is By.DRIFT and not self.settings.retrain.on_drift:
            return False
        request = replace(request, at=min(request.at, self._now))
        pending = added(self._ledger.read().pending, request)
        if pending is None:
            return False
        try:
            self._ledger.ask(pending)
        except OSError as error:
            self._failed("io", str(error))
            return False
        self._looked_at = None
        structlog.get_logger().info("retraining_requested", **_named(request))
        return True

    def tick(self, now: int) -> None:
        """Starts a turn that is due, and reports one that has ended; `now` in milliseconds."""
        self._now = now
        # A clock that was set back must not hold it up until it is as late again.
        self._started_at = min(self._started_at, now)
        self._wait_until = min(self._wait_until, now + BUSY_PAUSE)
        self._handed = {line: min(at, now) for line, at in self._handed.items()}
        try:
            if self._child is not None:
                ended = self._child.ended()
                if ended is not None:
                    self._report(ended, now)
            elif now >= self._wait_until and (
                self._looked_at is None or abs(now - self._looked_at) >= LOOK_EVERY
            ):
                self._looked_at = now
                self._look(now)
        except OSError as error:
            self._wait_until = now + BUSY_PAUSE
            self._failed("io", str(error))

    def stop(self) -> None:
        """Ends a turn in progress; what it had not finished leaves nothing behind."""
        if self._child is None:
            return
        self._child.stop()
        self._child = None
        with suppress(OSError):
            self._ledger.stopped(line for line, past in self._ledger.read().lines().items() if past.open)
        structlog.get_logger().info("retraining_stopped", reason="the daemon stops")

    def _look(self, now: int) -> None:
        book = self.standing.look(now)
        if self.settings.retrain.by == "child" and self._file.exists():
            self._take_file()
            book = self._ledger.read()
        facts = Facts(self._started_at, self._champions(), book, self._handed)
        request = due(now, facts, self.settings.retrain)
        self.next_at = next_at(now, facts, self.settings.retrain)
        if request is None:
            return
        if self.settings.retrain.by == "request":
            self._hand_over(request, facts, now)
        else:
            self._start(request, facts, now)

    def _start(self, request: Request, facts: Facts, now: int) -> None:
        self._child_began = now
        try:
            self._child, self._request = Child(retraining(request, self._config)), request
        except OSError as error:  # it may never start: a turn that has failed waits longer each time
            lines = lines_of(request, facts)
            self._ledger.fail(lines, str(error), at=now)
            self._done(facts, (), lines, before=now)
            self._failed("io", str(error), **_asked(request))
            return
        self._tally.report(
            "retraining_started", request.by, level="info", process=self._child.pid, **_asked(request)
        )

    def _hand_over(self, request: Request, facts: Facts, now: int) -> None:
        self._file.write([request])
        lines = lines_of(request, facts)
        self._handed.update(dict.fromkeys(lines, now))
        self._done(facts, lines, (), before=now)
        structlog.get_logger().info("retraining_requested", file=str(self._file.path), **_named(request))

    def _take_file(self) -> None:
        requests, problems = self._file.take()
        for problem in problems:
            self._tally.report("retraining_refused", "unreadable", level="warning", text=problem)
        for request in requests:
            if not self.ask(request):
                self._tally.report("retraining_refused", "too_many", level="warning", **_asked(request))
        self._file.done()

    def _champions(self) -> Mapping[str | None, int]:
        """When the champion of each line was made."""
        version = self._registry.version()
        if version != self._seen:
            with suppress(BundleError):
                lines = self._registry.champions()
                self._made = {None: 0, **{line: made_at(each.champion) for line, each in lines.items()}}
            self._seen = version
        return self._made

    def _report(self, ended: Ended, now: int) -> None:
        assert self._request is not None
        request, self._child = self._request, None
        log = structlog.get_logger()
        for turn in ended.answers or ():
            self.heard(turn)
            self._tally.note("retraining_decided", "promoted" if turn.get("promoted") else "not_promoted", 1)
            told = {name: turn[name] for name in DECISION if name in turn}
            log.info("retraining_decided", **told, by=request.by, why=request.reason)
        facts = Facts(self._started_at, self._champions(), self._ledger.read(), self._handed)
        wanted = lines_of(request, facts)
        if ended.code == BUSY:
            self._wait_until = now + BUSY_PAUSE
            log.info("retraining_postponed", reason="busy", text=ended.why, **_asked(request))
            return
        begun = [line for line in wanted if facts.book.of(line).began_at >= self._child_began]
        failed: list[str | None] = []
        if ended.failed:
            # The child writes down what fails in it; what it could not say is said for it.
            silent = [line for line in begun if facts.book.of(line).open] or ([] if begun else wanted)
            self._ledger.fail(silent, ended.why, at=now, took=ended.seconds)
            failed = silent + [line for line in begun if facts.book.of(line).failures]
            fields: dict[str, object] = {
                "exit_code": ended.code,
                "said": ended.said,
                "seconds": round(ended.seconds, 1),
            }
            self._failed(ended.reason, ended.why, **(fields | _asked(request)))
        finished = [line for line in (begun if ended.failed else wanted) if line not in failed]
        self._done(facts, finished, failed, before=self._child_began)
        self.standing.look(now)
        self._looked_at = None

    def _done(
        self, facts: Facts, finished: Iterable[str | None], failed: Iterable[str | None], *, before: int
    ) -> None:
        """Takes lines out of what was pending before their turn began, whoever asked; a turn is a turn.

        What has failed is tried again, unless a person asked, who sees it and may ask again.
        """
        kept: tuple[Request, ...] = ()
        for one in facts.book.pending:
            gone = {*finished, *(failed if one.by.person else ())} if one.at <= before else set()
            lines = lines_of(one, facts)
            rest = tuple(line for line in lines if line not in gone)
            if rest:
                kept = added(kept, one if len(rest) == len(lines) else replace(one, machines=rest)) or kept
        if kept != facts.book.pending:
            self._ledger.ask(kept)

    def _failed(self, reason: str, why: str, **fields: Any) -> None:  # noqa: ANN401 - as the log takes it
        self._tally.report("retraining_failed", reason, why=why, **fields)


def made_at(bundle: str) -> int:
    """When a bundle was made, by its name; 0 if that does not say."""
    with suppress(ValueError):
        made = datetime.strptime(bundle[:20], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC)
        return round(made.timestamp() * 1000)
    return 0


def _asked(request: Request) -> dict[str, Any]:
    """A request in the fields of a log line that has a reason of its own."""
    return {"by": request.by, "asked": request.reason, "machines": request.machines}


def _named(request: Request) -> dict[str, object]:
    return {"by": request.by, "reason": request.reason, "machines": request.machines}
