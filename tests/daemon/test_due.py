"""When a turn is taken: the decision alone, by facts."""

from __future__ import annotations

from datetime import timedelta
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.training import Retrain
from daemon.due import LEARNING_APART, LEAST_APART, MOST_LINES, SETTLING, Facts, due, next_at
from registry.ledger import FIRST_PAUSE, LONGEST_PAUSE, Book, Past, backoff
from registry.requests import By, Request

HOUR, DAY = 3_600_000, 86_400_000
NOON = 20_000 * DAY
DAILY = Retrain(every=timedelta(days=1), jitter=None)
BY_AGE = Retrain(max_age=timedelta(days=10), jitter=None)


def facts(
    made: dict[str | None, int] | None = None,
    *pending: Request,
    spread: float = 0.0,
    started: int = NOON - DAY,
    **past: Past,
) -> Facts:
    shared = past.pop("shared", Past())
    return Facts(started, {None: 0, **(made or {})}, Book(spread, shared, past, pending), {})


def test_only_the_lines_of_which_the_time_has_come_are_due() -> None:
    found = due(NOON, facts({None: NOON - DAY, "pump": NOON - HOUR, "press": NOON - DAY}), DAILY)
    assert found is not None
    assert (found.by, found.machines) == (By.SCHEDULE, (None, "press"))
    assert found.reason == "retrain.every is 1d"


def test_where_all_lines_are_due_none_is_named() -> None:
    found = due(NOON, facts({None: NOON - DAY, "press": NOON - DAY}), DAILY)
    assert found is not None
    assert found.machines is None


def test_a_line_that_had_a_turn_without_a_promotion_waits_for_its_time() -> None:
    had = facts({None: NOON - 9 * DAY}, shared=Past(NOON - HOUR, 5.0))
    assert due(NOON, had, DAILY) is None
    assert next_at(NOON, had, DAILY) == NOON - HOUR + DAY


def test_a_champion_beyond_its_age_is_due_and_a_refused_challenger_puts_it_off_by_a_tenth() -> None:
    old = {None: NOON, "press": NOON - 10 * DAY}
    found = due(NOON, facts(old), BY_AGE)
    assert found is not None
    assert (found.by, found.machines) == (By.AGE, ("press",))
    assert found.reason == "the champion is older than retrain.max_age, 10d"
    refused = facts(old, press=Past(NOON - HOUR, 5.0))
    assert due(NOON, refused, BY_AGE) is None
    assert next_at(NOON, refused, BY_AGE) == NOON - HOUR + DAY


def test_without_a_champion_no_age_is_too_old() -> None:
    assert next_at(NOON, facts(), BY_AGE) is None


def test_the_most_urgent_comes_first() -> None:
    requests = [Request(by, f"because of {by}", NOON) for by in reversed(By)]
    order = []
    while requests:
        found = due(NOON, facts(None, *requests), Retrain())
        assert found is not None
        order.append(found.by)
        requests = [one for one in requests if one.by is not found.by]
    assert order == list(By)


def test_what_is_asked_for_a_machine_concerns_the_line_that_serves_it() -> None:
    request = Request(By.COMMAND, "new tool", NOON, ("press", "mill", "lathe"))
    found = due(NOON, facts({"press": 1}, request), Retrain())
    assert found is not None
    assert found.machines == ("press", None)
    own = Request(By.LEARNING, "enough", NOON, ("mill",), own=True)
    found = due(NOON, facts({"press": 1}, own), Retrain())
    assert found is not None
    assert (found.machines, found.own) == (("mill",), True)


def test_turns_for_drift_and_learning_lie_apart_and_a_command_waits_for_nothing() -> None:
    for by, at in (
        (By.DRIFT, NOON - 1000 + LEAST_APART),
        (By.LEARNING, NOON - 1000 + LEARNING_APART),
        (By.COMMAND, NOON),
    ):
        asked = facts(None, Request(by, "", NOON), shared=Past(NOON - 1000, 1.0))
        assert next_at(NOON, asked, Retrain()) == at


def test_what_failed_waits_and_a_command_does_not() -> None:
    failed = Past(NOON, 1.0, failures=3, retry_at=NOON + HOUR)
    for by, at in ((By.DRIFT, NOON + HOUR), (By.LEARNING, NOON + HOUR), (By.FILE, NOON), (By.COMMAND, NOON)):
        found = facts(None, Request(by, "", NOON), shared=failed)
        assert next_at(NOON, found, Retrain()) == at
    assert next_at(NOON, facts(shared=failed), DAILY) == NOON + HOUR


def test_a_fleet_that_starts_together_does_not_train_together() -> None:
    every = Retrain(every=timedelta(days=1))
    times = [next_at(NOON, facts(spread=n / 100, started=NOON), every) for n in range(100)]
    firsts = [at - NOON - SETTLING for at in times if at is not None]
    assert len({*firsts}) == 100
    assert (min(firsts), max(firsts)) == (0, round(0.99 * 2.4 * HOUR))
    assert fmean(firsts) == pytest.approx(1.2 * HOUR, rel=0.02)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, DAY - 1))
def test_the_jitter_is_the_same_each_time_and_no_more_than_is_stated(spread: float, since: int) -> None:
    jitter = Retrain(every=timedelta(days=1), jitter=timedelta(hours=3))
    one = facts({None: NOON - since}, spread=spread, started=0)
    at = next_at(NOON, one, jitter)
    assert at == next_at(NOON, one, jitter)
    assert at is not None
    assert 0 <= at - (NOON - since + DAY) <= 3 * HOUR


def test_a_large_fleet_is_asked_for_in_parts() -> None:
    made: dict[str | None, int] = {f"m{n}": NOON - DAY for n in range(2 * MOST_LINES)}
    found = due(NOON, facts(made), DAILY)
    assert found is not None
    assert found.machines is not None
    assert len(found.machines) == MOST_LINES


def test_pauses_double_from_ten_minutes_to_a_day() -> None:
    pauses = [backoff(n, 0.0) for n in range(1, 20)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == backoff(10_000, 0.0) == LONGEST_PAUSE
    assert backoff(1, 0.999) == pytest.approx(1.25 * FIRST_PAUSE, rel=0.01)
