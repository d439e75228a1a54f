from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from config.checking import check
from config.settings import Settings
from config.streams import Operation
from detector.alerts import AlertPolicy
from detector.composition import LeftOut
from detector.history import History
from detector.labels import Label, LabelKind
from tests.trainer.examples import CREATED, ID, SECOND, START, pump, settings, trained_pump, with_values
from trainer.calibration import replay_rows
from trainer.composition import Learned, Stored, compose
from trainer.jobs import Job
from trainer.leaving_out import OF_LABELS, Span, Suspected
from trainer.training import train

ROWS = 600


def wishes(**retrain: object) -> Settings:
    given = settings()
    return replace(given, retrain=replace(given.retrain, **{"min_readings": 1, **retrain}))


def at(row: int) -> int:
    return START + SECOND * row


def span(first: int, last: int | None) -> Span:
    return at(first), None if last is None else at(last)


def label(kind: LabelKind, first: int, last: int | None) -> Label:
    start, end = span(first, last)
    return Label("pump-1", kind, start, end, noted_at=at(ROWS))


def composed(
    *,
    labels: Sequence[Label] = (),
    alerted: Sequence[Span] = (),
    suspected: Sequence[Suspected] = (),
    history: History | None = None,
    config: Settings | None = None,
    remembered: Sequence[History] = (),
) -> Learned:
    stored = Stored(history or pump(ROWS), alerted, labels, suspected)
    return compose([stored], trained_pump().detector, config or wishes(), remembered)


def learned_rows(learned: Learned) -> set[int]:
    """Which rows of the pump were learned from."""
    return {int(row) for history in learned.histories for row in ((history.at - START) // SECOND).tolist()}


# A window of 6 and the 5 windows among which some open an alert.
MARGIN = 11
SETTLE = 60  # operation.settle is a minute


def test_what_was_in_alert_is_left_out_with_a_margin_before_and_after() -> None:
    learned = composed(alerted=[span(100, 120), span(590, None)])
    assert learned_rows(learned) == {*range(ROWS)} - {*range(100 - MARGIN, 121 + MARGIN)} - {
        *range(590 - MARGIN, ROWS)
    }
    assert learned.composition.left_out == {LeftOut.ALERT: 21 + 2 * MARGIN + 10 + MARGIN}
    assert learned.composition.rows == len(learned_rows(learned))
    assert learned.composition.stored == ROWS
    assert learned.composition.alerted_lately == (21 + 2 * MARGIN + 10 + MARGIN) / ROWS


@pytest.mark.parametrize(("margin", "rows"), [("2s", 2), ("off", 0), ("1m", 60)])
def test_the_margin_is_an_option(margin: str, rows: int) -> None:
    wished = {"2s": timedelta(seconds=2), "off": None, "1m": timedelta(minutes=1)}[margin]
    learned = composed(alerted=[span(100, 120)], config=wishes(margin=wished))
    assert learned_rows(learned) == {*range(ROWS)} - {*range(100 - rows, 121 + rows)}


def test_a_false_alarm_brings_an_alert_s_rows_back_and_vouches_for_them() -> None:
    learned = composed(
        alerted=[span(100, 120), span(300, 320)],
        labels=[label(LabelKind.FALSE_ALARM, 100, 120)],
    )
    assert learned_rows(learned) == {*range(ROWS)} - {*range(300 - MARGIN, 321 + MARGIN)}
    (vouched,) = learned.vouched
    assert ((vouched.at - START) // SECOND).tolist() == [*range(100 - MARGIN, 121 + MARGIN)]
    assert learned.composition.vouched == len(vouched)
    assert learned.composition.labels == {"false_alarm": 1}


spans = st.tuples(st.integers(-50, ROWS + 50), st.integers(0, 150) | st.none()).map(
    lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1])
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    alerted=st.lists(spans, max_size=3),
    labelled=st.lists(st.tuples(st.sampled_from(LabelKind), spans), max_size=4),
    suspected=st.lists(spans, max_size=2),
    most=st.sampled_from([200, 10_000]),
)
def test_nothing_is_learned_of_what_was_not_normal_and_every_row_is_counted_once(
    alerted: list[tuple[int, int | None]],
    labelled: list[tuple[LabelKind, tuple[int, int | None]]],
    suspected: list[tuple[int, int | None]],
    most: int,
) -> None:
    learned = composed(
        alerted=[span(*each) for each in alerted],
        labels=[label(kind, *each) for kind, each in labelled],
        suspected=[Suspected(*span(*each), "wear") for each in suspected],
        config=wishes(max_readings=most),
    )

    def covered(some: list[tuple[int, int | None]], before: int = 0, after: int = 0) -> set[int]:
        return {
            row
            for first, last in some
            for row in range(max(0, first - before), ROWS if last is None else min(ROWS, last + after + 1))
        }

    rests = (LabelKind.OFF, LabelKind.MAINTENANCE)
    said = covered([each for kind, each in labelled if kind in OF_LABELS])
    said |= covered([each for kind, each in labelled if kind in rests], after=SETTLE)
    called_false = [each for kind, each in labelled if kind is LabelKind.FALSE_ALARM]
    others = [each for each in alerted if not covered([each]) & covered(called_false)]
    false = covered(called_false, MARGIN, MARGIN) - covered(others, MARGIN, MARGIN) | covered(called_false)
    doubtful = covered(alerted, MARGIN, MARGIN) | covered(suspected)
    usable = {*range(ROWS)} - said - (doubtful - false)
    rows = learned_rows(learned)
    assert rows <= usable
    assert len(rows) <= most
    if len(usable) <= most:
        assert rows == usable
    counted = learned.composition
    assert counted.rows == len(rows)
    assert counted.rows + sum(counted.left_out.values()) + sum(learned.few.values()) == ROWS
    assert {row for one in learned.vouched for row in ((one.at - START) // SECOND).tolist()} == rows & false


def test_what_the_champion_remembers_joins_where_the_store_has_nothing_and_is_labelled_like_all_else() -> (
    None
):
    old = pump(400, start=START - 1000 * SECOND)
    overlapping = dataclasses.replace(old, at=old.at + 700 * SECOND)  # from 300 before to 100 after the start
    learned = composed(remembered=[overlapping], labels=[label(LabelKind.CONFIRMED, -300, -201)])
    assert learned.composition.remembered == 300
    assert learned_rows(learned) == {*range(-200, ROWS)}
    assert learned.composition.left_out == {LeftOut.CONFIRMED: 100}
    assert len(learned.stored[0].history) == ROWS, "the gate looks at what was stored alone"


def test_a_machine_with_too_few_rows_is_told_and_left_out() -> None:
    few = dataclasses.replace(pump(40), machine="pump-2")
    learned = compose([Stored(pump(ROWS)), Stored(few)], trained_pump().detector, wishes(min_readings=100))
    assert [history.machine for history in learned.histories] == ["pump-1"]
    assert learned.few == {"pump-2": 40}
    assert learned.composition.machines == {"pump-1": ROWS}


def test_without_a_champion_all_sensors_are_learned_from_as_they_came() -> None:
    learned = compose([Stored(pump(ROWS), [span(100, 120)])], None, wishes())
    assert learned_rows(learned) == {*range(ROWS)} - {*range(100 - MARGIN, 121 + MARGIN)}


def test_no_reading_at_all_is_no_error() -> None:
    learned = compose([Stored(pump(0))], None, wishes(min_readings=1))
    assert learned.histories == ()
    assert learned.composition.start is None


def test_more_than_there_is_room_for_is_told_by_regime() -> None:
    history = pump(20_000)
    values = history.values.copy()
    values[5000:5400] += (50, 50, 5)
    learned = composed(history=with_values(history, values), config=wishes(max_readings=3000))
    counted = learned.composition
    assert 2500 < counted.rows <= 3000
    assert counted.left_out == {LeftOut.NO_ROOM: 20_000 - counted.rows}
    assert sum(regime.of for regime in counted.regimes) == 20_000
    assert sum(regime.rows for regime in counted.regimes) == counted.rows
    assert {*range(5100, 5300)} <= learned_rows(learned), "the rare regime"
    assert {*range(19_500, 20_000)} <= learned_rows(learned), "the newest time"


def test_an_alert_that_was_called_false_does_not_open_in_the_model_that_follows() -> None:
    history = pump(ROWS)
    values = history.values.copy()
    noise = np.random.default_rng(0).normal(size=(12, 3))  # nothing that can be learned
    values[300:312] += noise * (4, 8, 0.2)
    odd = with_values(history, values)
    false = composed(history=odd, alerted=[span(302, 315)], labels=[label(LabelKind.FALSE_ALARM, 302, 315)])

    def opened(learned: Learned) -> int:
        job = Job(learned.histories, "pump-1", ("store",), ID, learned)
        made = train(job, settings=settings(), created_at=CREATED)
        return replay_rows(made.detector, [odd], AlertPolicy()).opened

    assert opened(false) == 0
    assert opened(dataclasses.replace(false, vouched=())) == 1


def test_what_came_while_the_machine_did_not_run_is_left_out_whoever_s_sensor_tells() -> None:
    history = pump(ROWS)
    speed = np.full((ROWS, 1), 100.0)
    speed[200:250] = 0
    wider = dataclasses.replace(
        history, sensors=(*history.sensors, "speed"), values=np.hstack([history.values, speed])
    )
    checked, faults = check(Operation, {"running_when": "speed > 50", "settle": "10s"})
    assert checked is not None, faults
    learned = composed(history=wider, config=replace(wishes(), operation=checked))
    assert learned_rows(learned) == {*range(ROWS)} - {*range(200, 260)}
    assert learned.composition.left_out == {LeftOut.NOT_RUNNING: 60}
    assert learned.histories[0].sensors == ("flow", "pressure", "current")


def test_the_newest_rows_are_known_in_alert_or_not_but_for_what_was_no_normal_operation() -> None:
    learned = composed(
        alerted=[span(100, 119), span(400, 419)], labels=[label(LabelKind.CONFIRMED, 400, 499)]
    )
    (lately,) = learned.lately
    assert ((lately.at - START) // SECOND).tolist() == [*range(400), *range(500, ROWS)]
    assert (learned.alarmed, learned.alerts) == (20 / 500, 2)
