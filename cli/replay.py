"""`anomalyd replay`."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np

from cli.backtest import replayed, served
from cli.histories import recorded
from cli.options import PATH, config_option, files_argument, load_settings, machine_option
from cli.outputs import check_writable
from cli.progress import note
from detector.alerts import Change
from detector.events import (
    AlertChanged,
    Event,
    NotScored,
    ReadingDropped,
    Scored,
    SensorChanged,
    ValueIgnored,
)
from detector.history import History
from detector.scoring import Detector
from registry.files import replacing
from trainer.wording import counted


@click.command(short_help="What the daemon would have said about data.")
@files_argument("data")
@click.option(
    "--scores",
    type=PATH,
    help="Write a CSV with one row per scored window: machine,at,score,anomaly.",
)
@click.option("--sensors", is_flag=True, help="Print what became of the sensors' health as well.")
@click.option("--bundle", metavar="ID", help="Replay with this bundle.  [default: the champions]")
@machine_option()
@config_option
def replay(
    data: tuple[Path, ...],
    scores: Path | None,
    bundle: str | None,
    machine: str | None,
    config: Path | None,
    *,
    sensors: bool,
) -> None:
    """What the daemon would have said about recorded DATA: alert events as JSON lines.

    DATA are CSV (also .gz) or Parquet files, laid out like a training history, and may be larger
    than memory. It is the daemon's own pipeline, so that the answer is what the daemon would have
    published. Machines come one after another by name, each in order of time.
    """
    _, settings = load_settings(config)
    if scores is not None:
        check_writable(scores)
    rows = 0
    counts: Counter[str] = Counter()
    changes: Counter[Change] = Counter()
    with ExitStack() as stack:
        machines = served(settings, bundle, stack.enter_context(recorded(data, settings, machine)))
        table = None
        if scores is not None:
            table = stack.enter_context(replacing(scores))
            table.write(_csv_row("machine", "at", "score", "anomaly").encode())
        work = partial(said, scores=table is not None, sensors=sensors)
        for block in stack.enter_context(closing(replayed(machines, settings, work))):
            rows += block.rows
            counts.update(block.counts)
            changes.update(block.changes)
            sys.stdout.write(block.events)
            if table is not None:
                table.write(block.scores)
    told = [f"{number:,} {what}" for what, number in counts.items()]
    told += [f"{counted(number, 'alert')} {change}" for change, number in changes.items()]
    note(f"{counted(rows, 'reading')}: {', '.join(told)}")


class Said(msgspec.Struct, frozen=True, gc=False):
    """What the daemon would have said about a block of one machine's readings.

    Attributes:
        rows: Readings in the block.
        events: Alert events as JSON lines; those of sensors, too, if they were asked for.
        scores: Rows of the CSV of scores, if they were asked for.
        counts: Windows and readings, by what became of them.
        changes: Alert events, by what they say.
    """

    rows: int
    events: str
    scores: bytes
    counts: Counter[str]
    changes: Counter[Change]


def said(
    _: Detector, blocks: Iterator[tuple[History, list[Event]]], *, scores: bool, sensors: bool
) -> Iterator[Said]:
    """Makes of a machine's events what the command prints; see `cli.backtest.Work`."""
    from daemon import payloads

    for history, events in blocks:
        scored = [event for event in events if isinstance(event, Scored)]
        others = [event for event in events if not isinstance(event, Scored)]
        alerts = [event for event in others if isinstance(event, AlertChanged)]
        lost = [event for event in others if isinstance(event, NotScored | ReadingDropped | ValueIgnored)]
        counts = Counter(event.reason.replace("_", " ") for event in lost)
        if scored:
            counts["scored"] = len(scored)
        ailing = [event for event in others if isinstance(event, SensorChanged)]
        counts.update(f"sensor {event.health}".replace("_", " ") for event in ailing)
        told = [
            event
            for event in others
            if isinstance(event, AlertChanged) or (sensors and isinstance(event, SensorChanged))
        ]
        yield Said(
            rows=len(history),
            events="".join(payloads.told(event).decode() + "\n" for event in told),
            scores=_table(history.machine, scored) if scores else b"",
            counts=counts,
            changes=Counter(event.change for event in alerts),
        )


def _table(machine: str, scored: Sequence[Scored]) -> bytes:
    """One row per scored window, as CSV."""
    at = np.array([event.at for event in scored], dtype=np.int64).astype("datetime64[ms]")
    start = _csv_row(machine, "").rstrip()
    times = np.datetime_as_string(at).tolist()
    return "".join(
        [
            f"{start}{time}Z,{event.score!r},{'01'[event.anomaly]}\r\n"
            for time, event in zip(times, scored, strict=True)
        ]
    ).encode()


def _csv_row(*cells: str) -> str:
    row = io.StringIO()
    csv.writer(row).writerow(cells)
    return row.getvalue()
