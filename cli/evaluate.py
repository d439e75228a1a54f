"""`anomalyd evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import msgspec

from cli.backtest import replayed, served
from cli.exits import CommandError, Exit
from cli.histories import recorded
from cli.options import config_option, files_argument, json_option, load_settings, machine_option
from detector.events import Event
from detector.history import History
from detector.scoring import Detector
from trainer.evaluation import Counts, Laying, Tally, summed
from trainer.ranking import BUFFER
from trainer.wording import listed


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
    from config.policies import milliseconds

    _, settings = load_settings(config)
    with recorded(labelled, settings, machine) as recordings:
        unlabelled = [recording.machine for recording in recordings if not recording.labelled]
        if unlabelled:
            raise CommandError(
                Exit.DATA,
                f"{listed(unlabelled)}: must have a column {settings.history.label_column} "
                "(0 normal, 1 anomalous, -1 unknown), got none; history.label_column names it",
            )
        machines = served(settings, bundle, recordings)
        work = partial(count, lateness=milliseconds(settings.readings.lateness))
        with closing(replayed(machines, settings, work)) as counted:
            result = summed(list(counted))
    if as_json:
        click.echo(msgspec.json.encode(asdict(result)).decode())
        return
    for name, what, unit in LINES:
        number = getattr(result, name)
        text = "-" if number is None else f"{number:.4g}" if isinstance(number, float) else str(number)
        click.echo(f"{name:22} {text + unit if number is not None else text:>12}   {what}")


def count(
    detector: Detector, blocks: Iterator[tuple[History, list[Event]]], *, lateness: int
) -> Iterator[Counts]:
    """Counts what the events of a machine are worth; see `cli.backtest.Work`."""
    grid, stride = detector.manifest.grid, detector.manifest.window.stride
    laying = Laying(grid=grid, stride=stride, lateness=lateness)
    tally = Tally()
    for history, events in blocks:
        tally.add(laying.add(history, events))
    tally.add(laying.rest())
    yield tally.counts()


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
    ("vus_pr", f"the same with up to {BUFFER // 2} rows beside an event as partly anomalous", ""),
    ("vus_pr_random", "the same of random scores", ""),
    ("roc_auc", "chance that an anomalous row scores above a normal one; random scores: 0.5", ""),
    ("events", "runs of anomalous rows", ""),
    ("events_found", "of them in which an alert opened", ""),
    ("delay_mean", "mean time from an event's start to its alert", " s"),
    ("delay_median", "median of the same", " s"),
    ("false_alerts", "alerts that opened on a normal row", ""),
    ("false_alerts_per_day", "the same per day of normal rows", ""),
)
