"""Whether a machine is silent, and the alert about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detector.alerts import Change, OpenSilence, silence_id

if TYPE_CHECKING:
    from detector.alerts import AlertPolicy


class Silence:
    """Looks at the clock for one machine; times are this host's, in milliseconds.

    Attributes:
        heard: Whether anything usable came since the last look.
        heard_at: When that was last so, as the clock showed at the look after it; None before the first.
        alert: The open alert.
    """

    __slots__ = ("alert", "heard", "heard_at", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard = False
        self.heard_at: int | None = None
        self.alert: OpenSilence | None = None

    def look(self, now: int, limit: int | None) -> bool:
        """Whether nothing has come for longer than the limit; None: for ever. The first look starts it."""
        if self.heard or self.heard_at is None:
            self.heard, self.heard_at = False, now
        return limit is not None and now - self.heard_at > limit

    def tell(
        self, now: int, policy: AlertPolicy, *, silent: bool, shelved: bool
    ) -> tuple[Change, OpenSilence] | None:
        """Opens the alert, repeats it, or closes what is not wanted any more; returns what it changed."""
        alert = self.alert
        if alert is None:
            if not (silent and policy.on_silence):
                return None
            self.alert = OpenSilence(silence_id(self.name, now), now, now, hidden=shelved)
            return Change.OPENED, self.alert
        if not policy.on_silence:
            return Change.CLOSED, self.end()
        due = policy.repeat_every is not None and now - alert.published_at >= policy.repeat_every
        shown = alert.hidden and not shelved
        if not (shown or (due and not shelved and alert.acknowledged is None)):
            return None
        self.alert = msgspec.structs.replace(alert, published_at=now, hidden=False)
        return Change.OPENED if shown else Change.UPDATED, self.alert

    def end(self) -> OpenSilence:
        """Closes the alert, which must be open; returns it."""
        assert self.alert is not None
        alert, self.alert = self.alert, None
        return alert

    def shift_clock(self, step: int) -> bool:
        """Takes into account that our clock was set; returns whether that changes the alert."""
        if self.heard_at is not None:
            self.heard_at += step
        if self.alert is None:
            return False
        self.alert = msgspec.structs.replace(self.alert, published_at=self.alert.published_at + step)
        return True
