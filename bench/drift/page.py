"""Figures become the tables of docs/retraining.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bench.detection.protocol import Source
from bench.drift.pictures import scores
from bench.drift.pump import Pump
from bench.drift.walking import Policy, Walked
from bench.drift.works import Work
from bench.results import Cell, Table, filled, machine
from bench.stage import ROOT
from trainer.evaluation import Evaluation, summed
from trainer.wording import counted

DOCUMENT = ROOT / "docs" / "retraining.md"
FIGURES = DOCUMENT.parent / "retraining"
DRIFTING = "machine-1-6"
ANSWERED = "as shipped, alerts answered"
PICTURE = f"""![The score of {DRIFTING} over two weeks by each policy](retraining/{DRIFTING}.svg)

The score of {DRIFTING}; events are shaded, the threshold is dashed, and a dotted line is a model that was put
into service."""
MOST_LOST = 0.05
MOST_FALSE = 0.3

Results = Mapping[Work, Walked]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach, in words, what was reached, and whether it is enough."""

    what: str
    goal: str
    reached: str
    met: bool


def write(results: Results) -> None:
    """Fills those places of the document that something was measured for, and draws its picture.

    Raises:
        ValueError: The document has no place for a table.
    """
    page = DOCUMENT.read_text(encoding="utf-8")
    for name, content in contents(results).items():
        page = filled(page, name, content)
    DOCUMENT.write_text(page, encoding="utf-8")
    drifting = _drifting(results)
    if drifting:
        FIGURES.mkdir(exist_ok=True)
        (FIGURES / f"{DRIFTING}.svg").write_text(scores(drifting, DRIFTING), encoding="utf-8")


def contents(results: Results) -> Mapping[str, str]:
    """Markdown by the name of its place."""
    found = {table.name: table.markdown() for table in tables(results)} | {"machine": f"{machine()}."}
    if _drifting(results):
        found["picture"] = PICTURE
    return found


def tables(results: Results) -> list[Table]:
    """All that something was measured for."""
    found = [
        Table("goals", ("figure", "goal", "reached", "met"), tuple(map(_goal_row, goals(results)))),
        _recordings(results),
        _gate(results),
        _answers(results),
        _pumps(results),
        _promotions(results),
    ]
    return [table for table in found if table.rows]


def named(work: Work) -> str:
    """How a walk's models are kept."""
    return ANSWERED if work.operator else str(work.policy)


def goals(results: Results) -> list[Goal]:
    """Those of which all was measured."""
    return [*_of_drifting(results), *_of_others(results), *_of_pumps(results)]


def _of_drifting(results: Results) -> list[Goal]:
    of = [result for work, result in results.items() if _is(work, DRIFTING) and named(work) == Policy.SHIPPED]
    return [
        Goal(
            what=f"{DRIFTING}: F1 at false alarm rate",
            goal="≥ .8 at ≤ 1 %",
            reached=f"{one.f1 or 0:.3f} at {one.far or 0:.2f} %",
            met=(one.f1 or 0) >= 0.8 and (one.far or 0) <= 1,
        )
        for one in (summed([result.counts]) for result in of)
    ]


def _of_others(results: Results) -> list[Goal]:
    both = (Policy.NONE, Policy.SHIPPED)
    files = _in_all(results, both) - {source for source in _files(results) if source.machine == DRIFTING}
    if not files:
        return []
    f1 = {
        policy: [_f1(result) for work, result in _recorded(results, policy).items() if work.over in files]
        for policy in both
    }
    before, after = (float(np.mean(f1[policy])) for policy in (Policy.NONE, Policy.SHIPPED))
    return [
        Goal(
            what=f"mean F1 of {len(files)} others, against no retraining",
            goal=f"at most {MOST_LOST:g} lower",
            reached=f"{after:.3f} against {before:.3f}",
            met=after >= before - MOST_LOST,
        )
    ]


def _of_pumps(results: Results) -> list[Goal]:
    of = _simulated(results, Policy.SHIPPED)
    if not of:
        return []
    faulty = [summed([result.counts]) for work, result in of.items() if _fault(work)]
    rate = summed([result.counts for result in of.values()]).false_alerts_per_day or 0.0
    found = sum(one.events_found for one in faulty)
    return [
        Goal(
            "simulated pumps: the fault is found", "always", f"{found} of {len(faulty)}", found == len(faulty)
        ),
        Goal(
            "simulated pumps: false alert episodes a day",
            f"≤ {MOST_FALSE:g}",
            f"{rate:.2f}",
            rate <= MOST_FALSE,
        ),
    ]


def _goal_row(goal: Goal) -> tuple[Cell, ...]:
    return goal.what, goal.goal, goal.reached, "yes" if goal.met else "**no**"


def _recordings(results: Results) -> Table:
    """Each file by each policy."""
    columns = (
        "file",
        "models",
        "F1",
        "FAR %",
        "MAR %",
        "events found",
        "false alerts/day",
        "promoted",
        "refused",
    )
    rows: list[tuple[Cell, ...]] = []
    by_file: dict[Source, list[tuple[Work, Walked]]] = {}
    for work, result in results.items():
        if isinstance(work.over, Source) and not work.operator:
            by_file.setdefault(work.over, []).append((work, result))
    for source, some in by_file.items():
        for work, result in some:
            rows.append((source.machine, named(work), *_figures(summed([result.counts])), *_turns([result])))
    files = _in_all(results, tuple(Policy))
    for policy in Policy if len(files) > 1 else ():
        of = [result for work, result in _recorded(results, policy).items() if work.over in files]
        figures = list(_figures(summed([result.counts for result in of])))
        figures[0] = float(np.mean([_f1(result) for result in of]))
        rows.append((f"**{len(files)} files**, F1 as the mean", str(policy), *figures, *_turns(of)))
    return Table("recordings", columns, tuple(rows))


def _figures(of: Evaluation) -> tuple[Cell, ...]:
    return of.f1, of.far, of.mar, f"{of.events_found} of {of.events}", of.false_alerts_per_day


def _turns(results: Sequence[Walked]) -> tuple[Cell, Cell]:
    """How many were promoted, and how many were not."""
    taken = [turn.promoted for result in results for turn in result.turns]
    return (sum(taken), len(taken) - sum(taken)) if taken else (None, None)


def _gate(results: Results) -> Table:
    """How turns ended, and how often, on the recordings."""
    reasons: dict[str, Counter[str]] = {}
    for work, result in _recorded(results, Policy.SHIPPED).items():
        assert isinstance(work.over, Source)
        of = reasons.setdefault(work.over.of, Counter())
        of.update(f"{'promoted' if turn.promoted else 'refused'}: {turn.reason}" for turn in result.turns)
    sets = tuple(reasons)
    names = sorted({name for of in reasons.values() for name in of})
    rows: list[tuple[Cell, ...]] = [(name, *(reasons[one][name] for one in sets)) for name in names]
    return Table("gate", ("decision", *sets), tuple(rows))


def _answers(results: Results) -> Table:
    """What it is worth that somebody answers alerts."""
    columns = (
        "machines",
        "alerts",
        "false alerts/day",
        "FAR %",
        "F1",
        "events found",
        "called false",
        "confirmed",
    )
    rows: list[tuple[Cell, ...]] = []
    over = [{work.over for work in results if named(work) == name} for name in (Policy.SHIPPED, ANSWERED)]
    both = over[0] & over[1]  # others cannot be compared
    for what in dict.fromkeys(_set(work) for work in results if work.over in both):
        for name in (str(Policy.SHIPPED), ANSWERED):
            of = [
                result
                for work, result in results.items()
                if work.over in both and _set(work) == what and named(work) == name
            ]
            one = summed([result.counts for result in of])
            said = Counter[str]()
            for result in of:
                said.update(result.answered)
            told = (said["false_alarm"], said["confirmed"]) if said else (None, None)
            how = "answered" if name == ANSWERED else "not answered"
            events = f"{one.events_found} of {one.events}"
            where = f"{what}, {counted(len(of), 'machine')}"
            rows.append((where, how, one.false_alerts_per_day, one.far, one.f1, events, *told))
    return Table("answers", columns, tuple(rows))


def _pumps(results: Results) -> Table:
    columns = (
        "models", "fault found", "days until then", "false alerts/day", "FAR %",
        "no fault: false alerts/day", "FAR %", "promoted", "refused",
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for name in (*map(str, Policy), ANSWERED):
        of = {
            work: result
            for work, result in results.items()
            if isinstance(work.over, Pump) and named(work) == name
        }
        if not of:
            continue
        faulty = summed([result.counts for work, result in of.items() if _fault(work)])
        sound = summed([result.counts for work, result in of.items() if not _fault(work)])
        days = None if faulty.delay_median is None else faulty.delay_median / 86_400
        rows.append(
            (name, f"{faulty.events_found} of {faulty.events}", days, faulty.false_alerts_per_day, faulty.far,
             sound.false_alerts_per_day, sound.far, *_turns(list(of.values())))
        )  # fmt: skip
    return Table("pumps", columns, tuple(rows))


def _promotions(results: Results) -> Table:
    """Every turn of the first simulated pump with a fault."""
    for work, result in _simulated(results, Policy.SHIPPED).items():
        if _fault(work):
            rows = tuple(
                (_day(turn.at), "yes" if turn.promoted else "no", turn.reason, turn.text)
                for turn in result.turns
            )
            return Table("promotions", ("day", "promoted", "reason", "in words"), rows)
    return Table("promotions", (), ())


def _files(results: Results) -> set[Source]:
    return {work.over for work in results if isinstance(work.over, Source)}


def _in_all(results: Results, policies: Sequence[Policy]) -> set[Source]:
    """The files that were walked over by each of some policies: others cannot be compared."""
    walked = [{work.over for work in _recorded(results, policy)} for policy in policies]
    return {source for source in _files(results) if all(source in some for some in walked)}


def _drifting(results: Results) -> dict[str, Walked]:
    """By how its models were kept; nothing unless all of it was measured, as a comparison needs both."""
    found = {named(work): result for work, result in results.items() if _is(work, DRIFTING)}
    return found if found.keys() >= set(map(str, Policy)) else {}


def _recorded(results: Results, policy: Policy) -> Results:
    return _by(results, policy, Source)


def _simulated(results: Results, policy: Policy) -> Results:
    return _by(results, policy, Pump)


def _by(results: Results, policy: Policy, kind: type) -> Results:
    return {
        work: result
        for work, result in results.items()
        if isinstance(work.over, kind) and work.policy is policy and not work.operator
    }


def _set(work: Work) -> str:
    return work.over.of if isinstance(work.over, Source) else "simulated pumps"


def _is(work: Work, machine_name: str) -> bool:
    return isinstance(work.over, Source) and work.over.machine == machine_name


def _fault(work: Work) -> bool:
    return isinstance(work.over, Pump) and work.over.fault


def _f1(result: Walked) -> float:
    return summed([result.counts]).f1 or 0.0


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%m-%d")
