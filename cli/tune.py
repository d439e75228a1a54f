"""`anomalyd tune`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.histories import read
from cli.interrupts import deferred_interrupts
from cli.options import (
    PATH,
    Duration,
    config_option,
    files_argument,
    json_option,
    load_settings,
    machine_option,
)
from cli.outputs import check_writable, write
from cli.progress import note, progress
from cli.tables import print_table
from config.problems import nearest
from detector.history import History
from trainer.wording import counted, listed

if TYPE_CHECKING:
    from config import Settings
    from trainer.stages import Stage
    from trainer.study import Outcome, Proposal, Sampler
    from trainer.tuning import Ended, Search

USUAL_BUDGET = timedelta(minutes=10)
WHY = {
    "trials": "as many trials as asked for",
    "time": "the time is up",
    "everything_tried": "everything was tried",
    "interrupted": "stopped; what was found is kept",
}


@click.command(short_help="Find options of the trainer that suit a history.")
@files_argument("history")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    default="tpe",
    show_default=True,
    help="How to search. tpe: Bayesian, tries more of what did well. random: without learning. "
    "grid: some values of each option, all combinations in random order.",
)
@click.option(
    "--over",
    metavar="A,B,C",
    help="Search these options of `trainer:`.  [default: those that usually matter most]",
)
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Stop when the study holds N trials.")
@click.option(
    "--time-budget",
    type=Duration(above_zero=True),
    metavar="10min",
    help="Stop after this time; the configured options are tried first, however long they take.  "
    "[default: 10min, or as long as --trials takes]",
)
@click.option("--output", type=PATH, help="Write the best section `trainer:` here, with its figures.")
@click.option("--report", type=PATH, help="Write a page about the search here (HTML).")
@click.option(
    "--study",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the trials in this file, and go on with those that are in it.  [default: in memory]",
)
@click.option("--force", is_flag=True, help="Overwrite the files of --output and --report.")
@machine_option()
@config_option
@json_option
def tune(
    history: tuple[Path, ...],
    *,
    sampler: Sampler,
    over: str | None,
    trials: int | None,
    time_budget: timedelta | None,
    output: Path | None,
    report: Path | None,
    study: Path | None,
    force: bool,
    machine: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Find options of `trainer:` that suit the HISTORY of normal operation, by trying them.

    No label is needed: each trial fits a detector on a part of the rows and says how well it ranks
    synthetic faults among other normal rows. Rows labelled 1 are never fitted on; real faults count
    as much as all synthetic ones. The rows that set the threshold are not looked at. Ctrl-C ends
    the search and keeps what was found.
    """
    names = _options(over)
    _, settings = load_settings(config)
    for option, path in (("--output", output), ("--report", report)):
        if path is not None and path.is_file() and not force:
            raise click.UsageError(f"{option} {path}: is there already; --force overwrites it")
        if path is not None:
            check_writable(path)
    histories = read(history, settings, machine)
    with closing(_search(histories, settings, names, sampler, study)) as search:
        ended = _run(search, trials, time_budget)
        outcomes = search.study.outcomes
        if not outcomes:
            raise CommandError(Exit.FAILED, "stopped before the first trial ended")
        if search.best is None:
            failed = (_told(outcome, search.default) for outcome in outcomes)
            raise CommandError(Exit.DATA, "no trial succeeded", *failed)
        note(f"{counted(len(outcomes), 'trial')}: {WHY[ended]}")
        if as_json:
            click.echo(msgspec.json.encode(summary(search, ended)).decode())
        else:
            _print(search)
        source = f"{listed([path.name for path in history])} ({counted(sum(map(len, histories)), 'row')})"
        _write(search, source, output, report)


def _write(search: Search, source: str, output: Path | None, report: Path | None) -> None:
    made = f"{datetime.now(UTC):%Y-%m-%d}"
    if output is not None:
        from trainer.winner import section

        write(output, section(search, made=made, history=source))
        note(f"{output}: its section `trainer:` takes the place of the one in the configuration")
    if report is not None:
        from trainer.tuning_report import tuning_report

        write(report, tuning_report(search, made=made, history=source))
        note(f"{report}: the report")


def _options(over: str | None) -> tuple[str, ...]:
    """The options that are searched; a mistyped one is refused before anything is imported or read."""
    from trainer.space import USUAL, searchable

    if over is None:
        return USUAL
    known = searchable()
    names = tuple(dict.fromkeys(name.strip() for name in over.split(",")))
    problems = []
    for name in names:
        if name not in known:
            close = nearest(name, known) or nearest(f"model.{name}", known)
            problems.append(f"got {name!r}" + (f"; nearest known: {close}" if close else ""))
    if problems:
        raise click.UsageError(f"--over: must be some of {', '.join(known)}, {', '.join(problems)}")
    return names


def _search(
    histories: Sequence[History],
    settings: Settings,
    names: Sequence[str],
    sampler: Sampler,
    study: Path | None,
) -> Search:
    """Begins a search or goes on with one.

    Raises:
        CommandError: The history cannot carry a search, or the file is no study of it.
    """
    from trainer.problems import Unusable
    from trainer.tuning import Search

    try:
        return Search(histories, settings=settings, over=names, sampler=sampler, path=study)
    except Unusable as error:
        raise CommandError(Exit.DATA, *error.problems) from error


def _run(search: Search, trials: int | None, budget: timedelta | None) -> Ended:
    """Searches with progress; why it is over. Ctrl-C ends it at the next stage or epoch of a trial."""
    from trainer.tuning import Ended, Limits

    if trials is None and budget is None:
        budget = USUAL_BUDGET
    seconds = None if budget is None else budget.total_seconds()
    earlier = len(search.study.outcomes)
    if earlier:
        note(f"going on after {counted(earlier, 'trial')}")
    began = time.monotonic()

    def share() -> float:
        """How much of the search is over, by the limit that is nearer."""
        done = [0.0]
        if seconds is not None:
            done.append((time.monotonic() - began) / seconds)
        if trials is not None:
            done.append((len(search.study.outcomes) - earlier) / max(1, trials - earlier))
        return min(1.0, max(done))

    try:
        with deferred_interrupts() as check, progress("tuning") as show:

            def tell(proposal: Proposal, stage: Stage) -> None:
                check()
                best = search.best
                so_far = "" if best is None or best.marks is None else f", best {best.marks.score:.3f}"
                show(share(), f"trial {proposal.number}{so_far}, {stage.text.partition(',')[0]}")

            def ended(outcome: Outcome) -> None:
                best = " (the best so far)" if search.best == outcome else ""
                note(_told(outcome, search.default) + best)

            return search.run(Limits(trials=trials, seconds=seconds), progress=tell, ended=ended)
    except KeyboardInterrupt:
        return Ended.INTERRUPTED


def _told(outcome: Outcome, default: Mapping[str, Any]) -> str:
    """A trial in a line, with the options that are not as they are configured."""
    from trainer.space import shown

    changed = [
        f"{name} {shown(value)}" for name, value in outcome.options.items() if value != default.get(name)
    ]
    came = outcome.problem if outcome.marks is None else f"{outcome.marks.score:.3f}"
    return f"trial {outcome.number}: {came}, {', '.join(changed) or 'as configured'}"


def _print(search: Search) -> None:
    from trainer.winner import caution, changed, figures, headline

    click.echo(headline(search))
    if doubt := caution(search):
        click.echo(doubt)
    options, (headings, *rows) = changed(search), figures(search)
    if options:
        click.echo()
        print_table(("option", "configured", "best"), options)
    click.echo()
    print_table(headings, rows)


def summary(search: Search, ended: Ended) -> dict[str, Any]:
    """A search as JSON: every trial with its options and marks, the best and the configured one."""
    best, configured = search.best, search.configured
    return {
        "ended": ended,
        "best": best and best.number,
        "configured": configured and configured.number,
        "improved": best != configured,
        "searched": search.space,
        "importances": search.study.importances(),
        "trials": [
            {**asdict(outcome), "score": outcome.marks and outcome.marks.score}
            for outcome in search.study.outcomes
        ],
    }
