"""`anomalyd train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.histories import read, read_each
from cli.interrupts import deferred_interrupts
from cli.options import (
    config_option,
    files_argument,
    json_option,
    load_settings,
    machine_option,
    name_problem,
)
from cli.progress import add_task, note, progress
from cli.tables import print_table
from config import Settings
from detector.history import History
from registry.champions import Registry
from trainer.wording import DAY, counted, duration, listed, rounded

if TYPE_CHECKING:
    from detector.manifest import Evidence, Threshold
    from trainer.export import ExportDiffers
    from trainer.problems import Unusable
    from trainer.stages import Stage
    from trainer.turn import Turn


@click.command(short_help="Fit a detector on normal data.")
@files_argument("history")
@machine_option(
    "Make a bundle for this machine alone (of files with a machine column, its rows are taken).  "
    "[default: one bundle that serves every machine without one of its own]",
)
@click.option(
    "--per-machine",
    is_flag=True,
    help="Make a bundle for each machine in the files, of a `machine` column or else by the file's name. "
    "Hundreds are fitted together. A machine whose history is no good is told and left out (exit code 65).",
)
@config_option
@json_option
def train(
    history: tuple[Path, ...], machine: str | None, config: Path | None, *, per_machine: bool, as_json: bool
) -> None:
    """Fit a detector on the HISTORY of normal operation and put it into service.

    HISTORY is any number of CSV (also .gz) or Parquet files: a column `timestamp`, optionally
    `machine` and `label` (rows labelled 1 are left out), every other column is a sensor. The bundle
    serves at once if it passes the gate; `anomalyd models list` shows what there is.
    """
    if per_machine and machine is not None:
        raise click.UsageError(
            "--per-machine makes a bundle for each machine, --machine for one: give one of them"
        )
    _, settings = load_settings(config)
    if per_machine:
        train_each(history, settings, as_json=as_json)
    else:
        train_one(history, settings, machine, as_json=as_json)


def train_one(history: tuple[Path, ...], settings: Settings, machine: str | None, *, as_json: bool) -> None:
    """Makes one bundle and prints what it is."""
    histories = read(history, settings, machine)
    note(f"{sum(map(len, histories))} readings of {len(histories[0].sensors)} sensors")
    turn = turn_of(histories, settings, machine, tuple(path.name for path in history))
    if as_json:
        click.echo(msgspec.json.encode(summary(turn)).decode())
        return
    manifest = turn.trained.manifest
    threshold, metrics = manifest.threshold, manifest.metrics
    click.echo(f"bundle      {manifest.id}")
    click.echo(f"serves      {machine or 'all machines without a bundle of their own'}")
    click.echo(
        f"model       {manifest.model.kind}, {manifest.model.parameters} parameters, "
        f"code of {manifest.model.code}, windows of {manifest.window.length} x {len(manifest.sensors)}"
    )
    evidence = threshold.evidence
    assert evidence is not None, "a bundle that was just made tells all it knows"
    click.echo(
        f"threshold   {threshold.value:.4g} by {evidence.of(threshold.method).label}, "
        f"{threshold.windows} held-back windows, {threshold.above:.2%} of them above"
    )
    click.echo(f"expected    {expected(threshold, evidence)}")
    alerts, time = (
        counted(int(metrics["held_back_alerts"]), "alert"),
        duration(metrics["held_back_days"] * DAY),
    )
    click.echo(f"held back   {alerts} in {time}")
    click.echo(
        f"decision    {'in service' if turn.decision.promote else 'not in service'}: {turn.decision.text}"
    )
    if turn.pruned:
        click.echo(f"deleted     {counted(len(turn.pruned), 'old bundle')} (bundles.max_size)")
    if "report.html" in turn.trained.files:
        click.echo(f"report      {settings.state_dir / 'bundles' / manifest.id / 'report.html'}")
    click.echo()
    print_candidates(threshold, evidence)


def expected(threshold: Threshold, evidence: Evidence) -> str:
    """How often normal operation is to be expected to open an alert, and how well that is known."""
    rate = evidence.of(threshold.method).alerts_per_day
    beyond = ", extrapolated" if threshold.value > evidence.quiet else ""
    return (
        f"{rounded(rate.expected)} false alerts a day of a machine{beyond}; the "
        f"{duration(evidence.days * DAY)} learned from show at least {rounded(rate.low)} "
        f"and at most {rounded(rate.high)} (each at 95 %)"
    )


def print_candidates(threshold: Threshold, evidence: Evidence) -> None:
    """What each method gives, the chosen one marked."""
    labelled = evidence.candidates[0].recall is not None
    columns = ("method", "threshold", "low", "high", "above", "alerts/day", "at least", "at most")
    print_table(
        (*columns, *(("precision", "recall", "F1") if labelled else ())),
        (
            (
                f"{'*' if each.method == threshold.method else ' '} {each.label}",
                *map(_number, (each.value, each.low, each.high)),
                f"{each.above:.2%}",
                *map(_number, msgspec.structs.astuple(each.alerts_per_day)),
                *(map(_number, (each.precision, each.recall, each.f1)) if labelled else ()),
            )
            for each in evidence.candidates
        ),
    )


def _number(number: float | None) -> str:
    return "" if number is None else rounded(number)


def train_each(history: tuple[Path, ...], settings: Settings, *, as_json: bool) -> None:
    """Makes a bundle for each machine and prints a line for each.

    Raises:
        CommandError: Some machines got none; the others' bundles are written.
    """
    found, wrong = read_each(history, settings)
    histories = []
    for one, files in found:
        problem = name_problem(one.machine)
        if problem:
            wrong[one.machine] = (f"a machine's name {problem}",)
        else:
            histories.append((one, tuple(path.name for path in files)))
    rows = sum(len(one) for one, _ in histories)
    note(f"{rows} readings of {counted(len(histories), 'machine')}")
    turns: list[dict[str, Any]] = []
    try:
        for machine, turn in turns_of(histories, settings):
            if isinstance(turn, Exception):
                wrong[machine] = tuple(str(turn).splitlines())
            else:
                turns.append(summary(turn))
    finally:  # what was promoted before an error serves already
        turns.sort(key=lambda turn: str(turn["machine"]))
        _print(turns, wrong, settings, as_json=as_json)
    if wrong:
        whose: dict[str, list[str]] = {}
        for name, texts in sorted(wrong.items()):
            for text in texts:
                whose.setdefault(text, []).append(name)
        problems = [
            f"machine{'s' if names[1:] else ''} {listed(names)}: {text}" for text, names in whose.items()
        ]
        made = f"{len(wrong)} of {counted(len(wrong) + len(turns), 'machine')} got no bundle"
        raise CommandError(Exit.DATA, *problems, made)


def _print(
    turns: list[dict[str, Any]], wrong: dict[str, tuple[str, ...]], settings: Settings, *, as_json: bool
) -> None:
    if as_json:
        failed = [
            {"machine": name, "promoted": False, "reason": "unusable_history", "text": "\n".join(texts)}
            for name, texts in sorted(wrong.items())
        ]
        click.echo(msgspec.json.encode([*turns, *failed]).decode())
    elif turns:
        print_table(
            ("machine", "bundle", "decision", "threshold", "alerts/day"),
            (
                (
                    turn["machine"],
                    turn["bundle"],
                    "in service" if turn["promoted"] else f"refused: {turn['reason']}",
                    f"{turn['threshold']['value']:.4g}",
                    f"{turn['metrics']['held_back_alerts_per_day']:.2g}",
                )
                for turn in turns
            ),
            numbers_from=3,
        )
        if settings.trainer.report != "off":
            click.echo(f"reports in {settings.state_dir / 'bundles'}")
        for turn in turns:
            if not turn["promoted"]:
                note(f"machine {turn['machine']} is not in service: {turn['text']}")
        odd = [turn["machine"] for turn in turns if turn["warnings"]]
        if odd:
            note(f"note: odd histories, as their reports say: {listed(odd)}")


def turns_of(
    histories: Sequence[tuple[History, tuple[str, ...]]], settings: Settings
) -> Iterator[tuple[str, Turn | Unusable | ExportDiffers]]:
    """Takes a turn for each machine, with progress."""
    from trainer.turn import take_turns

    with stages() as tell:
        yield from take_turns(
            histories,
            settings=settings,
            registry=Registry(settings.state_dir),
            now=datetime.now(UTC),
            progress=tell,
        )


def turn_of(
    histories: Sequence[History], settings: Settings, machine: str | None, source: tuple[str, ...]
) -> Turn:
    """Takes a turn with progress.

    Raises:
        CommandError: The history cannot carry a model, or the export cannot be trusted.
    """
    from trainer.export import ExportDiffers
    from trainer.problems import Unusable
    from trainer.turn import take_turn

    try:
        with stages() as tell:
            turn = take_turn(
                histories,
                settings=settings,
                registry=Registry(settings.state_dir),
                machine=machine,
                source=source,
                now=datetime.now(UTC),
                progress=tell,
            )
    except Unusable as error:
        raise CommandError(Exit.DATA, *error.problems) from error
    except ExportDiffers as error:
        raise CommandError(Exit.FAILED, str(error)) from error
    for warning in turn.trained.verdict.warnings:
        note(f"note: {warning}")
    return turn


@contextmanager
def stages() -> Iterator[Callable[[Stage], None]]:
    """A progress bar over the stages of a training; yields what `take_turn` tells them to.

    Ctrl-C ends the training at the next stage or epoch, so that a bundle is promoted or is not made.
    """
    with deferred_interrupts() as check, progress() as display:
        task = add_task(display, "training", 1.0)

        def tell(stage: Stage) -> None:
            check()
            display.update(task, completed=stage.done, detail=stage.text, refresh=True)

        yield tell


def summary(turn: Turn) -> dict[str, Any]:
    """A turn as JSON: bundle, decision, threshold with its evidence, metrics."""
    manifest = turn.trained.manifest
    return {
        "bundle": manifest.id,
        "machine": manifest.machine,
        "promoted": turn.decision.promote,
        "reason": turn.decision.reason,
        "text": turn.decision.text,
        "champion_before": turn.champion,
        "pruned": turn.pruned,
        "sensors": manifest.sensors,
        "window": manifest.window.length,
        "interval_ms": manifest.grid.interval,
        "threshold": msgspec.to_builtins(manifest.threshold),
        "metrics": manifest.metrics,
        "warnings": turn.trained.verdict.warnings,
    }
