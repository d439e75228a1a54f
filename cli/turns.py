"""`anomalyd models turns`: what became of each retraining."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import config_option, json_option, load_settings
from cli.tables import print_lines, print_table
from registry.turns import Turns, UnknownTurn
from trainer.gate import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.turns import Criterion, Record

HEADINGS = ("turn", "serves", "asked by", "outcome", "reason")


@click.command("turns")
@click.argument("turn", required=False)
@config_option
@json_option
def turns(turn: str | None, config: Path | None, *, as_json: bool) -> None:
    """What became of each training and retraining, oldest first; of one TURN all that is known.

    The page of a turn for people lies in the state directory, under turns/.
    """
    found = Turns(load_settings(config)[1].state_dir)
    if turn is not None:
        _show(found, turn, as_json=as_json)
        return
    records, problems = [], []
    for one in found.all():
        if isinstance(one, UnknownTurn):
            problems.append(str(one))
        else:
            records.append(one)
    if as_json:
        click.echo(msgspec.json.encode(records).decode())
    elif records:
        print_table(HEADINGS, map(_cells, records), numbers_from=len(HEADINGS), folded=1)
    else:
        click.echo("no turn yet; one is taken by anomalyd train, anomalyd retrain, and the daemon")
    for problem in problems:
        click.echo(f"unreadable: {problem}", err=True)


def _cells(record: Record) -> tuple[str, ...]:
    asked = record.asked.by if record.asked else "train"
    return record.id, record.machine or "all", str(asked), record.outcome, record.reason


def _show(found: Turns, turn: str, *, as_json: bool) -> None:
    try:
        record = found.read(turn)
    except UnknownTurn as error:
        raise CommandError(Exit.FAILED, str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode(record).decode())
        return
    print_lines(_described(record, found))
    if record.criteria:
        click.echo()
        print_table(
            ("criterion", "challenger", "champion", "allowed", "verdict"),
            map(_criterion, record.criteria),
            numbers_from=1,
            folded=0,
        )


def _described(record: Record, found: Turns) -> Iterator[tuple[str, str]]:
    yield "turn", record.id
    yield "taken", record.at
    yield "serves", record.machine or "all machines without a bundle of their own"
    if record.asked:
        reason = record.asked.reason
        yield "asked by", f"{record.asked.by}{f': {reason}' if reason else ''}"
    yield "bundle", record.bundle or "none"
    yield "champion", record.champion or "none"
    yield "decision", f"{record.outcome}, {record.reason}: {record.text}"
    for note in record.notes:
        yield "note", note
    if found.page(record.id).exists():
        yield "report", str(found.page(record.id))


def _criterion(one: Criterion) -> tuple[str, ...]:
    numbers = (one.challenger, one.champion, one.allowed)
    texts = ("-" if number is None else shown(number, one.unit) for number in numbers)
    return (f"{one.what}{f' ({one.note})' if one.note else ''}", *texts, one.verdict.replace("_", " "))
