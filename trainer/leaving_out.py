"""Which of a machine's rows nothing may be learned from, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from detector.composition import LeftOut
from detector.labels import LabelKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from detector.labels import Label

Span: TypeAlias = tuple[
    int, int | None
]  # first and last moment in milliseconds since the epoch; None: it goes on

OF_LABELS = {
    LabelKind.CONFIRMED: LeftOut.CONFIRMED,
    LabelKind.EXCLUDED: LeftOut.EXCLUDED,
    LabelKind.OFF: LeftOut.OFF,
    LabelKind.MAINTENANCE: LeftOut.MAINTENANCE,
}


@dataclass(frozen=True, slots=True)
class Suspected:
    """A stretch in which a fault may have been developing.

    Attributes:
        start: Its first moment, in milliseconds since the epoch.
        end: Its last moment; None: it goes on.
        reason: Why, for people.
        sensors: Which show it.
    """

    start: int
    end: int | None
    reason: str
    sensors: tuple[str, ...] = ()


def left_out(
    at: NDArray[np.int64],
    *,
    labels: Sequence[Label],
    alerted: Sequence[Span],
    suspected: Sequence[Suspected],
    running: NDArray[np.bool_],
    settle: int,
    margin: int,
) -> dict[LeftOut, NDArray[np.bool_]]:
    """The rows that are left out, by the first reason that holds; no row has two.

    What people say comes first. A false alarm takes back the alerts and the suspicions of its time.

    Args:
        at: Times of the rows, ascending, shape (N,).
        labels: What was said about the machine's time.
        alerted: When it was in alert.
        suspected: When a fault may have been developing.
        running: Whether the machine ran and had settled, shape (N,).
        settle: Milliseconds that it takes to settle after it was off or in maintenance.
        margin: Milliseconds around alerts, before and after.
    """
    found = {reason: inside(at, _spans(labels, kind, settle)) for kind, reason in OF_LABELS.items()}
    found[LeftOut.NOT_RUNNING] = ~running
    forgiven = vouched(at, labels, alerted, margin)
    found[LeftOut.ALERT] = inside(at, alerted, margin) & ~forgiven
    found[LeftOut.SUSPECTED] = inside(at, ((one.start, one.end) for one in suspected)) & ~forgiven
    taken = np.zeros(len(at), np.bool_)
    for reason, rows in found.items():
        found[reason] = rows & ~taken
        taken |= rows
    return found


def _spans(labels: Sequence[Label], kind: LabelKind, settle: int) -> Iterator[Span]:
    after = settle if kind in {LabelKind.OFF, LabelKind.MAINTENANCE} else 0
    for label in labels:
        if label.kind is kind:
            yield label.start, None if label.end is None else label.end + after


def vouched(
    at: NDArray[np.int64], labels: Sequence[Label], alerted: Sequence[Span], margin: int
) -> NDArray[np.bool_]:
    """The rows that somebody called normal by calling an alert false, with those around it, shape (N,).

    Of what is around, not what belongs to another alert: nobody has called that one false.
    """
    false = [(label.start, label.end) for label in labels if label.kind is LabelKind.FALSE_ALARM]
    others = [span for span in alerted if not any(_meet(span, one) for one in false)]
    return inside(at, false) | (inside(at, false, margin) & ~inside(at, others, margin))


def _meet(one: Span, other: Span) -> bool:
    (start, end), (first, last) = one, other
    return (last is None or start <= last) and (end is None or first <= end)


def inside(at: NDArray[np.int64], spans: Iterable[Span], margin: int = 0) -> NDArray[np.bool_]:
    """Whether times lie in any of some spans, or so many milliseconds around one; shape (N,)."""
    found = np.zeros(len(at), np.bool_)
    for start, end in spans:
        first = np.searchsorted(at, start - margin)
        last = len(at) if end is None else np.searchsorted(at, end + margin, side="right")
        found[first:last] = True
    return found
