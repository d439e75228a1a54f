from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from bench.detection.baselines import Baseline, openings, pca, smoothed
from bench.detection.figures import DEFAULT, PCA, goals, reached
from bench.detection.judging import Judged, judge
from bench.detection.page import DOCUMENT, contents, tables, write
from bench.detection.protocol import DATA, SETS, Recording, Source, sources
from bench.detection.running import Work, code, detectors, measured
from detector.history import History
from trainer.evaluation import Counts, Rows, counts
from trainer.problems import Unusable

MINUTE = 60_000


def source(of: str = "smd", machine: str = "m-1") -> Source:
    return Source(of, machine, f"{of}/{machine}.csv.gz", f"{of}{machine}", 1000, 3, (0, 600), (600, 1000))


def recording() -> Recording:
    """Three sensors that follow one load; from row 800 to 900 one of them does not."""
    random = np.random.default_rng(0)
    load = np.sin(np.arange(1000) / 9) + 0.05 * random.standard_normal(1000)
    values = np.stack([load, 2 * load, -load], axis=1) + 0.05 * random.standard_normal((1000, 3))
    label = np.zeros(1000, dtype=np.int8)
    label[800:900] = 1
    values[800:900, 2] = load[800:900]
    return Recording(source(), History("m-1", ("a", "b", "c"), MINUTE * np.arange(1000), values, label), 600)


@pytest.mark.parametrize(("library", "others_follow"), [("scikit-learn", True), ("tensorflow", False)])
def test_what_another_library_computed_is_measured_anew(
    library: str, monkeypatch: pytest.MonkeyPatch, *, others_follow: bool
) -> None:
    def digests() -> list[str]:
        code.cache_clear()
        return [code(own=True), code(own=False)]

    before = digests()
    monkeypatch.setattr(
        "bench.detection.running.version", lambda name: "9" if name == library else version(name)
    )
    after = digests()
    code.cache_clear()
    assert before[0] != after[0]
    assert (before[1] != after[1]) == others_follow


def test_the_last_training_rows_are_held_back_and_shortened_again() -> None:
    whole = recording()
    assert (whole.fit, whole.held_back) == (slice(0, 420), slice(420, 600))
    shorter = whole.shortened()
    assert (shorter.fit, shorter.held_back) == (slice(0, 294), slice(294, 420))
    tested = whole.tested().label
    assert tested is not None
    assert np.unique(tested[:600]).tolist() == [-1]
    assert tested[600:].sum() == 100


def test_causal_pca_finds_a_lost_correlation_and_is_judged_on_rows_it_has_not_seen() -> None:
    judged = judge(Baseline(pca, 10), recording(), unseen=True)
    assert judged.test is not None
    assert judged.test.ranked is not None
    assert judged.test.ranked.vus_pr > 0.9
    assert (judged.test.normal, judged.test.anomalous) == (300, 100)
    assert judged.test.delays[0] is not None
    assert 0 < judged.test.delays[0] < 600
    assert 0.5 < judged.alerts[0] < 0.75
    assert judged.held_back is not None
    assert judged.unseen is not None
    assert judged.held_back.normal == judged.unseen.normal == 180


def test_no_score_depends_on_later_rows() -> None:
    whole = recording()
    altered = recording()
    altered.history.values[850:] = 99.0
    before, after = (Baseline(pca, 3)(each)(whole.tested()).score for each in (whole, altered))
    np.testing.assert_array_equal(before[:850], after[:850])
    assert not np.array_equal(before[850:], after[850:])


def test_errors_are_smoothed_from_the_first_on() -> None:
    np.testing.assert_allclose(smoothed(np.array([1.0, 1.0, 11.0, 1.0])), [1.0, 1.0, 2.0, 1.9])


def test_alerts_of_others_open_by_the_default_too() -> None:
    score = np.array([np.nan, 0.1, 2.0, 0.1, 2.0, 2.0, 2.0, 0.1, 0.1])
    history = History("m", ("s",), MINUTE * np.arange(9), np.zeros((9, 1)))
    assert np.flatnonzero(openings(history, score)).tolist() == [5]


def test_a_refused_file_says_why() -> None:
    def refusing(_: Recording) -> None:
        raise Unusable("history: must have 30 rows, got 3")

    assert "must have 30 rows" in judge(refusing, recording(), unseen=False).problem  # type: ignore[arg-type]


def test_every_kind_of_model_and_others_are_measured() -> None:
    named = detectors()
    assert next(iter(named)) == DEFAULT
    assert {"anomalyd, dense", "anomalyd, gru"} < named.keys()
    assert {PCA, "isolation forest, k = 3"} < named.keys()


def of_rows(labels: str, alarms: str, opened: str = "") -> Counts:
    """Rows of a minute; `x` is anomalous, `!` alarmed, `o` where an alert opened."""
    label = np.array([c == "x" for c in labels], dtype=np.int8)
    alarmed = np.array([c == "!" for c in alarms])
    opens = np.array([c == "o" for c in opened.ljust(len(labels))])
    score = np.where(alarmed, 2.0, 0.5)
    return counts(Rows(MINUTE * np.arange(len(labels)), label, score, alarmed, opens, MINUTE))


def results() -> dict[Work, Judged]:
    """Of two detectors on a file of each set that has labels; anomalyd is perfect, PCA is not."""
    found = {}
    for name in (DEFAULT, PCA):
        for of in SETS:
            if of == "ims":
                judged = Judged(test=None, alerts=(0.25, 0.75), held_back=of_rows("...", "..."), seconds=1.0)
            else:
                alarms = "....!!!!" if name == DEFAULT else "..!...!!"
                judged = Judged(
                    test=of_rows("....xxxx", alarms, "     o  "),
                    held_back=of_rows("." * 8, "." * 8),
                    unseen=of_rows("." * 8, "." * 8, "o"),
                    seconds=60.0,
                )
            found[Work(name, source(of), unseen=True)] = judged
        found[Work(name, source("asd", "m-2"), unseen=True)] = Judged(problem="history: must vary, got none")
    return found


def test_goals_are_judged_by_the_figures_of_the_default() -> None:
    met = {goal.what: (goal.found, goal.met) for goal in goals(reached(results()))}
    assert met["skab: F1 at false alarm rate"] == ("1.000 at 0.0 %", "goal")
    assert met["mean VUS-PR over skab, tep, smd, asd"] == ("1.000", "goal")
    assert met["tep: recall at false alarm rate"] == ("100.0 % at 0.0 %", "goal")
    assert met["false alert episodes a day on held-back normal rows"] == ("0.00 (0 in all)", "goal")
    assert met["false alert episodes a day on normal rows never seen"] == ("180.00 (4 in all)", "**neither**")


def test_goals_and_means_need_what_they_are_made_of() -> None:
    some = {work: result for work, result in results().items() if work.source.of == "skab"}
    assert len(goals(reached(some))) == 4
    (ours, _) = reached(some)
    assert ours.mean(lambda of: of.vus_pr) is None
    assert [table.name for table in tables(some)] == ["goals", "overall", "skab"]
    of_others = {work: result for work, result in some.items() if work.detector != DEFAULT}
    assert goals(reached(of_others)) == []


def test_the_page_has_a_place_for_everything(tmp_path: Path) -> None:
    page = tmp_path / "detection.md"
    page.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    write(results(), "Identical.", page)
    written = page.read_text(encoding="utf-8")
    for content in contents(results(), "Identical.").values():
        assert content in written
    assert "| anomalyd | 1 | 1 | .5 |" not in written
    assert "| anomalyd | 25 % | 1 | 1 |" in written
    assert "- anomalyd, asd/m-2.csv.gz: history: must vary, got none" in written


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded machines in {DATA} (set ANOMALYD_DATA)")
def test_causal_pca_is_that_of_the_figures_to_reach_and_is_measured_once(tmp_path: Path) -> None:
    """Its published F1 and false alarm rate over the 11 faults of tep."""
    faults = [each for each in sources() if each.of == "tep" and each.machine != "normal"]
    works = [Work("causal PCA, k = 3", fault) for fault in faults]
    said: list[str] = []
    first = measured(works, folder=tmp_path, told=said.append)
    of = reached(first)[0].by_set["tep"]
    assert (of.f1, of.far, of.vus_pr) == pytest.approx((0.854, 4.3, 0.965), abs=0.05)
    assert of.events_found == 11
    assert len(said) == 11
    again = measured(works, folder=tmp_path, told=said.append)
    assert said[11:] == ["11 of 11 were done before"]
    assert again == first
