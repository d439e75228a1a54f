"""Failpoints: named places between two steps at which tests end the daemon, as a power cut would.

`ANOMALYD_FAILPOINT=committed:3` kills the process by SIGKILL when it passes `committed` for the third
time; `committed:3:raise` raises an exception there, as a mistake in our own code would. Without the
variable a failpoint is a call and a look at an empty dictionary, a tenth of a microsecond by `python -m
timeit -s 'from daemon.failpoints import failpoint' 'failpoint("committed")'`. A step, which comes every
4 ms at most, passes about ten of them: 0.03 % of its time.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Literal, get_args

import structlog

from config import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ANOMALYD_FAILPOINT"
Failpoint = Literal[
    "messages_taken",  # the broker has handed them over; nothing is decoded yet
    "transaction_begun",  # nothing is written
    "readings_written",  # but neither alerts nor the outbox, and nothing is committed
    "transaction_written",  # all of it, and nothing is committed
    "committed",  # and nothing is acknowledged
    "acknowledged",  # and the alerts of the step are not published
    "alert_published",  # and the broker has not answered
    "alert_confirmed",  # the broker has it, and the outbox still does
    "alert_marked",  # the outbox has it no more
    "champions_swapped",  # other bundles serve; nobody was told
    "readings_pruned",  # old ones are deleted, which is not committed
    "damage_found",  # the store is damaged, and nothing is done about it
    "successor_written",  # what is legible is in another file, whose name says nothing of it yet
    "successor_named",  # it counts; the damaged file is where it was
    "damaged_moved",  # and its log of writes is where it was
    "damaged_set_aside",  # there is no store
    "successor_placed",  # the swap is over
    "leaving",  # good-byes are said; what the broker took last is not marked
]
FAILPOINTS: tuple[Failpoint, ...] = get_args(Failpoint)

_armed: dict[str, int] = {}  # the failpoint that is set, and how often it will still be passed
_raises: set[str] = set()


class FailpointError(Exception):
    """What a failpoint raises."""


def failpoint(name: Failpoint) -> None:
    """Passes a failpoint."""
    if _armed:
        _pass(name)


def _pass(name: Failpoint) -> None:
    if name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] == 0:
        structlog.get_logger().critical("failpoint_reached", name=name)
        if name in _raises:
            raise FailpointError(name)
        os.kill(os.getpid(), signal.SIGKILL)


def arm(environ: Mapping[str, str]) -> None:
    """Sets the failpoint that the environment names, if any.

    Raises:
        ConfigError: There is none of that name: a test that waits for it would wait for ever.
    """
    text = environ.get(VARIABLE)
    if text is None:
        return
    name, _, rest = text.partition(":")
    number, _, action = rest.partition(":")
    if name not in FAILPOINTS or not (number or "1").isdecimal() or action not in {"", "raise"}:
        hint = f"NAME is one of {', '.join(FAILPOINTS)}"
        raise ConfigError((Problem(VARIABLE, "must be NAME, NAME:N or NAME:N:raise", text, hint),))
    _armed[name] = int(number or 1)
    if action:
        _raises.add(name)
    structlog.get_logger().warning("failpoint_armed", name=name, passing=_armed[name])
