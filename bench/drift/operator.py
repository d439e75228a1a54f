"""Somebody who looks at some of the alerts some time after they opened, and says what they were."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from detector.history import ANOMALOUS, History
from detector.labels import Label, LabelKind

NAME = "operator"


@dataclass(slots=True)
class Alert:
    """One alert; times in milliseconds since the epoch.

    Attributes:
        id: Its name.
        opened: When it opened.
        closed: When it closed; None: it is open.
    """

    id: str
    opened: int
    closed: int | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """How somebody answers alerts; who is asked about nothing says nothing.

    Attributes:
        share: Of the alerts, which are looked at.
        delay: Milliseconds after an alert opened until it is answered.
    """

    share: float
    delay: int

    def answer(self, alert: Alert, truth: History, now: int) -> Label | None:
        """What is said about an alert by now.

        Confirmed is what has touched a labelled event so far, and all else was a false alarm; of an alert
        that is open the time up to now is meant.

        Args:
            alert: The alert.
            truth: The machine's rows with labels.
            now: Milliseconds since the epoch.
        """
        if now < alert.opened + self.delay or not self._looks_at(alert):
            return None
        end = now if alert.closed is None else min(alert.closed, now)
        assert truth.label is not None
        rows = slice(*np.searchsorted(truth.at, (alert.opened, end + 1)).tolist())
        real = bool((truth.label[rows] == ANOMALOUS).any())
        return Label(
            machine=truth.machine,
            kind=LabelKind.CONFIRMED if real else LabelKind.FALSE_ALARM,
            start=alert.opened,
            end=end,
            noted_at=now,
            by=NAME,
            alert=alert.id,
        )

    def _looks_at(self, alert: Alert) -> bool:
        """The same alerts whenever it is asked."""
        digest = blake2b(alert.id.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64
