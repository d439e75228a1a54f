"""Did the daemon do what it should have: quiet while all was well, an alert for each fault?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from demo.faults import SilentSensor, StuckSensor
from demo.seen import Alert, Blame, Score, Seen
from demo.story import Story, Stretch

GRACE = 30  # seconds after a fault's end in which the window still holds its readings
SCORED = 0.9  # share of a stretch's seconds that must have got a score; the first window takes 30 s to fill


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one stretch.

    Attributes:
        delay: seconds from the fault's onset to the alert, None without an alert.
        blamed: the sensor with the largest share when the alert opened.
        scored: share of the stretch's seconds for which a score came.
        remark: what a person should know, in plain words.
    """

    stretch: Stretch
    good: bool
    delay: float | None
    blamed: Blame | None
    scored: float
    remark: str


def judge(story: Story, began: datetime, seen: Seen) -> tuple[Outcome, ...]:
    """One outcome for the normal stretch, one for each fault; `began` is the first reading's time."""
    judged = [stretch for stretch in story.stretches if stretch is story.normal or stretch.fault is not None]
    return tuple(_judge_one(stretch, began, seen) for stretch in judged)


def false_alerts(story: Story, began: datetime, seen: Seen) -> tuple[Alert, ...]:
    """Alerts that opened where nothing was wrong, and too late to be a fault's."""
    faulty = [stretch for stretch in story.stretches if stretch.fault is not None]
    return tuple(
        event for event in _opened(seen) if not any(_within(event.at, began, stretch) for stretch in faulty)
    )


def _judge_one(stretch: Stretch, began: datetime, seen: Seen) -> Outcome:
    scored = _scored(seen.scores, began, stretch)
    opened = [event for event in _opened(seen) if _within(event.at, began, stretch)]
    first = opened[0] if opened else None
    delay = None if first is None else (first.at - began).total_seconds() - stretch.begin
    blamed = first.sensors[0] if first is not None and first.sensors else None

    if stretch.fault is None:
        good = first is None and scored >= SCORED
        remark = "quiet" if good else "false alarm" if first is not None else f"only {scored:.0%} was scored"
    elif isinstance(stretch.fault, SilentSensor):
        # A silent sensor is no anomaly of the machine: what counts is that the rest is still watched.
        good = scored >= SCORED
        imputed = any(stretch.fault.sensor in score.imputed for score in seen.scores)
        remark = f"{scored:.0%} scored without it" if good else f"detection stopped: {scored:.0%} scored"
        remark += ", named as imputed" if good and imputed else ""
    elif first is None and (stuck := _stuck(stretch, began, seen)):
        # A dead sensor is no failing machine: it is told by name, and its values count no longer.
        after = (stuck - began).total_seconds() - stretch.begin
        good, remark = True, f"told that it is stuck after {after:.0f} s"
    else:
        good = first is not None
        remark = "missed" if delay is None else "alerted"
        if delay is not None and stretch.unseen:
            remark += f", {delay - stretch.unseen:.0f} s after it could be seen"
    return Outcome(stretch, good, delay, blamed, scored, remark)


def _stuck(stretch: Stretch, began: datetime, seen: Seen) -> datetime | None:
    """When the stuck sensor was told to be so; None: never, or the fault is another one."""
    if not isinstance(stretch.fault, StuckSensor):
        return None
    said = (one.at for one in seen.health if (one.sensor, one.health) == (stretch.fault.sensor, "stuck"))
    return next((at for at in said if _within(at, began, stretch)), None)


def _opened(seen: Seen) -> list[Alert]:
    return [event for event in seen.alerts if event.change == "opened"]


def _within(at: datetime, began: datetime, stretch: Stretch) -> bool:
    second = (at - began).total_seconds()
    return stretch.begin <= second < stretch.end + (GRACE if stretch.fault is not None else 0)


def _scored(scores: Iterable[Score], began: datetime, stretch: Stretch) -> float:
    seconds = {(score.at - began).total_seconds() for score in scores}
    return sum(stretch.holds(second) for second in seconds) / (stretch.end - stretch.begin)
