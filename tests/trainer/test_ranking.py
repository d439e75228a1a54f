from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from trainer.ranking import Ranking, ranking

EVENTS = ((0, 3), (90, 130), (140, 141), (300, 420), (590, 600))


def example() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """600 rows: events at both ends, one of one row beside another, two of them found in part."""
    row = np.arange(600)
    label = np.zeros(600, dtype=np.int64)
    for start, stop in EVENTS:
        label[start:stop] = 1
    score = (row * 37 % 101) / 101 + 0.4 * (np.abs(row - 115) < 30) + 0.3 * (row > 310) * (row < 400)
    return label, score


@pytest.mark.parametrize(
    ("length", "expected", "with_ties"),
    [
        (0, 0.45726101927103274, 0.43621468683380005),
        (1, 0.45726101927103274, 0.43621468683380005),
        (20, 0.5837027008384139, 0.5498808086774781),
        (45, 0.6433687148152321, 0.6092594287666726),
        (100, 0.7357751594099929, 0.7032181582536298),
    ],
)
def test_vus_pr_is_what_the_authors_library_computes(length: int, expected: float, with_ties: float) -> None:
    """The numbers are those of TSB-AD 1.5, `generate_curve(label, score, length, 'opt', 250)`."""
    label, score = example()
    ranked, tied = (ranking(label, each, length).ranked() for each in (score, score.round(1)))
    assert ranked is not None
    assert tied is not None
    assert ranked.vus_pr == pytest.approx(expected, abs=1e-12)
    assert tied.vus_pr == pytest.approx(with_ties, abs=1e-12)


def naive_vus_pr(label: NDArray[np.bool_], score: NDArray[np.float64], longest: int) -> float:
    """The definition, row by row: every threshold, every length of the buffer."""
    rows = len(label)
    edges = np.flatnonzero(np.diff([False, *label, False]))
    events = list(zip(edges[::2], edges[1::2] - 1, strict=True))
    thresholds = np.sort(score)[::-1][np.linspace(0, rows - 1, 250).astype(int)]
    volume = 0.0
    for length in range(longest + 1):
        half = length // 2
        soft = label.astype(float)
        for first, last in events:
            for i in range(rows):
                distance = max(first - i, i - last)
                if 0 < distance <= half:
                    soft[i] += np.sqrt(1 - distance / length)
        soft = np.minimum(soft, 1)
        stretches: list[list[int]] = []
        for first, last in events:
            if stretches and stretches[-1][1] >= first - half:
                stretches[-1][1] = last + half
            else:
                stretches.append([first - half, last + half])
        before = 0.0
        for threshold in thresholds:
            alarmed = score >= threshold
            hits = float(soft[alarmed].sum())
            positives = (label.sum() + label.sum() + soft[alarmed & ~label].sum()) / 2
            found = [alarmed[max(start, 0) : stop + 1].any() for start, stop in stretches]
            recall = min(hits / positives, 1) * float(np.mean(found))
            volume += hits / alarmed.sum() * (recall - before)
            before = recall
    return volume / (longest + 1)


rows_scored = st.lists(
    st.tuples(st.booleans(), st.sampled_from([np.nan, 0.0, 0.1, 0.3, 1.5, 2.0])), min_size=2, max_size=40
)


@settings(max_examples=25, deadline=None)
@given(rows_scored, st.integers(0, 9), st.integers(1, 41))
def test_blocks_of_any_size_are_worth_what_the_definition_says(
    pairs: list[tuple[bool, float]], length: int, size: int
) -> None:
    label, score = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    blocks = Ranking(length)
    for start in range(0, len(label), size):
        blocks.add(score[start : start + size], label[start : start + size])
    ranked = blocks.ranked()
    if label.all() or not label.any():
        assert ranked is None
        return
    assert ranked is not None
    known = np.nan_to_num(score, nan=-1.0)
    assert ranked.vus_pr == pytest.approx(naive_vus_pr(label, known, length))
    assert ranked.roc_auc == pytest.approx(roc_auc_score(label, known))
    assert ranked == ranking(label, score, length).ranked()


def test_the_random_levels_are_what_random_scores_get() -> None:
    label = np.zeros(5000, dtype=np.int64)
    label[1000:1400] = label[3000:3050] = label[4000:4200] = 1
    random = np.random.default_rng(0)
    tries = [ranking(label, random.random(5000), 60).ranked() for _ in range(10)]
    found = [one for one in tries if one is not None]
    assert found[0].auc_pr_random == pytest.approx(650 / 5000)
    assert np.mean([one.auc_pr for one in found]) == pytest.approx(found[0].auc_pr_random, abs=0.01)
    assert np.mean([one.vus_pr for one in found]) == pytest.approx(found[0].vus_pr_random, abs=0.01)
    assert np.mean([one.roc_auc for one in found]) == pytest.approx(0.5, abs=0.01)


def test_the_curve_holds_what_alarming_from_each_score_on_gives() -> None:
    label, score = example()
    curve = ranking(label, score).curve()
    assert np.all(np.diff(curve.threshold) < 0)
    for i in (0, 17, len(curve.threshold) - 1):
        alarmed = score >= curve.threshold[i]
        precision, recall, f1, _ = precision_recall_fscore_support(label, alarmed, average="binary")
        assert (curve.precision[i], curve.recall[i], curve.f1[i]) == pytest.approx((precision, recall, f1))
        assert curve.far[i] == pytest.approx(alarmed[label == 0].mean())
