from __future__ import annotations

from daemon.losses import CLOSED, CUT_REPEATEDLY, SESSION_TAKEN_OVER, Loss
from daemon.rivalry import CALM, LONGEST, SHORT, Rivalry

TAKEN = Loss(SESSION_TAKEN_OVER, "Session taken over")
ENDED = Loss(CLOSED, "the broker closed the connection")


def judged(rivalry: Rivalry, loss: Loss, lasted: float, times: int) -> list[tuple[str, int]]:
    """The reason and the wait, each time."""
    said = [rivalry.judge(loss, lasted) for _ in range(times)]
    return [(loss.reason, wait) for loss, wait in said]


def test_who_is_thrown_out_waits_twice_as_long_each_time_up_to_a_minute() -> None:
    waits = [wait for _, wait in judged(Rivalry(), TAKEN, 1.0, 8)]
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST]


def test_a_connection_that_the_broker_closes_at_once_is_suspicious_from_the_third_time() -> None:
    assert judged(Rivalry(), ENDED, SHORT - 1, 4) == [
        (CLOSED, 1),
        (CLOSED, 1),
        (CUT_REPEATEDLY, 4),
        (CUT_REPEATEDLY, 8),
    ]


def test_a_connection_that_lasted_clears_the_suspicion() -> None:
    rivalry = Rivalry()
    judged(rivalry, ENDED, 1.0, 5)
    assert rivalry.judge(ENDED, SHORT) == (ENDED, 1)
    assert judged(rivalry, ENDED, 1.0, 2) == [(CLOSED, 1)] * 2
    judged(rivalry, TAKEN, 1.0, 5)
    assert rivalry.judge(TAKEN, CALM) == (TAKEN, 1)


def test_any_other_end_is_no_rivalry() -> None:
    rivalry = Rivalry()
    dead = Loss("keep_alive_timeout", "Keep alive timeout")
    judged(rivalry, ENDED, 1.0, 2)
    assert rivalry.judge(dead, 1.0) == (dead, 1)
    assert rivalry.judge(ENDED, 1.0) == (ENDED, 1)
