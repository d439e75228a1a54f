"""A turn is written down: a record for machines, and a page for people."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from msgspec.structs import replace

from registry.bundle import new_id
from registry.turns import Outcome, Record, Turns
from trainer.gate import Reason
from trainer.turn_page import turn_page

if TYPE_CHECKING:
    from datetime import datetime

    from config.settings import Settings
    from detector.manifest import Asked
    from registry.champions import Registry
    from trainer.composition import Learned
    from trainer.gate import Decision
    from trainer.judging import Judged

WAITING = {Reason.MANUAL, Reason.SHADOW}


def write_down(record: Record, judged: Judged | None, settings: Settings, registry: Registry) -> Record:
    """Writes a turn's record, and its page unless `trainer.report` is off; returns what was written.

    Args:
        record: Without what `judged` tells.
        judged: What the gate looked at; None: the turn ended before.
        settings: Of which `retrain.keep_turns` and `trainer.report` are used.
        registry: Where.

    Raises:
        OSError: The disk refuses.
    """
    if judged is not None:
        record = replace(
            record,
            criteria=judged.decision.criteria,
            notes=(*judged.grounds.notes, *record.notes),
            seconds={**record.seconds, "judge": round(judged.seconds, 3)},
        )
    page = None if settings.trainer.report == "off" else turn_page(record, judged)
    Turns(registry.state_dir).add(record, page, most=settings.retrain.keep_turns)
    return record


def write_down_none(
    reason: str,
    text: str,
    machine: str | None,
    learned: Learned | None,
    *,
    settings: Settings,
    registry: Registry,
    now: datetime,
    source: tuple[str, ...] = ("store",),
    asked: Asked | None = None,
) -> Record:
    """Writes down a turn that ended before there was a challenger; see `write_down`."""
    record = Record(
        id=turn_id(None, registry, now),
        at=iso(now),
        machine=machine,
        outcome=Outcome.NONE,
        reason=reason,
        text=text,
        source=source,
        asked=asked,
        composition=learned.composition if learned else None,
    )
    return write_down(record, None, settings, registry)


def turn_id(bundle: str | None, registry: Registry, now: datetime) -> str:
    """A name for a turn: that of its bundle, unless that was judged before, when it began to wait."""
    return bundle if bundle and bundle not in Turns(registry.state_dir).ids() else new_id(now)


def iso(now: datetime) -> str:
    """A time as records hold it."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def outcome(decision: Decision) -> Outcome:
    """What became of the challenger."""
    if decision.promote:
        return Outcome.PROMOTED
    return Outcome.WAITS if decision.reason in WAITING else Outcome.REFUSED
