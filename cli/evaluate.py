"""`anomalyd evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import config_option, files_argument, json_option, load_settings, machine_option
from cli.replay import pipeline_of, read, replayed


@click.command(short_help="How good the detector is on labelled data.")
@files_argument("labelled")
@click.option("--bundle", metavar="ID", help="Evaluate this bundle.  [default: the champions]")
@machine_option()
@config_option
@json_option
def evaluate(
    labelled: tuple[Path, ...], bundle: str | None, machine: str | None, config: Path | None, *, as_json: bool
) -> None:
    """Replay LABELLED data and say how good the detector is.

    The files have a column `label`: 0 normal, 1 anomalous, -1 left out. Rows count one by one,
    without point adjustment; a row without a score counts as not alarmed. An alert counts where it
    opened: in an event it has found it, on a normal row it is false.
    """
    _, settings = load_settings(config)
    histories = read(labelled, settings, machine)
    unlabelled = [history.machine for history in histories if history.label is None]
    if unlabelled:
        raise CommandError(
            Exit.DATA,
            f"{', '.join(unlabelled)}: must have a column {settings.history.label_column} "
            "(0 normal, 1 anomalous, -1 unknown), got none; history.label_column names it",
        )
    pipeline = pipeline_of(settings, bundle, histories)
    events = list(replayed(histories, pipeline))
    from trainer.evaluation import evaluate as measure
    from trainer.evaluation import rows

    laid = []
    for history in histories:
        detector = pipeline.champions.of(history.machine)
        if detector is not None:
            manifest = detector.manifest
            laid.append(rows(history, events, grid=manifest.grid, stride=manifest.window.stride))
    result = measure(laid)
    if as_json:
        click.echo(msgspec.json.encode(asdict(result)).decode())
        return
    for name, what, unit in LINES:
        number = getattr(result, name)
        text = "-" if number is None else f"{number:.4g}" if isinstance(number, float) else str(number)
        click.echo(f"{name:22} {text + unit if number is not None else text:>12}   {what}")


LINES = (
    ("files", "labelled histories that a bundle serves", ""),
    ("rows", "rows labelled normal or anomalous", ""),
    ("anomalous", "of them anomalous", ""),
    ("unscored", "of them without a score (warming up, too few values)", ""),
    ("precision", "share of the alarmed rows that are anomalous", ""),
    ("recall", "share of the anomalous rows that are alarmed", ""),
    ("f1", "harmonic mean of the two", ""),
    ("far", "false alarm rate: normal rows that are alarmed", " %"),
    ("mar", "missed alarm rate: anomalous rows that are not alarmed", " %"),
    ("auc_pr", "area under precision and recall, over all thresholds", ""),
    ("auc_pr_random", "the same of random scores", ""),
    ("events", "runs of anomalous rows", ""),
    ("events_found", "of them in which an alert opened", ""),
    ("delay_mean", "mean time from an event's start to its alert", " s"),
    ("delay_median", "median of the same", " s"),
    ("false_alerts", "alerts that opened on a normal row", ""),
    ("false_alerts_per_day", "the same per day of normal rows", ""),
)
