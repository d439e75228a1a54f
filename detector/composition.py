"""What of the stored readings a model was fitted on, as it is written down in a manifest."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LeftOut(StrEnum):
    """Why a row was not learned from; the first that holds counts."""

    CONFIRMED = "confirmed"  # somebody calls it an incident,
    EXCLUDED = "excluded"  # or wants nothing to be learned from it
    OFF = "off"
    MAINTENANCE = "maintenance"
    NOT_RUNNING = "not_running"  # by operation.running_when
    ALERT = "alert"  # or within retrain.margin of one
    SUSPECTED = "suspected"  # a fault may have been developing
    NO_ROOM = "no_room"  # beyond retrain.max_readings, in a regime of which enough was kept


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way in which a machine was run.

    Attributes:
        machine: Which.
        rows: Rows of it that were learned from.
        of: Rows of it that there were to choose from.
        start: First time of these, in milliseconds since the epoch.
        end: Last time of these.
    """

    machine: str
    rows: int
    of: int
    start: int
    end: int


class Composition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was learned from of what there was, in rows on the time grid.

    Attributes:
        start: First time that was learned from, in milliseconds since the epoch; None: none was.
        end: Last time.
        stored: Rows that there were in the store.
        remembered: Rows that the model before had learned from, of times before those.
        machines: Rows that were learned from, by machine.
        left_out: Rows that were not, by reason.
        stuck: Values that were left out as their sensors were stuck.
        labels: Labels that lie in this time, by kind.
        vouched: Rows that were learned from because somebody called an alert false.
        alerted_lately: The share of a machine's newest day that was left out as it was in alert, of the
            machine of which that is most: a new way of running that is alerted all the time is never learned.
        regimes: The ways in which the machines were run; of many machines not all are told.
    """

    start: int | None
    end: int | None
    stored: int
    remembered: int
    machines: dict[str, int]
    left_out: dict[LeftOut, int]
    stuck: int
    labels: dict[str, int]
    vouched: int
    alerted_lately: float
    regimes: tuple[Regime, ...]

    @property
    def rows(self) -> int:
        """Rows that were learned from."""
        return sum(self.machines.values())
