"""`anomalyd labels`: what was said about stretches of machines' time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.commanding import asking, by_option, check_machine, machine_argument, note_option, send
from cli.exits import CommandError, Exit
from cli.options import PATH, config_option, json_option
from cli.tables import print_table

if TYPE_CHECKING:
    from daemon.commands.command import Command
    from detector.labels import Label

KINDS = ("false_alarm", "confirmed", "excluded", "off", "maintenance")


@click.group(short_help="List, import, add and drop labels.")
def labels() -> None:
    """List, import, add and drop labels: what was said about stretches of machines' time.

    They decide what a later training learns from, and what it must find.
    """


@labels.command("list")
@click.option("--machine", metavar="NAME", help="Those of this machine.")
@config_option
@json_option
def list_labels(machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """All labels, in order of time."""
    with asking(config) as (store, _):
        found = store.labels(machine)
    if as_json:
        click.echo(msgspec.json.encode([_fields(label) for label in found]).decode())
    elif not found:
        click.echo("no label")
    else:
        print_table(HEADINGS, map(_cells, found), numbers_from=len(HEADINGS), folded=6)


HEADINGS = ("machine", "kind", "from", "to", "code", "by", "note")


def _fields(label: Label) -> dict[str, object]:
    from daemon.payloads import iso

    return {
        "machine": label.machine,
        "kind": label.kind,
        "from": iso(label.start),
        "to": None if label.end is None else iso(label.end),
        "code": label.code,
        "alert": label.alert,
        "by": label.by,
        "note": label.note,
        "noted_at": iso(label.noted_at),
    }


def _cells(label: Label) -> tuple[str, ...]:
    from daemon.payloads import iso

    end = "goes on" if label.end is None else iso(label.end)
    return label.machine, label.kind, iso(label.start), end, label.code, label.by, label.note


@labels.command("import")
@click.argument("file", type=PATH)
@click.option("--machine", metavar="NAME", help="Whose labels these are, where no column says so.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="confirmed",
    show_default=True,
    help="What the stretches were, where no column says so.",
)
@by_option
@note_option
@config_option
@json_option
def import_labels(
    file: Path, machine: str | None, kind: str, by: str, note: str, config: Path | None, *, as_json: bool
) -> None:
    """Take labels from a CSV file with the columns start, end, and if you like code, kind, note, machine.

    Without a line of headings they are start, end and code. Times are ISO 8601, or seconds or milliseconds
    since 1970. If a line is wrong, none is taken.
    """
    from cli.label_files import read_labels
    from daemon.commands.command import MAX_LABELS, ImportLabels

    entries, problems = read_labels(file, machine, kind)
    if problems:
        raise CommandError(Exit.DATA, *problems)
    if not entries:
        raise CommandError(Exit.DATA, f"{file}: holds no label")
    with asking(config) as (store, folder):
        for name in sorted({entry.machine or "" for entry in entries}):
            check_machine(store, name)
        for begin in range(0, len(entries), MAX_LABELS):
            command = ImportLabels(by=by, note=note, labels=entries[begin : begin + MAX_LABELS])
            send(lambda command=command: command, store, folder, None, as_json=as_json)  # type: ignore[misc]


@labels.command()
@machine_argument
@click.argument("start", metavar="FROM")
@click.argument("end", metavar="TO")
@by_option
@note_option
@config_option
@json_option
def exclude(
    machine: str, start: str, end: str, by: str, note: str, config: Path | None, *, as_json: bool
) -> None:
    """Have nothing learned from a stretch of a machine's time."""
    from daemon.commands.command import Exclude, read_time

    def make() -> Command:
        return Exclude(start=read_time(start), end=read_time(end), by=by, note=note)

    with asking(config) as (store, folder):
        send(make, store, folder, machine, as_json=as_json)


@labels.command()
@machine_argument
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("start", metavar="FROM")
@by_option
@config_option
@json_option
def drop(machine: str, kind: str, start: str, by: str, config: Path | None, *, as_json: bool) -> None:
    """Take back a label, by its kind and begin."""
    from daemon.commands.command import DropLabel, read_time
    from detector.labels import LabelKind

    def make() -> Command:
        return DropLabel(kind=LabelKind(kind), start=read_time(start), by=by)

    with asking(config) as (store, folder):
        send(make, store, folder, machine, as_json=as_json)
