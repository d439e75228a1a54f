"""How slow changes are measured that are no anomalies."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from config.quantities import Duration, DurationOrAuto, DurationOrOff, Positive, PositiveOrAuto, between
from config.section import After, Limits, Section
from config.topics import MachineTopic


class Drift(Section, frozen=True):
    """Drift of the normal state, and faults that develop."""

    every: Annotated[DurationOrOff, After(between(timedelta(minutes=1)))] = timedelta(hours=6)
    topic: MachineTopic = "anomalyd/{machine}/drift"
    block: Annotated[DurationOrAuto, PositiveOrAuto] = "auto"
    look_back: Annotated[Duration, Positive] = timedelta(days=30)
    settled_after: Annotated[Duration, Positive] = timedelta(days=3)
    min_move: Annotated[float, Limits(gt=0)] = 0.5
    min_growth: Annotated[float, Limits(gt=1)] = 1.3
