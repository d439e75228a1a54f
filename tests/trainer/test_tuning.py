from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from config.checking import check
from config.settings import Settings
from config.yaml_source import parse
from detector.history import History
from tests.trainer.examples import pump, settings, trained, with_values
from tests.trainer.pages import Page
from trainer.parts import split
from trainer.problems import Unusable
from trainer.stages import Stage
from trainer.study import Outcome, Proposal, Sampler
from trainer.tuning import Ended, Limits, Search
from trainer.tuning_report import tuning_report
from trainer.winner import caution, changed, figures, headline, section

THREE = Limits(trials=3, seconds=None)


@contextmanager
def search(
    *histories: History,
    wishes: Settings | None = None,
    over: Sequence[str] = ("window", "smoothing"),
    sampler: Sampler = "random",
    path: Path | None = None,
) -> Iterator[Search]:
    wishes = wishes or settings()
    with closing(
        Search(histories or (pump(400),), settings=wishes, over=over, sampler=sampler, path=path)
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def done() -> Iterator[Search]:
    """A search of three trials."""
    with search() as some:
        some.run(THREE)
        yield some


def test_a_search_tries_what_is_configured_and_then_other_options_and_names_the_best(done: Search) -> None:
    first, *others = done.study.outcomes
    assert first.options == {"window": 6, "smoothing": 0.5}
    assert first == done.configured
    assert len(others) == 2
    assert all(outcome.marks is not None and outcome.seconds > 0 for outcome in others)
    scores = [outcome.marks.score for outcome in done.study.outcomes if outcome.marks]
    assert done.best is not None
    assert done.best.marks is not None
    assert done.best.marks.score == max(scores)


def test_the_winning_section_is_what_won_and_trains(done: Search) -> None:
    text = section(done, made="2026-01-05", history="pump.csv (400 rows)")
    assert "Found by `anomalyd tune` on pump.csv (400 rows), 2026-01-05." in text
    document = parse(text, "best.yaml")
    assert not document.problems
    checked, faults = check(Settings, document.values)
    assert checked is not None, faults
    assert checked.trainer == done.winner()
    assert done.best is not None
    assert checked.trainer.window == done.best.options["window"]
    assert checked.trainer.model.epochs == 3, "what was configured otherwise stays"
    assert trained(pump(400), wishes=checked).manifest.window.length == checked.trainer.window


def test_what_the_best_changes_is_told_beside_what_was_configured(done: Search) -> None:
    assert done.best is not None
    assert [(name, best) for name, _, best in changed(done)] == [
        (name, str(value)) for name, value in done.best.options.items() if value != done.default[name]
    ]
    headings, *lines = figures(done)
    assert headings == ("in the same exam", "configured", "best")
    rows = {name: numbers for name, *numbers in lines}
    assert float(rows["score"][1]) >= float(rows["score"][0])
    assert {"  drift", "  stuck", "variance unexplained"} <= rows.keys()
    assert headline(done).startswith(f"Trial {done.best.number} has a score of {rows['score'][1]}, the best")


def test_figures_of_few_rows_come_with_a_caution(done: Search) -> None:
    text = "84 rows to examine on are few: much of any difference is chance."
    assert caution(done) == text
    assert f"# {text}\n" in section(done, made="today", history="pump.csv")
    assert text in tuning_report(done, made="today", history="pump.csv")
    with search(pump(5000)) as longer:
        assert caution(longer) is None


def test_where_nothing_is_better_it_is_said() -> None:
    with search(over=("model.activation",)) as some:
        some.run(Limits(trials=1, seconds=None))
        assert headline(some).startswith("No trial is better than the configured options.")
        assert changed(some) == []
        assert figures(some)[0] == ("in the same exam", "configured")
        text = section(some, made="today", history="pump.csv")
        checked, _ = check(Settings, parse(text, "best.yaml").values)
        assert checked is not None
        assert checked.trainer == settings().trainer


def test_the_report_is_one_whole_page_with_every_trial_and_nothing_from_outside(done: Search) -> None:
    text = tuning_report(done, made="2026-01-05", history="<pump>.csv")
    page = Page(text)
    assert page.open == []
    assert page.outside == set()
    assert "&lt;pump&gt;.csv" in text
    assert headline(done) in text
    assert text.count("<svg") == 1 + len(done.default)
    for outcome in done.study.outcomes:
        assert outcome.marks is not None
        assert f">{outcome.marks.score:.3f}</td>" in text


def outcomes(some: Search) -> list[tuple[object, ...]]:
    """All but the time that they took."""
    return [(one.number, one.options, one.marks, one.problem) for one in some.study.outcomes]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_rows_that_set_the_threshold_change_nothing(sampler: Sampler) -> None:
    history = pump(400)
    held_back = history.at >= split([history], 0.3).calibration[0].at[0]
    poisoned = with_values(history, np.where(held_back[:, None], 1e90, history.values))
    found = []
    for rows in (history, poisoned):
        with search(rows, sampler=sampler) as some:
            some.run(Limits(trials=2, seconds=None))
            found.append(outcomes(some))
    assert found[0] == found[1]


def test_a_search_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "study"

    def break_off(proposal: Proposal, _: Stage) -> None:
        if proposal.number == 1:
            raise KeyboardInterrupt

    with search(path=path) as some:
        with pytest.raises(KeyboardInterrupt):
            some.run(THREE, progress=break_off)
        before = outcomes(some)
        assert len(before) == 1
    with search(path=path) as some:
        assert some.run(THREE) is Ended.TRIALS
        assert outcomes(some)[:1] == before
        assert len(some.study.outcomes) == 3
        assert some.run(THREE) is Ended.TRIALS, "of the whole study, so that nothing is left to do"
        assert len(some.study.outcomes) == 3


def test_a_study_belongs_to_its_history_configuration_and_options(tmp_path: Path) -> None:
    path = tmp_path / "study"
    with search(path=path):
        pass
    others = {
        "history": search(pump(401), path=path),
        "configuration": search(wishes=settings(seed=1), path=path),
        "options": search(over=("error",), path=path),
    }
    for what, other in others.items():
        text = f"must be a study of the same search, got another {what}; name"
        with pytest.raises(Unusable, match=text), other:
            pass


def test_when_the_time_is_up_the_trial_at_work_is_given_up_but_never_the_first() -> None:
    told: list[Outcome] = []
    with search() as some:
        seconds = count()
        ended = some.run(
            Limits(trials=None, seconds=1), ended=told.append, clock=lambda: float(next(seconds))
        )
        assert ended is Ended.TIME
        assert [one.options for one in told] == [some.default]
        # The second trial begins within the time, and is over it at its second stage.
        seconds = count()
        assert some.run(Limits(trials=None, seconds=4), clock=lambda: float(next(seconds))) is Ended.TIME
        assert len(some.study.outcomes) == 1


def test_a_search_ends_when_everything_was_tried() -> None:
    with search(over=("error",), sampler="grid") as some:
        assert some.run(Limits(trials=None, seconds=None)) is Ended.EVERYTHING_TRIED
        assert {outcome.options["error"] for outcome in some.study.outcomes} == {"mse", "rmse", "mae"}


def test_a_trial_that_makes_no_detector_fails_alone_with_the_reason() -> None:
    with search(pump(300), wishes=settings(window=90), over=("window",)) as some:
        some.run(Limits(trials=1, seconds=None))
        assert headline(some) == "No trial succeeded."
        (failed,) = some.study.outcomes
        assert failed.marks is None
        assert failed.problem is not None
        assert failed.problem.startswith("history: must give 50 windows to fit on, 10 to validate")
        assert some.run(Limits(trials=2, seconds=None)) is Ended.TRIALS
        assert some.best == some.study.outcomes[1]
        assert headline(some).endswith("the best of 2 trials; the configured options have none.")
        assert figures(some)[1][1] == "-"


def test_windows_for_which_the_history_is_too_short_are_not_tried() -> None:
    with search(pump(400)) as short, search(pump(1000)) as longer:
        window, more = short.space["window"], longer.space["window"]
        assert 6 < window.grid[-1] < more.grid[-1]


def test_a_history_that_is_too_short_is_refused_with_the_rows_that_are_enough() -> None:
    wishes = settings(window=6)
    with pytest.raises(Unusable) as refused, search(pump(150), wishes=wishes, over=("smoothing",)):
        pass
    (text,) = refused.value.problems
    needed = int(text.partition(" rows without holes are enough")[0].rpartition(" ")[2])
    assert text.endswith(f"got 150 rows; {needed} rows without holes are enough at trainer.window 6")
    with search(pump(needed), wishes=wishes, over=("smoothing",)) as some:
        some.run(Limits(trials=1, seconds=None))
        assert some.best is not None
    with pytest.raises(Unusable), search(pump(needed - 1), wishes=wishes, over=("smoothing",)):
        pass


def test_a_history_that_cannot_be_trained_on_is_refused_as_training_refuses_it() -> None:
    history = pump(400)
    flat = with_values(history, np.ones_like(history.values))
    with (
        pytest.raises(Unusable, match="must hold a sensor whose value changes, got constants alone"),
        search(flat),
    ):
        pass
    with pytest.raises(Unusable, match=r"must give 50 windows to fit on"), search(pump(40)):
        pass
