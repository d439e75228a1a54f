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
from cli.progress import note, progress
from cli.tables import print_lines, print_table
from cli.thresholds import expected, print_candidates
from config import Settings
from detector.history import History
from registry.champions import Registry
from registry.turns import Outcome
from trainer.wording import DAY, counted, duration, listed

if TYPE_CHECKING:
    from registry.requests import Request
    from registry.turns import Record
    from trainer.composition import Learned
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
    note(f"{counted(sum(map(len, histories)), 'reading')} of {counted(len(histories[0].sensors), 'sensor')}")
    turn = turn_of(histories, settings, machine, tuple(path.name for path in history))
    if as_json:
        click.echo(msgspec.json.encode(summary(turn)).decode())
    else:
        print_lines(_described(turn, settings, machine))
        click.echo()
        threshold = turn.trained.manifest.threshold
        assert threshold.evidence is not None, "a bundle that was just made tells all it knows"
        print_candidates(threshold, threshold.evidence)
    for text in turn.trained.advice:
        note(f"hint: {text}")


def _described(turn: Turn, settings: Settings, machine: str | None) -> Iterator[tuple[str, str]]:
    """The turn in named lines."""
    manifest = turn.trained.manifest
    threshold, metrics = manifest.threshold, manifest.metrics
    evidence = threshold.evidence
    assert evidence is not None
    yield "bundle", manifest.id
    yield "serves", machine or "all machines without a bundle of their own"
    model, sensors = manifest.model, len(manifest.sensors)
    parts = [model.kind, counted(model.parameters, "parameter"), f"code of {model.code}"]
    yield "model", f"{', '.join(parts)}, windows of {manifest.window.length} x {sensors}"
    how, windows = evidence.of(threshold.method).label, counted(threshold.windows, "held-back window")
    yield "threshold", f"{threshold.value:.4g} by {how}, {windows}, {threshold.above:.2%} of them above"
    yield "expected", expected(threshold, evidence)
    alerts, time = counted(int(metrics["held_back_alerts"]), "alert"), metrics["held_back_days"] * DAY
    yield "held back", f"{alerts} in {duration(time)}"
    yield "decision", f"{'' if turn.decision.promote else 'not '}in service: {turn.decision.text}"
    if turn.pruned:
        yield "deleted", f"{counted(len(turn.pruned), 'old bundle')} (bundles.max_size)"
    if turn.prune_failed:
        yield "not deleted", f"old bundles (bundles.max_size): {turn.prune_failed}"
    if "report.html" in turn.trained.files:
        yield "report", str(settings.state_dir / "bundles" / manifest.id / "report.html")


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
    note(f"{counted(rows, 'reading')} of {counted(len(histories), 'machine')}")
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
            ("machine", "bundle", "decision", "threshold", "alerts/d"),
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
        advised = [turn["machine"] for turn in turns if turn["advice"]]
        if advised:
            note(f"hint: what is worth trying stands in the reports of {listed(advised)}")


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
    histories: Sequence[History],
    settings: Settings,
    machine: str | None,
    source: tuple[str, ...],
    request: Request | None = None,
    learned: Learned | None = None,
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
                request=request,
                learned=learned,
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
    with deferred_interrupts() as check, progress("training") as show:

        def tell(stage: Stage) -> None:
            check()
            show(stage.done, stage.text)

        yield tell


def summary_of(record: Record) -> dict[str, Any]:
    """A turn that made no bundle as JSON."""
    return {
        "bundle": record.bundle,
        "machine": record.machine,
        "promoted": record.outcome is Outcome.PROMOTED,
        "outcome": record.outcome,
        "reason": record.reason,
        "text": record.text,
        "champion_before": record.champion,
        "turn": record.id,
        "criteria": record.criteria,
    }


def summary(turn: Turn) -> dict[str, Any]:
    """A turn as JSON: bundle, decision, threshold with its evidence, metrics."""
    manifest = turn.trained.manifest
    return {
        "bundle": manifest.id,
        "machine": manifest.machine,
        "promoted": turn.decision.promote,
        "reason": turn.decision.reason,
        "text": turn.decision.text,
        "outcome": turn.record.outcome,
        "turn": turn.record.id,
        "criteria": turn.record.criteria,
        "champion_before": turn.champion,
        "pruned": turn.pruned,
        "prune_failed": turn.prune_failed,
        "sensors": manifest.sensors,
        "window": manifest.window.length,
        "interval_ms": manifest.grid.interval,
        "threshold": msgspec.to_builtins(manifest.threshold),
        "metrics": manifest.metrics,
        "warnings": turn.trained.verdict.warnings,
        "advice": turn.trained.advice,
    }
