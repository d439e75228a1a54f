"""Two clients of one name throw each other out for ever: notices it, and lets the other one be longer."""

from __future__ import annotations

from daemon.losses import CLOSED, CUT_REPEATEDLY, SESSION_TAKEN_OVER, Loss

SHORT = 10.0  # seconds; another client of our name is back after one second, and ends our connection
CALM = 120.0  # seconds that a connection must last for all to be well again; longer than LONGEST
SUSPICIOUS = 3  # short connections in a row: once may be chance, and brokers restart twice
USUAL, LONGEST = 1, 60  # seconds until the next attempt


class Rivalry:
    """Counts how often in a row we were thrown out.

    MQTT 5 has a reason for it, which Mosquitto 2.0 does not give: it just closes the connection. So
    does every broker by MQTT 3.1.1. The wait doubles each time: of two such clients the one that
    waits longer leaves the other one in peace.
    """

    def __init__(self) -> None:
        self._times = 0

    def judge(self, loss: Loss, lasted: float) -> tuple[Loss, int]:
        """What is to be said of the end of a connection that lasted so many seconds, and how long to wait."""
        if lasted >= CALM:
            self._times = 0
        sure = loss.reason == SESSION_TAKEN_OVER
        if not sure and (loss.reason != CLOSED or lasted >= SHORT):
            self._times = 0
            return loss, USUAL
        self._times += 1
        if not sure and self._times < SUSPICIOUS:
            return loss, USUAL
        if not sure:
            detail = f"{loss.detail}, for the {self._times}th time within {SHORT:g} s of accepting it"
            loss = Loss(CUT_REPEATEDLY, detail)
        return loss, min(USUAL * 2 ** (self._times - 1), LONGEST)
