"""Scores of one machine become an alert that opens, updates and closes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import msgspec


class Change(StrEnum):
    """What happened to an alert."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


class Severity(StrEnum):
    """How far above the threshold the alert's peak is."""

    WARNING = "warning"
    CRITICAL = "critical"


class Reason(StrEnum):
    """Why an alert opened."""

    ANOMALY = "anomaly"  # a window is none of the usual
    LIMIT = "limit"  # a value is beyond a limit of the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """When an alert opens, updates and closes.

    Attributes:
        open_after: Anomalies among the last `open_within` windows that open an alert (on-delay).
        open_within: See `open_after`; at most 64.
        close_after: Windows in a row with a score below `close_score` that close it (off-delay).
        close_score: Below 1, so that a score around the threshold does not flutter (deadband).
        critical_score: A peak score from which the alert is critical.
        repeat_every: Milliseconds after which an alert that is still open is published again
            (re-alarm time); None: never.
        on_silence: Whether a machine that sends nothing opens an alert of its own.
    """

    open_after: int = 3
    open_within: int = 5
    close_after: int = 5
    close_score: float = 0.8
    critical_score: float = 3.0
    repeat_every: int | None = None
    on_silence: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.open_after <= self.open_within <= MAX_OPEN_WITHIN:
            raise ValueError(
                f"alerts: must be 1 <= open_after <= open_within <= {MAX_OPEN_WITHIN}, "
                f"got {self.open_after} and {self.open_within}"
            )

    def severity(self, score: float) -> Severity:
        """How severe an alert with this peak is."""
        return Severity.CRITICAL if score >= self.critical_score else Severity.WARNING


MAX_OPEN_WITHIN = 64  # the scores of so many windows are stored with every step


class Acknowledged(msgspec.Struct, frozen=True, gc=False):
    """Somebody has seen an alert: it is not repeated until it becomes more severe.

    Attributes:
        at: When, by this host's clock.
        by: Who; empty: nobody is named.
        note: In their words.
    """

    at: int
    by: str = ""
    note: str = ""


class Shelf(msgspec.Struct, frozen=True, gc=False):
    """For a time nobody wants to hear of a machine's alerts; times by this host's clock."""

    until: int
    at: int
    by: str = ""


class OpenAlert(msgspec.Struct, frozen=True, gc=False):
    """An alert that has not closed.

    Attributes:
        reason: Why it opened.
        hidden: Whether subscribers have not been told, since the machine's alerts are shelved.
        risen: Whether they have not been told that it has become more severe.
    """

    id: str
    opened_at: int
    peak_score: float
    severity: Severity
    published_at: int
    acknowledged: Acknowledged | None = None
    hidden: bool = False
    risen: bool = False
    reason: Reason = Reason.ANOMALY


class OpenSilence(msgspec.Struct, frozen=True, gc=False):
    """An alert about a silent machine that has not closed; times by this host's clock."""

    id: str
    opened_at: int
    published_at: int
    acknowledged: Acknowledged | None = None
    hidden: bool = False


class AlertTracker(msgspec.Struct):
    """The alert of one machine; serialisable, so that a restart goes on where it was.

    Attributes:
        recent: Scores of the last windows, newest last.
        calm: Windows in a row with a score below the closing score.
        alert: The open alert.
    """

    recent: tuple[float, ...] = ()
    calm: int = 0
    alert: OpenAlert | None = None

    def observe(
        self, machine: str, at: int, score: float, policy: AlertPolicy, *, shelved: bool = False
    ) -> tuple[Change, OpenAlert] | None:
        """Takes the score of the next window, which ended at `at`; returns what it changed.

        While the machine's alerts are `shelved`, one that opens is hidden, and none is updated. One that is
        still open when they are no longer is opened then, for all to see; one that they saw open
        and that has become more severe is updated.
        """
        self.recent = (*self.recent, score)[-policy.open_within :]
        self.calm = self.calm + 1 if score < policy.close_score else 0
        alert = self.alert
        if alert is None:
            if score <= 1 or sum(recent > 1 for recent in self.recent) < policy.open_after:
                return None
            peak = max(self.recent)
            self.alert = OpenAlert(alert_id(machine, at), at, peak, policy.severity(peak), at, hidden=shelved)
            return Change.OPENED, self.alert
        if self.calm >= policy.close_after:
            self.alert, self.recent = None, ()
            return Change.CLOSED, alert
        severity = policy.severity(score)
        rose = severity is Severity.CRITICAL and alert.severity is Severity.WARNING
        shown = alert.hidden and not shelved
        due = policy.repeat_every is not None and at - alert.published_at >= policy.repeat_every
        told = not shelved and (rose or alert.risen or shown or (due and alert.acknowledged is None))
        self.alert = msgspec.structs.replace(
            alert,
            peak_score=max(alert.peak_score, score),
            severity=severity if rose else alert.severity,
            published_at=at if told else alert.published_at,
            acknowledged=None if rose else alert.acknowledged,
            hidden=alert.hidden and shelved,
            risen=(rose or alert.risen) and not told,
        )
        if not told:
            return None
        return Change.OPENED if shown else Change.UPDATED, self.alert

    def close(self) -> OpenAlert | None:
        """Ends the alert, whatever the scores are; returns it if there was one."""
        alert, self.alert = self.alert, None
        self.forget_recent()
        return alert

    def forget_recent(self) -> None:
        """Starts counting anew after a hole in the data; an open alert stays open."""
        self.recent, self.calm = (), 0


def silence_id(machine: str, opened_at: int) -> str:
    """The name of an alert about silence, which no other alert of the machine has."""
    return alert_id(f"{machine}\0silence", opened_at)


def alert_id(machine: str, opened_at: int) -> str:
    """The alert's name: the same whenever the same readings open it, live, after a crash or in replay."""
    return blake2b(f"{machine}\0{opened_at}".encode(), digest_size=16).hexdigest()
