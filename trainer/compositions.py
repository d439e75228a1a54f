"""What was learned from, in named lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.wording import counted, listed, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.composition import Composition, Regime

LEFT_OUT = {
    "confirmed": "in confirmed incidents",
    "excluded": "excluded",
    "off": "while off",
    "maintenance": "in maintenance",
    "not_running": "while not running",
    "alert": "in or around alerts",
    "suspected": "while a fault may have been developing",
    "no_room": "for want of room (retrain.max_readings)",
}
MOST_ALERTED = 0.5  # of a day


def composed(composition: Composition) -> Iterator[tuple[str, str]]:
    """The composition for people."""
    rows = counted(composition.rows, "reading")
    if composition.start is not None and composition.end is not None:
        rows += f", {moment(composition.start)} to {moment(composition.end)}"
    there = f"{composition.stored:,} stored"
    if composition.remembered:
        there += f" and {composition.remembered:,} remembered"
    yield "learned", f"{rows}; of {there}"
    if len(composition.machines) > 1:
        yield "machines", listed([f"{name} {count:,}" for name, count in composition.machines.items()])
    left_out = [f"{count:,} {LEFT_OUT[reason]}" for reason, count in composition.left_out.items()]
    if composition.stuck:
        left_out.append(f"{counted(composition.stuck, 'value')} of stuck sensors")
    if left_out:
        yield "left out", ", ".join(left_out)
    if composition.labels:
        labels = [f"{count:,} {kind.replace('_', ' ')}" for kind, count in composition.labels.items()]
        yield "labels", ", ".join(labels)
    if composition.vouched:
        yield "false alarm", f"{counted(composition.vouched, 'reading')} learned as normal"
    if composition.alerted_lately > MOST_ALERTED:
        share = f"{composition.alerted_lately:.0%} of the last day was left out as it was in alert"
        yield "mind", f"{share}; if that is how the machine is to run now, call the alert false"
    regimes = sorted(composition.regimes, key=lambda regime: -regime.of)
    if len(regimes) > 1:
        yield "regimes", listed([*map(_regime, regimes)])


def _regime(regime: Regime) -> str:
    rows = "all" if regime.rows == regime.of else f"{regime.rows:,}"
    return f"{rows} of {regime.of:,} readings up to {moment(regime.end)}"
