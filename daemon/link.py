"""Whether the connection to the broker serves its purpose, which a broker does not always say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.connection import topic_filter
from daemon.losses import CUT_REPEATEDLY, SESSION_TAKEN_OVER
from daemon.rivalry import CALM

if TYPE_CHECKING:
    from collections.abc import Callable

    from config import Settings
    from daemon.intake import Connected, Disconnected
    from daemon.tally import Tally

MISSING = "readings sent while this daemon was away may be missing"
SHORTENED = "readings sent while this daemon is away for longer are lost"
SILENTLY = (
    "either no machine sends, or the broker grants the subscription and its permissions deny reading all the "
    "same; anomalyd doctor tells which"
)


class Link:
    """Counts what is wrong with the connection, and remembers it while it keeps the daemon from its work."""

    def __init__(self, settings: Settings, tally: Tally, clock: Callable[[], float]) -> None:
        """There is no connection yet; `clock` is monotonic, in seconds."""
        self.settings = settings
        self._tally = tally
        self._clock = clock
        self._since: float | None = None  # when it was made; None while there is none
        self._heard = False  # whether a message has come since
        self._silence_told = False
        self._rivalry: str | None = None  # the problem that another client uses our name

    def made(self, notice: Connected, *, known: bool) -> None:
        """A connection stands; `known`: readings came over an earlier one."""
        self._since, self._heard, self._silence_told = self._clock(), False, False
        if known and not notice.session_present:
            self._tally.report("session_lost", level="warning", hint=MISSING)
        asked, granted = int(self.settings.mqtt.session_expiry.total_seconds()), notice.session_expiry
        if granted is not None and granted < asked:
            self._tally.report(
                "session_shortened", level="warning", asked=asked, granted=granted, hint=SHORTENED
            )

    def lost(self, notice: Disconnected) -> None:
        """There is no connection."""
        self._since = None
        loss, mqtt = notice.loss, self.settings.mqtt
        event = "broker_refused" if notice.refused else "broker_lost"
        self._tally.count(
            event, loss.reason, detail=loss.detail, hint=loss.hint, host=mqtt.host, port=mqtt.broker_port
        )
        if loss.reason in {SESSION_TAKEN_OVER, CUT_REPEATEDLY}:
            self._rivalry = f"the broker ends the connections of {mqtt.client_id}: {loss.hint}"

    def heard(self) -> None:
        """Messages have come."""
        self._heard = True

    def rivalry(self) -> str | None:
        """What is wrong while another client uses our name."""
        if self._stands() >= CALM:
            self._rivalry = None
        return self._rivalry

    def silence(self) -> str | None:
        """What may be wrong while nothing comes over a connection, though it stands."""
        silent_after = self.settings.alerts.silent_after
        if self._heard or silent_after is None or self._stands() < silent_after.total_seconds():
            return None
        topic = topic_filter(self.settings)
        if not self._silence_told:
            self._silence_told = True
            self._tally.report("readings_missing", level="warning", topic=topic, hint=SILENTLY)
        return f"nothing has come on {topic} since connecting: {SILENTLY}"

    def _stands(self) -> float:
        """Seconds since the connection was made; 0 while there is none."""
        return 0.0 if self._since is None else self._clock() - self._since
