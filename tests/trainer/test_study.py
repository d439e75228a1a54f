from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from trainer.exam import Marks
from trainer.problems import Unusable
from trainer.space import Choice, Range, Span
from trainer.study import Outcome, Proposal, Sampler, Study

SPACE: Mapping[str, Range] = {
    "window": Span(5, 50, (10, 20), logarithmic=True, whole=True),
    "smoothing": Span(0.0, 0.9, (0.0, 0.5)),
    "model.units": Choice((None, [8], [8, 4])),
}
SMALL: Mapping[str, Range] = {"scaling": Choice(("standard", "robust")), "model.code": Choice((None, 2))}
DEFAULT = {"window": 20, "smoothing": 0.123456, "model.units": None}
SMALL_DEFAULT = {"scaling": "robust", "model.code": None}


@contextmanager
def study(
    path: Path | None = None,
    space: Mapping[str, Range] = SPACE,
    default: Mapping[str, Any] = DEFAULT,
    *,
    sampler: Sampler = "tpe",
    purpose: Mapping[str, Any] | None = None,
) -> Iterator[Study]:
    space = {name: some.including(default[name]) for name, some in space.items()}
    purpose = purpose or {"history": "one"}
    with closing(Study(space, default, sampler=sampler, seed=0, path=path, purpose=purpose)) as opened:
        yield opened


def small(path: Path | None = None, *, sampler: Sampler = "tpe") -> AbstractContextManager[Study]:
    return study(path, SMALL, SMALL_DEFAULT, sampler=sampler)


def outcome(proposal: Proposal, detection: float | None = 0.5) -> Outcome:
    marks = (
        None
        if detection is None
        else Marks(faults={"drift": detection}, random=0.3, labelled=None, unexplained=0.0)
    )
    problem = "history: must be longer" if marks is None else None
    return Outcome(
        number=proposal.number, options=proposal.options, marks=marks, problem=problem, seconds=1.5
    )


def tried(
    some: AbstractContextManager[Study], most: int, detection: float | None = 0.5
) -> list[dict[str, Any]]:
    """The options of so many trials, or less if nothing is left."""
    found: list[dict[str, Any]] = []
    with some as opened:
        while len(found) < most and (proposal := opened.ask()) is not None:
            opened.tell(outcome(proposal, detection))
            found.append(dict(proposal.options))
    return found


def outcomes(path: Path) -> list[Outcome]:
    with study(path) as opened:
        return opened.outcomes


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_what_is_configured_is_tried_first_and_as_it_is(sampler: Sampler) -> None:
    assert tried(study(sampler=sampler), 1) == [DEFAULT]


def test_proposals_lie_within_the_space_and_are_numbers_that_a_person_would_write() -> None:
    for options in tried(study(sampler="random"), 20)[1:]:
        assert isinstance(options["window"], int)
        assert 5 <= options["window"] <= 50
        assert len(repr(options["smoothing"]).partition(".")[2].lstrip("0")) <= 3
        assert options["model.units"] in (None, [8], [8, 4])


def test_what_comes_of_a_trial_is_kept_and_so_is_that_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "study"
    told = []
    with study(path) as opened:
        for detection in (0.5, None, 0.25):
            proposal = opened.ask()
            assert proposal is not None
            told.append(outcome(proposal, detection))
            opened.tell(told[-1])
        assert opened.outcomes == told
    assert outcomes(path) == told


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_that_goes_on_proposes_something_new(tmp_path: Path, sampler: Sampler) -> None:
    path = tmp_path / "study"
    first = tried(study(path, sampler=sampler), 3)
    second = tried(study(path, sampler=sampler), 3)
    assert DEFAULT not in second
    assert not [options for options in second if options in first]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_everything_is_tried_once_and_then_nothing(tmp_path: Path, sampler: Sampler) -> None:
    path = tmp_path / "study"
    found = tried(small(path, sampler=sampler), 2) + tried(small(path, sampler=sampler), 9)
    assert len(found) == 4
    assert all(found.count(options) == 1 for options in found)
    assert tried(small(path, sampler=sampler), 1) == []


def test_a_grid_is_every_combination_and_what_is_configured() -> None:
    found = tried(study(sampler="grid"), 99)
    assert len(found) == 2 * 3 * 3, "the windows; the smoothings and the configured one; the units"
    assert {options["window"] for options in found[1:6]} == {10, 20}, "not one after the other"


def test_a_trial_that_was_cut_off_is_forgotten_and_what_is_configured_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "study"
    with study(path) as opened:
        assert opened.ask() is not None
    assert outcomes(path) == []
    with study(path) as opened:
        assert tried(nullcontext(opened), 1) == [DEFAULT]
        assert opened.ask() is not None
    assert [one.options for one in outcomes(path)] == [DEFAULT]
    assert len(tried(study(path), 3)) == 3


def test_a_line_that_was_not_written_to_its_end_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "study"
    tried(study(path), 2)
    path.write_bytes(path.read_bytes() + b'{"op_code":6,"trial_id":')
    assert len(outcomes(path)) == 2
    assert len(tried(study(path), 2)) == 2
    assert len(outcomes(path)) == 4


def test_a_study_of_another_search_is_refused_and_says_what_is_different(tmp_path: Path) -> None:
    path = tmp_path / "study"
    tried(study(path, purpose={"history": "one", "options": ["a"]}), 1)
    with pytest.raises(Unusable) as refused, study(path, purpose={"history": "other", "options": ["a"]}):
        pass
    assert str(refused.value) == (
        f"{path}: must be a study of the same search, got another history; name a new file by --study"
    )


@pytest.mark.parametrize("content", ["trainer: {}", '{"a": 1}\n'])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "anomalyd.yaml"
    path.write_text(content)
    with pytest.raises(Unusable, match="got another file; name a new file by --study"):
        outcomes(path)
    assert path.read_text() == content


def test_a_damaged_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study"
    tried(study(path), 1)
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:-5]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Unusable, match=r"got a damaged one: .*; name a new file by --study"):
        outcomes(path)


def _is_refused(path: Path) -> bool:
    try:
        outcomes(path)
    except Unusable as error:
        return "must not be in use" in str(error)
    return False


def test_a_study_that_another_process_works_on_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with study(path):
            assert pool.submit(_is_refused, path).result()
        assert not pool.submit(_is_refused, path).result()


def test_how_much_each_option_matters_is_said_after_some_trials() -> None:
    with study(sampler="random") as some:
        assert some.importances() == {}
        for _ in range(12):
            proposal = some.ask()
            assert proposal is not None
            some.tell(outcome(proposal, 0.1 + float(proposal.options["smoothing"]) / 2))
        importances = some.importances()
    assert importances.keys() == SPACE.keys()
    assert sum(importances.values()) == pytest.approx(1)
    assert max(importances, key=importances.__getitem__) == "smoothing"
