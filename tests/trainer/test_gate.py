from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.training import Gate
from registry.turns import Criterion, Verdict
from trainer.gate import Alarms, Decision, Faults, Figures, Reason, Seen, decide

GATE = Gate(max_alert_rate=0.01, max_error_ratio=1.5, faults_margin=0.05)


def alarms(rate: float = 0.0, alerts: int = 0, *, windows: int = 10_000, days: float = 7.0) -> Alarms:
    return Alarms(windows=windows, days=days if windows else 0.0, rate=rate, alerts=alerts)


def faults(found: float, delay: float = 0.6, *, cases: int = 36, compared: int = 36) -> Faults:
    return Faults(cases=cases, found=found, compared=compared, found_there=found, delay=delay)


def figures(**changes: Any) -> Figures:  # noqa: ANN401 - figures of any type
    return Figures(
        **{
            "held_back": alarms(0.001, 1),
            "errors": {"flow": 4.0, "load": 1.0},
            "stream": alarms(0.01, 3),
            "faults": faults(0.5),
            "incidents": {"press 1": Seen.FOUND, "press 2": Seen.MISSED},
            **changes,
        }
    )


GOOD = figures()
BETTER = figures(stream=alarms(0.001, 1))  # what alone decides for it

CASES: list[tuple[str, dict[str, Any], bool, Reason]] = [
    ("it is the same", {}, False, Reason.NO_BETTER),
    ("it calls less of the stream anomalous", {"stream": alarms(0.004, 3)}, True, Reason.PASSED),
    ("a little less is chance", {"stream": alarms(0.0051, 3)}, False, Reason.NO_BETTER),
    ("it calls more of it anomalous", {"stream": alarms(0.0151, 3)}, False, Reason.STREAM_ALERT_RATE),
    ("it opens fewer alerts", {"stream": alarms(0.01, 0), "held_back": alarms()}, False, Reason.NO_BETTER),
    ("it opens more of them", {"stream": alarms(0.01, 8)}, False, Reason.STREAM_ALERTS),
    ("too many held-back windows", {"held_back": alarms(0.0101, 1)}, False, Reason.ALERT_RATE),
    ("no more than the limit", {"held_back": alarms(0.01, 9)}, False, Reason.NO_BETTER),
    ("it finds more faults", {"faults": faults(0.56)}, True, Reason.PASSED),
    ("it finds fewer", {"faults": faults(0.44)}, False, Reason.FAULTS),
    ("it finds them later", {"faults": faults(0.5, 0.66)}, False, Reason.FAULT_DELAY),
    ("it finds them sooner", {"faults": faults(0.5, 0.54)}, True, Reason.PASSED),
    ("it misses an incident", {"incidents": {"press 1": Seen.MISSED}}, False, Reason.INCIDENTS),
    ("it is not asked about it", {"incidents": {}}, False, Reason.INCIDENTS),
    ("it is in alarm before", {"incidents": {"press 1": Seen.IN_ALARM}}, False, Reason.NO_BETTER),
    (
        "it finds one more",
        {"incidents": {"press 1": Seen.FOUND, "press 2": Seen.FOUND}},
        True,
        Reason.PASSED,
    ),
    ("its error is smaller", {"errors": {"flow": 1.0, "load": 1.0}}, True, Reason.PASSED),
    ("its error is larger", {"errors": {"flow": 8.0, "load": 1.2}}, False, Reason.ERROR_RATIO),
    ("of one sensor alone", {"errors": {"flow": 8.0, "load": 1.1}}, False, Reason.NO_BETTER),
    ("it is no number", {"errors": {"flow": math.nan, "load": 1.0}}, False, Reason.NOT_FINITE),
    ("it does not know a sensor", {"lost": ("load",)}, False, Reason.SENSORS),
    ("it scores nothing", {"held_back": alarms(windows=0)}, False, Reason.NO_WINDOWS),
    ("it scores less than half", {"held_back": alarms(days=3.4)}, False, Reason.NO_WINDOWS),
    ("it scores nothing of the stream", {"stream": alarms(windows=0)}, False, Reason.STREAM_ALERT_RATE),
]


@pytest.mark.parametrize(
    ("changes", "promote", "reason"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_challenger_must_be_worse_in_nothing_and_better_in_something(
    changes: dict[str, Any], *, promote: bool, reason: Reason
) -> None:
    decision = decide(figures(**changes), GOOD, GATE)
    assert (decision.promote, decision.reason) == (promote, reason)


@pytest.mark.parametrize(
    ("held_back", "reason"),
    [
        (alarms(0.0061, 1), Reason.ALERT_RATE),
        (alarms(0.0059, 1), Reason.NO_BETTER),
        (alarms(0.001, 6), Reason.ALERTS),
        (alarms(0.001, 5), Reason.NO_BETTER),
    ],
)
def test_without_a_stream_alarms_in_held_back_rows_are_compared(held_back: Alarms, reason: Reason) -> None:
    decision = decide(figures(held_back=held_back, stream=None), figures(stream=None), GATE)
    assert decision.reason is reason


@pytest.mark.parametrize(
    "changes",
    [
        case[1]
        for case in CASES
        if case[3] not in {Reason.PASSED, Reason.NO_BETTER} and "stream" not in case[1]
    ],
)
def test_what_is_better_in_one_respect_does_not_make_up_for_what_is_worse(changes: dict[str, Any]) -> None:
    assert decide(BETTER, GOOD, GATE).promote
    assert not decide(replace(BETTER, **changes), GOOD, GATE).promote


@pytest.mark.parametrize(
    ("challenger", "promote", "reason"),
    [
        (figures(held_back=alarms(0.01)), True, Reason.FIRST_MODEL),
        (figures(held_back=alarms(0.0101)), False, Reason.ALERT_RATE),
        (figures(held_back=alarms(windows=0)), False, Reason.NO_WINDOWS),
        (figures(errors={"flow": math.inf}), False, Reason.NOT_FINITE),
    ],
)
def test_a_first_model_needs_only_its_absolute_limits(
    challenger: Figures, *, promote: bool, reason: Reason
) -> None:
    decision = decide(challenger, None, GATE)
    assert (decision.promote, decision.reason) == (promote, reason)


def test_an_equal_one_replaces_the_champion_where_a_person_asked_for_it() -> None:
    assert decide(GOOD, GOOD, GATE, equal_will_do=True).reason is Reason.PASSED
    assert not decide(figures(lost=("load",)), GOOD, GATE, equal_will_do=True).promote


def test_a_champion_that_is_always_in_alarm_gives_way_to_one_that_is_calm_and_finds_what_it_finds() -> None:
    broken = figures(
        held_back=alarms(0.6, 1),
        stream=alarms(0.6, 1),
        faults=faults(0.03, 1.0, compared=2),
        incidents={"press 1": Seen.IN_ALARM, "press 2": Seen.IN_ALARM},
    )
    calm = figures(held_back=alarms(0.02, 9), stream=alarms(0.02, 9))
    decision = decide(calm, broken, GATE)
    assert decision.promote, decision.text
    verdicts = {each.name: each.verdict for each in decision.criteria}
    assert verdicts[Reason.STREAM_ALERTS] is Verdict.AS_GOOD, "many short alerts against one that never ends"
    blind = replace(calm, faults=faults(0.05, 1.0, compared=2))
    assert decide(blind, broken, GATE).reason is Reason.FAULTS, "it must find something"
    half = replace(calm, held_back=alarms(0.31, 9))
    assert decide(half, broken, GATE).reason is Reason.ALERT_RATE, "it must be no more than half as bad"


def test_who_relieves_a_champion_in_alarm_may_find_fewer_faults_but_not_less_than_half() -> None:
    broken = figures(held_back=alarms(0.0), stream=alarms(0.5, 3), faults=faults(0.5, compared=18))
    assert decide(figures(faults=faults(0.25, 0.9)), broken, GATE).promote
    assert decide(figures(faults=faults(0.21, 0.9)), broken, GATE).reason is Reason.FAULTS
    noisy = figures(faults=faults(0.25, 0.9), stream=alarms(0.26, 3))
    assert decide(noisy, broken, GATE).reason is Reason.FAULTS, "it is not calm"


def test_a_champion_that_can_score_nothing_gives_way_to_one_that_can() -> None:
    blind = figures(
        held_back=alarms(windows=0),
        errors={},
        stream=alarms(windows=0),
        faults=faults(0, 1),
    )
    assert decide(GOOD, blind, GATE).promote


def test_a_calm_challenger_that_finds_no_fault_any_more_is_refused() -> None:
    silent = figures(held_back=alarms(), stream=alarms(), faults=faults(0.0, 1.0), incidents={})
    decision = decide(silent, GOOD, GATE)
    assert decision.reason is Reason.INCIDENTS
    assert decision.text == (
        "confirmed incidents found: 0, the champion's 1; must be at least 1; missed: press 1; 2 more not met"
    )


def test_a_few_windows_differ_by_chance() -> None:
    few = alarms(0.0, 0, windows=100)
    before = figures(held_back=alarms(0.02, 0, windows=100))
    assert decide(figures(held_back=few), before, GATE).reason is Reason.NO_BETTER


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        (
            decide(figures(held_back=alarms(windows=0)), None, GATE),
            "held-back time that can be scored: none",
        ),
        (
            decide(figures(held_back=alarms(0.25)), None, GATE),
            (
                "held-back normal windows above the threshold: 25.00%; must be at most 1.00% "
                "(retrain.gate.max_alert_rate, alert_rate_margin)"
            ),
        ),
        (
            decide(figures(held_back=alarms(0.25, windows=60)), None, GATE, apart=False),
            (
                "held-back normal windows above the threshold: 25.00% (of windows from which the threshold "
                "was learned, as the history is short); must be at most 1.00% "
                "(retrain.gate.max_alert_rate, alert_rate_margin)"
            ),
        ),
        (
            decide(GOOD, None, GATE, apart=False),
            (
                "the first model, with 0.10% of 10000 held-back normal windows (from which the threshold was "
                "learned, as the history is short) above the threshold"
            ),
        ),
        (
            decide(figures(errors={"flow": 16.0, "load": 4.0}), GOOD, GATE),
            (
                "error on held-back normal rows, times the champion's: 4.00; must be at most 1.50 "
                "(retrain.gate.max_error_ratio)"
            ),
        ),
        (
            decide(BETTER, GOOD, GATE),
            (
                "better in windows of the newest stream above the threshold (0.10% against 1.00%), "
                "worse in none of 10 criteria"
            ),
        ),
        (
            decide(GOOD, GOOD, GATE),
            "no better than the champion in any of 10 criteria, and worse in none; so the champion stays",
        ),
    ],
)
def test_the_decision_is_a_sentence(decision: Decision, text: str) -> None:
    assert decision.text == text


def test_every_criterion_is_told_with_what_is_allowed() -> None:
    (found,) = [each for each in decide(BETTER, GOOD, GATE).criteria if each.name == Reason.FAULTS]
    assert isinstance(found, Criterion)
    assert (found.challenger, found.champion, found.verdict) == (0.5, 0.5, Verdict.AS_GOOD)
    assert found.allowed == pytest.approx(0.45)
    assert found.note == "36 faults in rows in which the champion is calm"


SHARES = st.floats(0, 1)
RATES = st.one_of(SHARES, st.floats(0, 0.03))
ALARMS = st.builds(
    lambda windows, rate, alerts: alarms(
        rate if windows else 0.0, alerts, windows=windows, days=windows / 1440
    ),
    st.sampled_from([0, 50, 300, 10_000]),
    RATES,
    st.integers(0, 12),
)
SENSORS = ("flow", "load", "speed")
FIGURES = st.builds(
    Figures,
    held_back=ALARMS,
    errors=st.fixed_dictionaries({name: st.floats(0, 10) for name in SENSORS}),
    stream=st.one_of(st.none(), ALARMS),
    faults=st.builds(
        Faults,
        cases=st.just(36),
        found=SHARES,
        compared=st.sampled_from([0, 8, 9, 36]),
        found_there=SHARES,
        delay=SHARES,
    ),
    incidents=st.fixed_dictionaries({name: st.sampled_from(Seen) for name in ("one", "two")}),
    lost=st.lists(st.sampled_from(SENSORS), max_size=1).map(tuple),
)
GATES = st.builds(
    Gate,
    max_alert_rate=RATES,
    max_error_ratio=st.floats(1, 3),
    alert_rate_margin=RATES,
    alerts_margin=st.floats(0, 3),
    faults_margin=SHARES,
    delay_margin=SHARES,
)
LESS = {Seen.FOUND: Seen.IN_ALARM, Seen.IN_ALARM: Seen.MISSED, Seen.MISSED: Seen.MISSED}


def changed(it: Figures, where: str, some: Alarms) -> Figures:
    return replace(it, held_back=some) if where == "held_back" else replace(it, stream=some)


@st.composite
def worsened(draw: st.DrawFn, it: Figures) -> Figures:
    """The same with one figure that is worse."""
    where = draw(st.sampled_from(["held_back", "stream"] if it.stream else ["held_back"]))
    some: Alarms = getattr(it, where)
    less = [
        replace(some, rate=draw(st.floats(some.rate, 1))),
        replace(some, alerts=some.alerts + draw(st.integers(0, 12))),
        replace(some, days=some.days * draw(SHARES)),
        alarms(windows=0),
    ]
    assert it.faults is not None
    sensor = draw(st.sampled_from(SENSORS))
    worse_error = draw(st.one_of(st.floats(it.errors[sensor], 100), st.sampled_from([math.inf, math.nan])))
    name = draw(st.sampled_from(["one", "two"]))
    return draw(
        st.sampled_from(
            [
                *(changed(it, where, each) for each in less),
                replace(it, faults=replace(it.faults, found=draw(st.floats(0, it.faults.found)))),
                replace(it, faults=replace(it.faults, found_there=draw(st.floats(0, it.faults.found_there)))),
                replace(it, faults=replace(it.faults, delay=draw(st.floats(it.faults.delay, 1)))),
                replace(it, faults=None),
                replace(it, stream=None),
                replace(it, incidents={**it.incidents, name: LESS[it.incidents[name]]}),
                replace(it, errors={**it.errors, sensor: worse_error}),
                replace(it, lost=SENSORS),
            ]
        )
    )


@given(
    data=st.data(),
    challenger=FIGURES,
    champion=st.one_of(st.none(), FIGURES),
    gate=GATES,
    equal_will_do=st.booleans(),
)
def test_a_challenger_that_is_worse_in_any_figure_is_not_promoted_where_the_better_one_is_refused(
    data: st.DataObject, challenger: Figures, champion: Figures | None, gate: Gate, *, equal_will_do: bool
) -> None:
    worse = data.draw(worsened(challenger))
    before = decide(challenger, champion, gate, equal_will_do=equal_will_do)
    after = decide(worse, champion, gate, equal_will_do=equal_will_do)
    assert before.promote or not after.promote, (before.text, after.text)


@given(FIGURES, FIGURES, GATES)
def test_the_same_figures_give_the_same_decision_and_a_reason_that_stands_in_the_table(
    challenger: Figures, champion: Figures, gate: Gate
) -> None:
    decision = decide(challenger, champion, gate)
    assert decision == decide(challenger, champion, gate)
    worse = {each.name for each in decision.criteria if each.verdict is Verdict.WORSE}
    assert decision.promote == (decision.reason is Reason.PASSED)
    assert bool(worse) == (decision.reason in worse)


@given(FIGURES, GATES)
def test_no_challenger_replaces_one_that_says_the_same(it: Figures, gate: Gate) -> None:
    assert not decide(it, it, gate).promote


def test_a_challenger_that_can_hardly_score_the_newest_stream_is_worse_however_calm_it_is() -> None:
    champion = figures(stream=alarms(0.02, 2, windows=5_000, days=3.5))
    decision = decide(figures(stream=alarms(windows=1, days=0.0007)), champion, GATE)
    assert (decision.promote, decision.reason) == (False, Reason.STREAM_ALERT_RATE)


def test_where_nothing_of_the_stream_counts_alarms_are_compared_by_held_back_rows() -> None:
    nothing = alarms(windows=0)
    champion = figures(held_back=alarms(), stream=nothing)
    noisy = figures(held_back=alarms(0.0099, 30), stream=nothing, errors={"flow": 0.1})
    assert decide(noisy, champion, GATE).reason is Reason.ALERT_RATE


def test_with_few_faults_to_compare_by_a_blind_challenger_is_worse_all_the_same() -> None:
    champion = figures(faults=Faults(cases=18, found=0.44, compared=8, found_there=1.0, delay=0.2))
    blind = Faults(cases=18, found=0.12, compared=8, found_there=0.2, delay=0.2)
    assert decide(figures(faults=blind, errors={"flow": 0.1}), champion, GATE).reason is Reason.FAULTS
