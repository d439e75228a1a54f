from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from detector.alerts import Change, Severity
from detector.events import AlertChanged, Event, NotScored, NotScoredReason, Scored
from detector.grid import Grid
from detector.history import History
from trainer.evaluation import Laying, Rows, Tally, evaluate, rows, runs, summed

SECOND = 1_000
GRID = Grid(SECOND)


def history(labels: str, *, step: int = SECOND) -> History:
    """One row per character: `.` normal, `x` anomalous, `?` unknown."""
    label = np.array([{".": 0, "x": 1, "?": -1}[character] for character in labels], dtype=np.int8)
    return History("m", ("s",), step * np.arange(len(labels)), np.zeros((len(labels), 1)), label)


def scored(second: float, score: float, machine: str = "m") -> Scored:
    return Scored(machine, round(second * SECOND), score, score, score > 1, 1.0, ())


def alert(second: float, change: Change, machine: str = "m") -> AlertChanged:
    at = round(second * SECOND)
    return AlertChanged(
        "id", machine, change, Severity.WARNING, at, at, 2.0, 2.0, 2.0, 1.0, (), 1.0, (), "bundle"
    )


def laid(labels: str, scores: str, alerts: str = "") -> Rows:
    """Scores as digits, alarmed above 1; `-` is no score; `o` where an alert opened."""
    label = history(labels)
    assert label.label is not None
    score = np.array([np.nan if c == "-" else float(c) for c in scores])
    opened = np.array([c == "o" for c in alerts.ljust(len(labels))])
    return Rows(label.at, label.label, score, score > 1, opened, SECOND)


def test_counts_are_summed_over_files_and_then_divided() -> None:
    #                 normal: 1 of 4 alarmed; anomalous: 2 of 3 alarmed
    found = evaluate([laid("....xx?", "0200229"), laid("x", "0")])
    assert (found.files, found.rows, found.anomalous) == (2, 7, 3)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.far == pytest.approx(25.0)
    assert found.mar == pytest.approx(100 / 3)


def test_a_row_without_a_score_counts_as_not_alarmed_and_ranks_last() -> None:
    found = evaluate([laid("....xx", "--0122")])
    assert found.unscored == 2
    assert found.f1 == 1.0
    assert found.auc_pr == 1.0
    worse = evaluate([laid("..xx", "01-2")])
    assert worse.recall == pytest.approx(0.5)
    # Ranked 2 (anomalous), 1, 0, none (anomalous): precision 1 at the first, 2/4 at the last.
    assert worse.auc_pr == pytest.approx((1 + 2 / 4) / 2)
    assert worse.auc_pr_random == pytest.approx(0.5)


def test_the_area_is_the_mean_over_files_that_have_both_labels() -> None:
    found = evaluate([laid("..xx", "0123"), laid("x...", "0123"), laid("....", "3210")])
    assert found.auc_pr == pytest.approx((1 + 1 / 4) / 2)
    assert found.auc_pr_random == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_an_event_is_found_by_an_alert_that_opened_in_it_and_delay_counts_from_its_start() -> None:
    found = evaluate(
        [
            laid("..xxxx..xx..xx", "0" * 14, "    oo       o"),
            laid("xx??", "0000", "o   "),
        ]
    )
    assert (found.events, found.events_found) == (4, 3)
    assert found.delay_mean == pytest.approx((2 + 1 + 0) / 3)
    assert found.delay_median == pytest.approx(1.0)


def test_an_alert_that_opened_on_a_normal_row_is_false() -> None:
    found = evaluate([laid("....xx..??..", "0" * 12, "o   o  oo  ")])
    #                                               false, true, false, unknown
    assert found.false_alerts == 2
    assert evaluate([laid("..??..", "000000", "  o")]).false_alerts == 0
    assert found.false_alerts_per_day == pytest.approx(2 / (8 / 86_400))


def test_an_alert_that_never_closes_is_one_false_alert_and_finds_no_event() -> None:
    labels = "....xxx....xxx....xxx"
    events: list[Event] = [scored(0, 2.0), alert(0, Change.OPENED)]
    events += [scored(second, 2.0) for second in range(1, len(labels))]
    found = evaluate([rows(history(labels), events, grid=GRID, stride=1)])
    assert (found.events, found.events_found, found.delay_mean, found.false_alerts) == (3, 0, None, 1)


def test_nothing_to_divide_by_is_no_figure() -> None:
    found = evaluate([laid("??", "02")])
    assert (found.precision, found.recall, found.f1, found.far, found.mar) == (None,) * 5
    assert (found.auc_pr, found.auc_pr_random, found.delay_mean, found.false_alerts_per_day) == (None,) * 4
    assert (found.rows, found.events, found.false_alerts, found.unscored) == (0, 0, 0, 0)


def test_scores_stand_for_the_rows_of_their_slot() -> None:
    events: list[Event] = [
        NotScored("m", 0, NotScoredReason.WARMING_UP),
        scored(1, 0.5),
        scored(1, 9.0, "other"),
        alert(1, Change.OPENED, "other"),
        scored(2, 2.0),
        alert(2, Change.OPENED),
        scored(4, 0.25),
        alert(4, Change.CLOSED),
    ]
    recorded = history("......")
    recorded.at[:] = [0, 900, 1_100, 2_000, 3_000, 4_000]
    found = rows(recorded, events, grid=GRID, stride=1)
    np.testing.assert_array_equal(found.score, [np.nan, 0.5, 0.5, 2.0, np.nan, 0.25])
    assert found.alarmed.tolist() == [False, False, False, True, False, False]
    assert found.opened.tolist() == [False, False, False, True, False, False]


def test_scores_of_a_machine_with_a_phase_of_its_own_stand_for_its_own_rows() -> None:
    recorded = history("....")
    recorded.at[:] = [500, 1_450, 2_550, 3_500]
    events: list[Event] = [scored(0.5, 0.0), scored(1.5, 0.1), scored(2.5, 0.2), scored(3.5, 0.3)]
    found = rows(recorded, events, grid=GRID, stride=1)
    np.testing.assert_array_equal(found.score, [0.0, 0.1, 0.2, 0.3])


def test_with_a_stride_a_score_stands_until_the_next_is_due() -> None:
    events: list[Event] = [scored(3, 2.0), scored(6, 0.5)]
    found = rows(history("........."), events, grid=GRID, stride=3)
    np.testing.assert_array_equal(found.score[:3], [np.nan] * 3)
    np.testing.assert_array_equal(found.score[3:], [2.0, 2.0, 2.0, 0.5, 0.5, 0.5])


def test_a_history_without_any_event_has_no_score() -> None:
    found = rows(history("..x"), [], grid=GRID, stride=1)
    assert np.isnan(found.score).all()
    assert not found.alarmed.any()
    assert evaluate([found]).mar == 100.0


@given(st.lists(st.booleans()))
def test_runs_are_the_stretches_of_true(flags: list[bool]) -> None:
    found = runs(np.array(flags, dtype=np.bool_))
    covered = [i for run in found for i in range(run.start, run.stop)]
    assert covered == [i for i, flag in enumerate(flags) if flag]
    assert all(second.start > first.stop for first, second in itertools.pairwise(found))


@given(st.text("x.?", min_size=1), st.integers(0, 2**32 - 1))
def test_precision_recall_and_rates_are_those_of_a_count_by_hand(labels: str, seed: int) -> None:
    scores = "".join(np.random.default_rng(seed).choice(list("012-"), len(labels)))
    pairs = [(label, score == "2") for label, score in zip(labels, scores, strict=True) if label != "?"]
    hits = sum(label == "x" and alarmed for label, alarmed in pairs)
    missed = sum(label == "x" and not alarmed for label, alarmed in pairs)
    false = sum(label == "." and alarmed for label, alarmed in pairs)
    normal = sum(label == "." for label, _ in pairs)
    found = evaluate([laid(labels, scores)])
    assert found.precision == (pytest.approx(hits / (hits + false)) if hits + false else None)
    assert found.recall == (pytest.approx(hits / (hits + missed)) if hits + missed else None)
    both = 2 * hits + false + missed
    assert found.f1 == (pytest.approx(2 * hits / both) if both else None)
    assert found.far == (pytest.approx(100 * false / normal) if normal else None)
    assert found.mar == (pytest.approx(100 * missed / (hits + missed)) if hits + missed else None)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0, 1, 400, 900, 1_000, 1_100, 5_000]), st.sampled_from("x.?")), min_size=1
    ),
    stride=st.integers(1, 3),
    lateness=st.sampled_from([0, 700, 4_000]),
    borders=st.lists(st.integers(0, 60)),
    seed=st.integers(0, 2**32 - 1),
)
def test_counted_block_by_block_is_counted_at_once(
    steps: list[tuple[int, str]], stride: int, lateness: int, borders: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    whole = history("".join(label for _, label in steps))
    whole.at[:] = np.cumsum([step for step, _ in steps])
    grid = GRID.of_machine(int(whole.at[0]))
    events: list[Event] = []
    for slot in np.unique(grid.slots(whole.at)):
        if slot % stride == 0 and random.random() < 0.8:
            events.append(scored(grid.time(int(slot)) / SECOND, float(random.integers(0, 4))))
            if random.random() < 0.3:
                events.append(alert(grid.time(int(slot)) / SECOND, Change.OPENED))
    expected = rows(whole, events, grid=GRID, stride=stride)

    laying, tally = Laying(grid=GRID, stride=stride, lateness=lateness), Tally()
    laid: list[Rows] = []
    cuts = sorted({0, len(whole), *(border for border in borders if border < len(whole))})
    for start, stop in itertools.pairwise(cuts):
        # All before the watermark is said by now, and perhaps more of the slots that have begun.
        newest = int(whole.at[stop - 1])
        said_until = int(random.integers(grid.slot(newest - lateness), grid.slot(newest) + 1))
        said = [e for e in events if isinstance(e, Scored | AlertChanged) and grid.slot(e.at) < said_until]
        events = events[len(said) :]
        laid.append(laying.add(whole.rows(slice(start, stop)), said))
    laid.append(laying.add(whole.rows(slice(0)), events))
    laid.append(laying.rest())
    for part in laid:
        tally.add(part)
    for name in ("at", "label", "score", "alarmed", "opened"):
        parts = np.concatenate([getattr(part, name) for part in laid])
        np.testing.assert_array_equal(parts, getattr(expected, name), name)
    assert summed([tally.counts()]) == evaluate([expected])


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([np.nan, 0.0, 0.25, 1.5, 2.0])), min_size=2))
def test_the_area_is_the_average_precision_of_scikit_learn(pairs: list[tuple[bool, float]]) -> None:
    labels = "".join("x" if label else "." for label, _ in pairs)
    score = np.array([value for _, value in pairs])
    recorded = history(labels)
    assert recorded.label is not None
    laid_out = Rows(recorded.at, recorded.label, score, score > 1, np.zeros(len(score), bool), SECOND)
    found = evaluate([laid_out])
    if len(set(labels)) < 2:
        assert found.auc_pr is None
    else:
        expected = average_precision_score(recorded.label, np.nan_to_num(score, nan=-1.0))
        assert found.auc_pr == pytest.approx(expected)
