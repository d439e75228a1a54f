"""`anomalyd replay`."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from cli.exits import CommandError, Exit
from cli.options import config_option, files_argument, load_settings, machine_option, need_trainer
from cli.progress import add_task, note, progress
from config import Settings
from config.policies import alert_policy, stream_policy
from detector.alerts import Change
from detector.events import AlertChanged, Event, NotScored, ReadingDropped, Scored
from detector.history import History
from detector.pipeline import Champions, Pipeline
from detector.replay import replay as feed
from registry.bundle import load
from registry.champions import Registry
from trainer.wording import counted


@click.command(short_help="What the daemon would have said about data.")
@files_argument("data")
@click.option(
    "--scores",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a CSV with one row per scored window: machine,at,score,anomaly.",
)
@click.option("--bundle", metavar="ID", help="Replay with this bundle.  [default: the champions]")
@machine_option()
@config_option
def replay(
    data: tuple[Path, ...], scores: Path | None, bundle: str | None, machine: str | None, config: Path | None
) -> None:
    """What the daemon would have said about recorded DATA: alert events as JSON lines.

    DATA are CSV (also .gz) or Parquet files, laid out like a training history. It is the daemon's
    own pipeline, so that the answer is what the daemon would have published.
    """
    from daemon import payloads

    _, settings = load_settings(config)
    histories = read(data, settings, machine)
    pipeline = pipeline_of(settings, bundle, histories)
    counts: Counter[str] = Counter()
    changes: Counter[Change] = Counter()
    with ExitStack() as stack:
        table = None
        if scores is not None:
            table = csv.writer(stack.enter_context(scores.open("w", newline="")))
            table.writerow(["machine", "at", "score", "anomaly"])
        for event in replayed(histories, pipeline):
            if isinstance(event, Scored):
                counts["scored"] += 1
                if table is not None:
                    table.writerow([event.machine, payloads.iso(event.at), event.score, int(event.anomaly)])
            elif isinstance(event, AlertChanged):
                changes[event.change] += 1
                sys.stdout.write(payloads.alert(event).decode() + "\n")
            elif isinstance(event, NotScored | ReadingDropped):
                counts[event.reason.replace("_", " ")] += 1
    rows = sum(map(len, histories))
    told = [f"{number} {what}" for what, number in counts.items()]
    told += [f"{counted(number, 'alert')} {change}" for change, number in changes.items()]
    note(f"{counted(rows, 'reading')}: {', '.join(told)}")


def read(data: Sequence[Path], settings: Settings, machine: str | None) -> list[History]:
    """Reads the files of history.

    Raises:
        CommandError: They cannot be read or used.
    """
    need_trainer("reading history files")
    from trainer.history_files import read_histories
    from trainer.problems import Unreadable, Unusable

    try:
        return read_histories(data, settings.history, machine=machine, note=note)
    except Unreadable as error:
        raise CommandError(Exit.IO, *error.problems) from error
    except Unusable as error:
        raise CommandError(Exit.DATA, *error.problems) from error


def pipeline_of(settings: Settings, bundle: str | None, histories: Sequence[History]) -> Pipeline:
    """The daemon's pipeline, with the champions or with one bundle for all machines.

    Raises:
        CommandError: No bundle would score anything, or no history has a sensor that its bundle knows.
        BundleError: The bundle must not be used.
    """
    registry = Registry(settings.state_dir)
    if bundle is not None:
        champions = Champions(shared=load(registry.read(bundle)))
    else:
        champions, refused = registry.load({})
        for error in refused:
            note(f"anomalyd: {error}")
        if not any(champions.of(history.machine) for history in histories):
            names = ", ".join(history.machine for history in histories)
            text = f"{settings.state_dir}: holds no bundle for {names}; train one: anomalyd train HISTORY"
            raise CommandError(Exit.FAILED, text)
    unserved = [history.machine for history in histories if champions.of(history.machine) is None]
    if unserved:
        note(f"left out, as no bundle serves them: {', '.join(unserved)}")
    strangers = list(_strangers(champions, histories))
    if len(strangers) + len(unserved) == len(histories):
        raise CommandError(Exit.DATA, *strangers)
    for text in strangers:
        note(f"left out: {text}")
    return Pipeline(champions, stream=stream_policy(settings), alerts=alert_policy(settings))


def _strangers(champions: Champions, histories: Sequence[History]) -> Iterator[str]:
    """What to say of each history that has no sensor of the bundle that serves it."""
    for history in histories:
        detector = champions.of(history.machine)
        if detector is not None and not {*history.sensors} & {*detector.manifest.sensors}:
            known = ", ".join(detector.manifest.sensors)
            yield (
                f"{history.machine}: must have a sensor of bundle {detector.manifest.id} ({known}), "
                f"got {', '.join(history.sensors)}"
            )


def replayed(histories: Sequence[History], pipeline: Pipeline) -> Iterator[Event]:
    """Replays with progress."""
    total = sum(map(len, histories))
    with progress() as display:
        task = add_task(display, "replaying", total)
        done = 0
        for event in feed(histories, pipeline):
            if isinstance(event, Scored | NotScored):
                done += 1
                if done % 1000 == 0:
                    display.update(task, completed=done)
            yield event
