"""Which retraining is due, and when the next one will be: a decision from facts alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from config.policies import milliseconds
from config.quantities import AUTO, format_duration
from registry.requests import URGENCY, By, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.training import Retrain
    from registry.ledger import Book, Past

SETTLING = 600_000  # milliseconds after a start without turns that nobody asked for: it may be one of many
LEAST_APART = (
    3_600_000  # milliseconds from a line's turn to the next for drift: it must have been seen to help
)
LEARNING_APART = 600_000  # milliseconds for a first bundle: what was refused needs other readings
MOST_LINES = 500  # in one request; the others follow


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision depends on; all times in milliseconds since the epoch.

    Attributes:
        started_at: When the daemon started.
        made: When the champion of each line was made; 0: it has none. The shared line is always there.
        book: What became of former turns, and what was asked for.
        handed: When a turn of a line was last handed to another service.
    """

    started_at: int
    made: Mapping[str | None, int]
    book: Book
    handed: Mapping[str | None, int]


@dataclass(frozen=True, slots=True)
class Planned:
    """A turn of one line, and when it may begin."""

    at: int
    line: str | None
    request: Request


def due(now: int, facts: Facts, settings: Retrain) -> Request | None:
    """The most urgent request of which lines are due, for these lines; None: it is nobody's turn."""
    ready = [one for one in planned(now, facts, settings) if one.at <= now]
    if not ready:
        return None
    first = min(ready, key=lambda one: (URGENCY[one.request.by], one.request.at, one.at)).request
    lines = dict.fromkeys(
        one.line
        for one in ready
        if (one.request.by, one.request.reason, one.request.own) == (first.by, first.reason, first.own)
    )
    every = first.machines is None and len(lines) == len(_lines(facts)) <= MOST_LINES
    return Request(
        first.by, first.reason, first.at, None if every else tuple(lines)[:MOST_LINES], own=first.own
    )


def next_at(now: int, facts: Facts, settings: Retrain) -> int | None:
    """When the next turn begins as things stand, now or later; None: there is none to come."""
    times = [one.at for one in planned(now, facts, settings)]
    return max(now, min(times)) if times else None


def planned(now: int, facts: Facts, settings: Retrain) -> Iterator[Planned]:
    """The turns that are to come, in no order."""
    for request in facts.book.pending:
        for line in lines_of(request, facts):
            past = facts.book.of(line)
            at = now if request.by.person else max(past.retry_at, _asked(request, past, facts))
            yield Planned(at, line, request)
    every, oldest = settings.every, settings.max_age
    if every is not None:
        request = Request(By.SCHEDULE, f"retrain.every is {format_duration(every)}", now)
        for line, made in facts.made.items():
            # What was made by a clock that was far ahead is as good as not made.
            last = max(_tried(line, facts), made if made - now < milliseconds(every) else 0)
            yield Planned(_at(last, every, line, facts, settings), line, request)
    if oldest is not None:
        text = f"the champion is older than retrain.max_age, {format_duration(oldest)}"
        request = Request(By.AGE, text, now)
        for line, made in facts.made.items():
            # A challenger was refused: the champion is as old as before; a tenth of that later worth a try.
            last = max(made, _tried(line, facts) - milliseconds(oldest) * 9 // 10)
            if made:
                yield Planned(_at(last, oldest, line, facts, settings), line, request)


def _tried(line: str | None, facts: Facts) -> int:
    return max(facts.book.of(line).began_at, facts.handed.get(line, 0))


def _at(last: int, interval: timedelta, line: str | None, facts: Facts, settings: Retrain) -> int:
    """When a turn that comes by itself so long after the last one may begin."""
    past = facts.book.of(line)
    if past.failures:
        return max(past.retry_at, _settled(facts, interval))
    jitter = settings.jitter or timedelta(0) if settings.jitter != AUTO else interval / 10
    at = max(last + milliseconds(interval) if last else 0, _settled(facts, interval))
    return at + round(facts.book.spread * milliseconds(jitter))


def _asked(request: Request, past: Past, facts: Facts) -> int:
    """When what no person asked for may begin, failures aside."""
    learning = request.by is By.LEARNING
    apart = past.began_at + (LEARNING_APART if learning else LEAST_APART) if past.began_at else 0
    return max(apart, request.at if learning else _settled(facts, timedelta.max))


def _settled(facts: Facts, interval: timedelta) -> int:
    short = min(interval, timedelta(milliseconds=SETTLING))
    return facts.started_at + milliseconds(short)


def lines_of(request: Request, facts: Facts) -> list[str | None]:
    """Whose turn a request asks for."""
    lines = _lines(facts)
    if request.machines is None:
        return lines
    if request.own:
        return list(dict.fromkeys(request.machines))
    return list(dict.fromkeys(machine if machine in facts.made else None for machine in request.machines))


def _lines(facts: Facts) -> list[str | None]:
    return list(facts.made)
