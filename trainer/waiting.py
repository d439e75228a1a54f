"""A challenger that has waited beside the champion is judged once more, by what was stored meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from config.policies import operation_policy
from detector.modes import running
from registry.bundle import BundleError, load
from registry.turns import Record
from trainer.gate import Decision, Reason
from trainer.grounds import grounds, newest_of
from trainer.judging import judge
from trainer.leaving_out import left_out
from trainer.turn_record import iso, outcome, turn_id, write_down
from trainer.wording import moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from config.settings import Settings
    from detector.history import History
    from detector.manifest import Asked
    from detector.modes import OperationPolicy
    from detector.scoring import Detector
    from registry.champions import Challenger, Registry
    from trainer.composition import Learned


def settle(
    machine: str | None,
    learned: Learned,
    champion: Detector | None,
    *,
    settings: Settings,
    registry: Registry,
    now: datetime,
    asked: Asked | None = None,
    by_person: bool = False,
) -> Record | None:
    """Decides about a challenger whose time beside the champion is over.

    While it is not over no other challenger is wanted, or none would ever be decided about; a person may
    want one all the same.

    Args:
        machine: Whose line; None: the shared one.
        learned: What is stored of its machines.
        champion: What serves them.
        settings: The configuration.
        registry: Has the challenger.
        now: The present time.
        asked: Who asks for the turn, and why.
        by_person: Whether that is a person.

    Returns:
        What was written down; None: nothing waits that keeps a new challenger from being made.

    Raises:
        BundleError: `champions.json` cannot be read.
        OSError: The disk refuses.
    """
    waiting = registry.waiting().get(machine)
    if waiting is None or waiting.until is None or settings.retrain.shadow is None:
        return None
    over = now.timestamp() * 1000 >= waiting.until
    if not over and by_person:
        return None
    try:
        challenger = load(registry.read(waiting.bundle))
    except BundleError:
        registry.dismiss(machine)
        return None
    before = champion.manifest.id if champion else None
    record = Record(
        id=turn_id(waiting.bundle, registry, now),
        at=iso(now),
        machine=machine,
        outcome=outcome(STILL),
        reason=STILL.reason,
        text=f"{waiting.bundle} waits beside the champion until {moment(waiting.until)} (retrain.shadow)",
        bundle=waiting.bundle,
        champion=before,
        source=("store",),
        asked=asked,
        composition=learned.composition,
    )
    if not over:
        return record  # nothing happened: not worth a page
    rows = tuple(_since(learned, waiting, operation_policy(settings)))
    if not rows:
        text = f"{waiting.bundle} waits on: nothing that counts was stored since {moment(waiting.since)}"
        return write_down(structs.replace(record, text=text), None, settings, registry)
    on = grounds(rows, rows, newest_of(learned), machine, registry, settings, since=waiting.since)
    # It was better when it began to wait; now it must not be worse.
    judged = judge(challenger, champion, on, settings, equal_will_do=True)
    decision = judged.decision
    if decision.promote and registry.pinned(machine):
        text = f"the champion is pinned (anomalyd models unpin); else it would serve: {decision.text}"
        decision = replace(decision, promote=False, reason=Reason.PINNED, text=text)
    if decision.promote:
        registry.promote(waiting.bundle)
    else:
        registry.dismiss(machine)
    text = f"beside the champion since {moment(waiting.since)}: {decision.text}"
    record = structs.replace(record, outcome=outcome(decision), reason=decision.reason, text=text)
    return write_down(record, judged, settings, registry)


STILL = Decision(promote=False, reason=Reason.SHADOW, text="")


def _since(learned: Learned, waiting: Challenger, operation: OperationPolicy) -> Iterator[History]:
    """What was stored since it waits and is taken for normal: neither alerted nor labelled otherwise."""
    for one in learned.stored:
        rows = one.history.rows(one.history.at >= waiting.since)
        reasons = left_out(
            rows.at,
            labels=one.labels,
            alerted=one.alerted,
            suspected=one.suspected,
            running=running(rows, operation),
            settle=operation.settle,
            margin=0,
        )
        keep = ~np.logical_or.reduce([*reasons.values()])
        if keep.any():
            yield rows.rows(keep)
